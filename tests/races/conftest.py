"""Two processes on one real store, SQLite and PostgreSQL, whose steps a test interleaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.ledger_stores import Store, sqlite_store
from tests.fakes import Site, ours, theirs
from tests.services.postgres_copies import original, postgres_copy

__all__ = ["original", "ours", "postgres_copy", "theirs"]


@pytest.fixture(params=["sqlite", "postgres"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    store: Store
    if request.param == "postgres":
        store = request.getfixturevalue("postgres_copy")
    else:
        store = sqlite_store(tmp_path / "keyturn.db")
        store.initialise()
    created = Site.on(store)
    yield created
    created.close()
