from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.ledger_stores import Store, postgres_store, sqlite_store
from tests.contract.postgres_server import (
    PostgresDatabase,
    postgres_app_url,
    postgres_database,
    postgres_server,
    postgres_url,
)

__all__ = ["postgres_app_url", "postgres_database", "postgres_server", "postgres_url", "sqlite"]


@pytest.fixture
def sqlite(tmp_path: Path) -> Store:
    """An initialised SQLite store."""
    created = sqlite_store(tmp_path / "keyturn.db")
    created.initialise()
    return created


@pytest.fixture(params=["sqlite", "postgres"])
def bare(request: pytest.FixtureRequest) -> Store:
    """A store that is not made yet."""
    if request.param == "sqlite":
        return sqlite_store(request.getfixturevalue("tmp_path") / "keyturn.db")
    database: PostgresDatabase = request.getfixturevalue("postgres_database")
    return postgres_store(database)
