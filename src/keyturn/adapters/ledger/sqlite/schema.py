"""The schema: applying its files, and checking that they are there."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Final

from keyturn.adapters.ledger.sqlite.connecting import connect_for_writing
from keyturn.adapters.ledger.sqlite.failures import is_busy, storage_errors
from keyturn.adapters.ledger.sqlite.location import create_file, is_begun, parse_url
from keyturn.adapters.ledger.sqlite.looking import is_store, refuse_foreign, refuse_other_tables
from keyturn.adapters.ledger.sqlite.waiting import Turnstile, poll
from keyturn.errors import (
    ConfigurationError,
    IntegrityError,
    InvalidInputError,
    SchemaError,
    StorageBusyError,
)
from keyturn.ports.schema import refuse_newer, refuse_older, schema_files

__all__ = ["checked_log_id", "initialise"]

_SECONDS: Final = 30.0  # for all of `initialise`, waiting for others included
_LOG_ID: Final = re.compile("[0-9A-Za-z]{16}")
_NUMBER: Final = re.compile("[0-9]{1,9}")


def initialise(url: str, *, log_id: str, grant_to: str | None = None) -> None:
    """Make the file where it is missing, bring the schema up to date, and name the log unless it has a name.

    All or nothing; safe to run again, and by several processes at once.

    Args:
        url: `sqlite:///relative.db` or `sqlite:////absolute.db`.
        log_id: 16 base62 characters; ignored if the log has a name already.
        grant_to: None; a file has no roles, only its permissions.

    Raises:
        SchemaError: the schema is newer than this program.
        ConfigurationError: the URL does not fit, or the file holds something else.
        IntegrityError: the file is damaged, or no database.
        StorageError: the file cannot be made, read or written.
    """
    if grant_to is not None:
        raise ConfigurationError(
            "an SQLite store has no roles to grant anything to",
            fix="Leave the role out; the file's permissions say who may use the store.",
        )
    if _LOG_ID.fullmatch(log_id) is None:
        raise InvalidInputError("a log_id has 16 characters of 0-9, A-Z, a-z", field="log_id")
    path = parse_url(url)
    refuse_foreign(path)
    if not is_begun(path):
        create_file(path)
    turnstile = Turnstile(path)
    deadline = monotonic() + _SECONDS
    try:
        with turnstile.hold(deadline), storage_errors():
            _apply(path, log_id, deadline)
    finally:
        turnstile.close()


def checked_log_id(meta: dict[str, str]) -> str:
    """The log's id; SchemaError unless the schema is whole and of a version that this program can use."""
    newest = schema_files(__package__)[-1][0]
    refuse_older(version=_number(meta, "schema_version"), newest=newest)
    _refuse_newer(meta, newest)
    if "log_id" not in meta:
        raise SchemaError("the store's schema is unfinished: its log has no name; run 'keyturn init'")
    return meta["log_id"]


def _apply(path: Path, log_id: str, deadline: float) -> None:
    connection = connect_for_writing(path)
    try:
        # Outside of a transaction, and kept in the file: readers and a writer do not wait for each other.
        _insist(connection, "PRAGMA journal_mode = WAL", deadline)
        _insist(connection, "BEGIN IMMEDIATE", deadline)
        _apply_missing(connection)
        connection.execute("INSERT OR IGNORE INTO meta VALUES ('log_id', ?)", (log_id,))
        connection.execute("COMMIT")
    finally:
        connection.close()


def _insist(connection: sqlite3.Connection, statement: str, deadline: float) -> None:
    def attempt() -> bool:
        try:
            connection.execute(statement).fetchall()
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                raise
            return False
        return True

    if not poll(attempt, deadline):
        raise StorageBusyError("another program holds the store locked")


def _apply_missing(connection: sqlite3.Connection) -> None:
    files = schema_files(__package__)
    meta = _meta(connection)
    _refuse_newer(meta, files[-1][0])
    for number, text in files:
        if number > _number(meta, "schema_version"):
            for statement in _statements(text):
                connection.execute(statement)


def _meta(connection: sqlite3.Connection) -> dict[str, str]:
    refuse_other_tables(connection)
    return dict(connection.execute("SELECT key, value FROM meta")) if is_store(connection) else {}


def _number(meta: dict[str, str], name: str) -> int:
    text = meta.get(name, "0")
    if _NUMBER.fullmatch(text) is None:
        raise IntegrityError(f"the store's {name} is no number")
    return int(text)


def _refuse_newer(meta: dict[str, str], newest: int) -> None:
    version, oldest_program = _number(meta, "schema_version"), _number(meta, "oldest_program")
    refuse_newer(version=version, oldest_program=oldest_program, newest=newest)


def _statements(text: str) -> Iterator[str]:
    """The statements of a file one by one: `executescript` would commit what went before."""
    statement = ""
    for part in text.split(";")[:-1]:
        statement += part + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
