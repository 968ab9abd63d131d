from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.ledger_stores import Store, sqlite_store
from tests.contract.postgres_server import (
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
