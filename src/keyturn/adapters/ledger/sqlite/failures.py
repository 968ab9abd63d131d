"""What SQLite's errors mean to Keyturn."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from keyturn.errors import (
    ConflictError,
    IntegrityError,
    InvalidInputError,
    KeyturnError,
    SchemaError,
    StorageBusyError,
    StorageError,
    StorageFullError,
)

__all__ = ["is_busy", "is_certain", "storage_errors"]

_PRIMARY: Final = 0xFF  # the part of an extended error code that names the kind
_FULL: Final = frozenset({sqlite3.SQLITE_FULL})
_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_REFUSED: Final = frozenset({sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH})
_TAKEN: Final = frozenset({sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY})
_NOT_TEXT: Final = "Could not decode to UTF-8"  # Python's own, without a code
_CLOSED_TO_US: Final = frozenset(
    {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_AUTH}
)


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.Error as error:
        translated = _translate(error)
        # What was refused may be quoted in the cause.
        raise translated from (None if isinstance(translated, InvalidInputError) else error)
    except (UnicodeEncodeError, OverflowError):
        raise InvalidInputError("the store cannot keep half surrogates or integers beyond 64 bits") from None


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection was in the way."""
    return _code(error) & _PRIMARY in _BUSY


def is_certain(error: sqlite3.Error) -> bool:
    """Whether a COMMIT that failed like this has certainly not happened.

    A full disk stops the frames before the last, which alone makes a transaction valid. After a failing write or sync
    the last frame may be on the disk nevertheless, for the next recovery to find.
    """
    return _code(error) & _PRIMARY in _FULL | _BUSY


def _code(error: sqlite3.Error) -> int:
    # Errors that the Python module raises by itself carry no code.
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE)


def _translate(error: sqlite3.Error) -> KeyturnError:
    code, said = _code(error), str(error)
    kind = code & _PRIMARY
    if code in _TAKEN:
        return ConflictError(f"the store holds one already: {said}")
    if kind in _REFUSED or (kind == sqlite3.SQLITE_ERROR and said.startswith("malformed JSON")):
        return InvalidInputError(
            "the store cannot keep this: a limit or a type is violated, or a body is no JSON"
        )
    if kind in _FULL:
        return StorageFullError(f"the store is full: {said}")
    if kind in _BUSY:
        return StorageBusyError(f"the store is busy: {said}")
    if kind == sqlite3.SQLITE_NOTADB:
        return IntegrityError(
            "the store's file is no SQLite database",
            fix="Name the store's file in KEYTURN_STORE; if this is it, put a backup in its place.",
        )
    if kind in _DAMAGED or said.startswith(_NOT_TEXT):
        return IntegrityError(f"the store's file is damaged, or no SQLite database: {said}")
    return _unavailable(kind, said)


def _unavailable(kind: int, said: str) -> KeyturnError:
    if kind in _CLOSED_TO_US:
        fix = "Let this user read and write the store's file and its directory."
        return StorageError(f"the store cannot be opened for writing: {said}", fix=fix)
    if kind == sqlite3.SQLITE_IOERR:
        fix = "Check the disk: its free space, its quota, its health."
        return StorageError(f"the store's disk failed: {said}", fix=fix)
    if kind == sqlite3.SQLITE_INTERRUPT:
        return StorageError("the store did not answer in time")
    if said.startswith(("no such table", "no such column")):
        return SchemaError(
            f"the store has no Keyturn schema, or another version of it ({said}): run 'keyturn init'"
        )
    return StorageError(f"the store failed: {said}")
