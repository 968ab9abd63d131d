"""Noticing that another connection has committed something."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from keyturn.adapters.ledger.sqlite.connecting import connect_for_reading
from keyturn.adapters.ledger.sqlite.failures import storage_errors

__all__ = ["News"]

_BUSY: Final = 5.0  # seconds
_PAUSE: Final = 0.02  # seconds between looks, each of a few microseconds


class News:
    """Watches `PRAGMA data_version`, which changes with every commit of another connection.

    What came between two calls of one thread is news to the second of them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._abandoned: list[object] = []
        self._connection: sqlite3.Connection | None = None
        self.start_afresh()

    def wait(self, timeout: float) -> None:
        """Return when something was committed since this thread's last call, or after `timeout` seconds."""
        deadline = monotonic() + timeout
        present = self._version()
        known = getattr(self._known, "version", present)
        while present == known and (left := deadline - monotonic()) > 0 and not self._is_closed:
            sleep(min(_PAUSE, left))
            present = self._version()
        self._known.version = present

    def close(self) -> None:
        """Close the connection and let waiting threads go."""
        self._is_closed = True
        self.pause()
        self.resume()

    def pause(self) -> None:
        """Close the connection; calls wait until `resume`."""
        self._lock.acquire()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def resume(self) -> None:
        """Let calls go on after `pause`."""
        self._lock.release()

    def start_afresh(self) -> None:
        """Begin without a connection, in a forked child: an inherited one must not even be closed."""
        self._pid = os.getpid()
        self._is_closed = False
        if self._connection is not None:
            self._abandoned.append(self._connection)
        self._connection = None
        self._lock = threading.Lock()
        self._known = threading.local()

    def _version(self) -> tuple[int, int]:
        if os.getpid() != self._pid:
            self.start_afresh()
        with self._lock, storage_errors():
            if self._is_closed:
                return 0, 0
            if self._connection is None:
                self._connection = connect_for_reading(self._path, _BUSY)
                self._known = threading.local()  # another connection counts from elsewhere
            found: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
            return id(self._connection), found
