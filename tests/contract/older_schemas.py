"""Stores whose schema an older program made: of its files, only those up to a version are applied."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from sqlite3 import connect

import psycopg

from keyturn.adapters.ledger import postgres, sqlite
from keyturn.adapters.ledger.sqlite.location import parse_url
from keyturn.ports.schema import schema_files
from tests.contract.ledger_stores import LOG_ID, Store

LANDED = {"sqlite": 3, "postgres": 5}
"""The versions of the first release's schemas; their files never change any more."""


def apply_older(store: Store, version: int, *, log_id: str = LOG_ID) -> None:
    """Make the store as a program did whose newest schema file was of that number."""
    if store.adapter == "sqlite":
        _apply_to_file(parse_url(store.url), version, log_id)
    else:
        _apply_to_database(store, version, log_id)


def _apply_to_file(path: Path, version: int, log_id: str) -> None:
    path.parent.mkdir(exist_ok=True)
    with closing(connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for number, text in schema_files(sqlite.__name__):
            if number <= version:
                connection.executescript(text)
        connection.execute("INSERT INTO meta VALUES ('log_id', ?)", (log_id,))
        connection.commit()


def _apply_to_database(store: Store, version: int, log_id: str) -> None:
    with psycopg.connect(store.owner_url, autocommit=True) as connection:
        for number, text in schema_files(postgres.__name__):
            if number <= version:
                connection.execute(text.encode())
        connection.execute("INSERT INTO keyturn.log (log_id) VALUES (%s)", (log_id,))
        connection.execute("SELECT keyturn.grant_to(%s)", (store.role,))
