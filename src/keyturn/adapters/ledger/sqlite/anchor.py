"""Noticing that the file which is open is no longer the one at its path.

A file stays usable to whoever has it open after it was deleted or another was moved over it. What a process read there
would be old news to everybody else, and what it wrote would be gone with its end.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final

from keyturn.adapters.ledger.sqlite.connecting import ReadConnection, connect_for_reading
from keyturn.adapters.ledger.sqlite.failures import storage_errors
from keyturn.errors import StorageError

__all__ = ["REPLACED", "RESTART", "Anchor"]

REPLACED: Final = "the store's file was replaced or removed while it was open"
RESTART: Final = (
    "Stop every process that uses the store; put the file that is wanted at its path, without the -wal and -shm"
    " files of another; then start again."
)

_Identity = tuple[int, int] | None


class Anchor:
    """What the store's files are, by device and inode, and a connection that keeps them.

    The connection reads once and then only stays open: as long as it does, no other process that closes its last
    connection takes the write-ahead log away, and no new file can get the inode of the old one.
    """

    def __init__(self, path: Path, busy: float) -> None:
        self._path = path
        self._busy = busy
        real = path.resolve()
        self._wal_path = real.with_name(f"{real.name}-wal")
        self._database: _Identity = None  # for good: not even a fork may exchange the store
        self._wal: _Identity = None
        self._is_closed = False
        self._abandoned: list[object] = []
        self._connection: ReadConnection | None = None
        self.start_afresh()

    def hold(self) -> None:
        """Before connecting: StorageError where the path leads to another file than before, or to none."""
        if os.getpid() != self._pid:
            self.start_afresh()
        with self._lock:
            if self._connection is None and not self._is_closed:
                self._drop()
        self.require()

    def require(self) -> None:
        """StorageError unless the files that were opened are those at their paths; it costs a few microseconds."""
        wal = self._wal
        if _identity(self._path) != self._database or (wal is not None and _identity(self._wal_path) != wal):
            raise StorageError(REPLACED, fix=RESTART)

    def close(self) -> None:
        """Close the connection, when all others are closed."""
        self._is_closed = True
        self.pause()
        self.resume()

    def pause(self) -> None:
        """Close the connection; calls of `hold` wait until `resume`."""
        self._lock.acquire()
        self._wal = None  # it may go with its last connection
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def resume(self) -> None:
        """Let calls go on after `pause`."""
        self._lock.release()

    def start_afresh(self) -> None:
        """Begin without a connection, in a forked child: an inherited one must not even be closed."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        if self._connection is not None:
            self._abandoned.append(self._connection)
        self._connection = None
        self._wal = None

    def _drop(self) -> None:
        found = _identity(self._path)
        if self._database is not None and found != self._database:
            raise StorageError(REPLACED, fix=RESTART)
        with storage_errors():
            connection = connect_for_reading(self._path, self._busy)
            try:
                connection.execute(
                    "SELECT count(*) FROM sqlite_schema"
                ).fetchone()  # opens the write-ahead log
            except BaseException:
                connection.close()
                raise
        self._connection, self._database = connection, found
        self._wal = _identity(self._wal_path)


def _identity(path: Path) -> _Identity:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
