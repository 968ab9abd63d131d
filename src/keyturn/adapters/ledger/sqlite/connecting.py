"""Connections: how they are opened."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import cache
from math import inf
from pathlib import Path
from time import monotonic
from typing import Final
from urllib.parse import quote

from keyturn.adapters.ledger.sqlite.location import refuse_orphaned_log
from keyturn.errors import SchemaError

__all__ = ["ReadConnection", "connect_for_reading", "connect_for_writing"]

_WRITER_BUSY: Final = 0.1  # seconds; longer waits are the caller's, in `waiting`
_OPCODES_PER_CHECK: Final = 100_000  # of the deadline: some milliseconds of a read
_CACHE_KIB: Final = 16_384
_INNOCUOUS: Final = 0x200000  # SQLITE_INNOCUOUS


class ReadConnection(sqlite3.Connection):
    """A connection that gives up a read when its deadline (monotonic) has passed."""

    deadline: float = inf

    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return monotonic() > self.deadline


def connect_for_reading(path: Path, busy: float) -> ReadConnection:
    """A connection that cannot write; any one thread may use it at a time.

    A read waits `busy` seconds for another process that opens, recovers or closes the store.
    """
    connection = _connect(path, ReadConnection, busy)
    assert isinstance(connection, ReadConnection)  # what the factory made
    connection.execute("PRAGMA query_only = ON")
    connection.set_progress_handler(connection.is_late, _OPCODES_PER_CHECK)
    return connection


def connect_for_writing(path: Path) -> sqlite3.Connection:
    """A connection whose commits are on the disk when they return, and which leaves no deleted contents behind."""
    connection = _connect(path, sqlite3.Connection, _WRITER_BUSY)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    return connection


def _connect(path: Path, factory: type[sqlite3.Connection], busy: float) -> sqlite3.Connection:
    if not path.exists():
        refuse_orphaned_log(path)
        raise SchemaError(f"there is no store at {path}: run 'keyturn init'")
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw",  # never creates: only `initialise` does, with the right permissions
        uri=True,
        timeout=busy,
        isolation_level=None,
        check_same_thread=False,
        factory=factory,
    )
    if _has_innocuous_json():
        connection.execute("PRAGMA trusted_schema = OFF")
    return connection


@cache
def _has_innocuous_json() -> bool:
    """Whether SQLite lets a schema that it does not trust use JSON: up to 3.40 it does not, and ours cannot do without.

    Nothing is lost then: this program adds no functions to SQLite, so that a planted trigger could do no more than
    whoever planted it.
    """
    with closing(sqlite3.connect(":memory:")) as connection:
        found = connection.execute(
            "SELECT flags FROM pragma_function_list WHERE name = 'json_extract'"
        ).fetchone()
    return found is not None and bool(found[0] & _INNOCUOUS)
