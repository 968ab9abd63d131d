"""A few connections for reading, shared by the threads of one process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from keyturn.adapters.ledger.sqlite.anchor import Anchor
from keyturn.adapters.ledger.sqlite.connecting import ReadConnection, connect_for_reading
from keyturn.adapters.ledger.sqlite.failures import storage_errors
from keyturn.adapters.ledger.sqlite.location import Settings
from keyturn.errors import StorageBusyError, StorageError

__all__ = ["Readers"]

Record = tuple[Any, ...]
_Places = SimpleQueue[ReadConnection | None]


class Readers:
    """At most so many connections as the settings say, each opened when it is first needed."""

    def __init__(self, path: Path, settings: Settings, anchor: Anchor) -> None:
        self._path = path
        self._anchor = anchor
        self._settings = settings
        self._is_closed = False
        self._abandoned: list[object] = []
        self._places: _Places = SimpleQueue()
        self.start_afresh()

    def fetch(self, statement: str, parameters: Sequence[object] | dict[str, object] = ()) -> list[Record]:
        """All records of one statement, which sees the store at one moment.

        StorageError where that is no longer the store at the path.
        """
        if os.getpid() != self._pid:
            self.start_afresh()
        deadline = monotonic() + self._settings.read
        places = self._places
        connection = self._take(places, deadline)
        try:
            with storage_errors():
                if connection is None:
                    self._anchor.hold()
                    connection = connect_for_reading(self._path, self._settings.read)
                connection.deadline = deadline
                records = connection.execute(statement, parameters).fetchall()
            self._anchor.require()
        except BaseException:
            self._give_back(places, connection, is_sound=False)
            raise
        self._give_back(places, connection, is_sound=True)
        return records

    def close(self) -> None:
        """Close what is idle now, and the rest when it is given back."""
        self._is_closed = True
        self.pause(0.0)
        self.resume()

    def pause(self, seconds: float) -> None:
        """Close every connection, waiting so long for those in use; reads wait until `resume`."""
        deadline = monotonic() + seconds
        while self._paused < self._settings.readers:
            try:
                connection = self._places.get(timeout=max(0.0, deadline - monotonic()))
            except Empty:
                return
            self._paused += 1
            if connection is not None:
                connection.close()

    def resume(self) -> None:
        """Let reads go on after `pause`."""
        while self._paused:
            self._paused -= 1
            self._places.put(None)

    def start_afresh(self) -> None:
        """Begin without connections, in a forked child: an inherited one must not even be closed."""
        self._pid = os.getpid()
        self._paused = 0
        self._abandoned.append(self._places)
        self._places = SimpleQueue()
        for _ in range(self._settings.readers):
            self._places.put(None)

    def _take(self, places: _Places, deadline: float) -> ReadConnection | None:
        if self._is_closed:
            raise StorageError("the ledger is closed")
        try:
            return places.get(timeout=deadline - monotonic())
        except Empty:
            raise StorageBusyError("every connection for reading is in use") from None

    def _give_back(self, places: _Places, connection: ReadConnection | None, *, is_sound: bool) -> None:
        if connection is not None and (self._is_closed or not is_sound):
            connection.close()
            connection = None
        places.put(connection)
