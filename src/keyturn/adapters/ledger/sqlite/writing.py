"""The one writer of this process: it waits for its turn, and commits or leaves nothing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Final

from keyturn.adapters.ledger.sqlite.anchor import RESTART, Anchor
from keyturn.adapters.ledger.sqlite.connecting import connect_for_writing
from keyturn.adapters.ledger.sqlite.failures import is_busy, is_certain, storage_errors
from keyturn.adapters.ledger.sqlite.location import Settings
from keyturn.adapters.ledger.sqlite.waiting import Queue, Turnstile, poll
from keyturn.errors import OutcomeUnknownError, StorageBusyError, StorageError
from keyturn.ports.passing import is_in_passing

__all__ = ["Writer"]

_SCRUB_EVERY: Final = 1.0  # seconds between attempts, each of which may wait for readers


class Writer:
    """One connection for writing, used by one thread at a time."""

    def __init__(self, path: Path, settings: Settings, anchor: Anchor) -> None:
        self._path = path
        self._anchor = anchor
        self._settings = settings
        self._is_closed = False
        self._abandoned: list[object] = []
        self._queue = Queue()
        self._turnstile = Turnstile(path)
        self._connection: sqlite3.Connection | None = None
        self._scrub_at = 0.0  # once at first: whoever wrote last may have ended before it could
        self._is_paused = False
        self.start_afresh()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is executed on the connection, durably, or nothing where this raises.

        Raises:
            StorageBusyError: its turn did not come in time.
            OutcomeUnknownError: the disk failed during COMMIT, or the file was replaced or removed meanwhile.
            StorageError: any other failure; nothing was written.
        """
        if os.getpid() != self._pid:
            self.start_afresh()
        deadline = monotonic() + (self._settings.passing if is_in_passing() else self._settings.write)
        with self._queue.hold(deadline), self._turnstile.hold(deadline), storage_errors():
            connection = self._begin(deadline)
            try:
                yield connection
            except BaseException:
                self._roll_back(connection)
                raise
            self._commit(connection)
            self._require_kept()
            if self._scrub_at <= monotonic():
                self._scrub(connection)

    def scrub_soon(self) -> None:
        """Secret material was overwritten: let it vanish from the write-ahead log too, once this is committed."""
        self._scrub_at = min(self._scrub_at, monotonic())

    def close(self) -> None:
        """Close the connection, after a transaction that is under way."""
        with self._queue.hold(monotonic() + self._settings.write):
            self._is_closed = True
            self._disconnect()
            self._turnstile.close()

    def pause(self, seconds: float) -> None:
        """Close the connection, waiting so long for a transaction that is under way; writes wait until `resume`."""
        with suppress(StorageBusyError):
            self._queue.acquire(monotonic() + seconds)
            self._is_paused = True
            self._disconnect()

    def resume(self) -> None:
        """Let writes go on after `pause`."""
        if self._is_paused:
            self._is_paused = False
            self._queue.release()

    def start_afresh(self) -> None:
        """Begin without a connection, in a forked child: an inherited one must not even be closed."""
        self._pid = os.getpid()
        if self._connection is not None:
            self._abandoned.append(self._connection)
        self._connection = None
        self._is_paused = False
        self._queue = Queue()
        self._turnstile.close()

    def _begin(self, deadline: float) -> sqlite3.Connection:
        if self._is_closed:
            raise StorageError("the ledger is closed")
        self._anchor.hold()
        if self._connection is None:
            self._connection = connect_for_writing(self._path)
        connection = self._connection

        def try_to_begin() -> bool:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if not is_busy(error):
                    raise
                return False
            return True

        if not poll(try_to_begin, deadline):
            raise StorageBusyError("a program other than Keyturn holds the store locked")
        return connection

    def _commit(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if is_certain(error):
                self._roll_back(connection)
                raise
            self._disconnect()
            raise OutcomeUnknownError(
                f"the disk failed during the commit, which may have happened: {error}"
            ) from error

    def _require_kept(self) -> None:
        try:
            self._anchor.require()
        except StorageError as error:
            raise OutcomeUnknownError(f"the change may be lost: {error}", fix=RESTART) from None

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:  # some failures end it by themselves
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._disconnect()  # which rolls back as well

    def _scrub(self, connection: sqlite3.Connection) -> None:
        """Empty the write-ahead log, which holds older contents of pages; later again if readers are in the way."""
        self._scrub_at = monotonic() + _SCRUB_EVERY
        with suppress(sqlite3.Error):  # the transaction is committed, whatever happens here
            if connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0:
                self._scrub_at = float("inf")

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
