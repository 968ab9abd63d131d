"""Looking at a file before anything is done to it or put beside it: it may be somebody else's."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from keyturn.adapters.ledger.sqlite.failures import storage_errors
from keyturn.errors import ConfigurationError, IntegrityError, StorageError

__all__ = ["is_store", "refuse_foreign", "refuse_other_tables"]

_TABLES: Final = frozenset({"meta", "log", "rows"})
_ANOTHER: Final = "Choose another file for the store."


def refuse_foreign(path: Path) -> None:
    """Return where there is no file, an empty one, or perhaps a store; raise for what is certainly something else.

    Raises:
        StorageError: it is no file.
        IntegrityError: it is no SQLite database.
        ConfigurationError: it is the database of another program.
    """
    try:
        found = path.stat()
    except OSError:
        return  # for whoever makes the file to say
    if not stat.S_ISREG(found.st_mode):
        raise StorageError(f"{path} is no file", fix=_ANOTHER)
    if found.st_size == 0:
        return
    # Immutable: no lock, no journal and no file beside it. What is not checkpointed yet is not seen, or by half.
    # Not by open and read: closing any descriptor of an open database drops SQLite's locks on it.
    address = f"file:{quote(str(path))}?mode=ro&immutable=1"
    with storage_errors():
        try:
            with closing(sqlite3.connect(address, uri=True)) as connection:
                refuse_other_tables(connection)
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
                fix = f"{_ANOTHER} If this was one, restore it from a backup."
                raise IntegrityError(f"{path} is no SQLite database", fix=fix) from None
            if error.sqlite_errorcode != sqlite3.SQLITE_CORRUPT:
                raise


def refuse_other_tables(connection: sqlite3.Connection) -> None:
    """ConfigurationError for a database that has tables, and not those of a store."""
    if not is_store(connection) and connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
        raise ConfigurationError("the file is an SQLite database of something else", fix=_ANOTHER)


def is_store(connection: sqlite3.Connection) -> bool:
    """Whether the database has a store's tables."""
    found = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
    return {name for (name,) in found} >= _TABLES
