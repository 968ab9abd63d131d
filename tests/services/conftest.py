"""Services over real stores, by a clock that tests move: SQLite, and PostgreSQL where a test asks for both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keyturn.key_store import SecureKeyStore
from tests.contract.ledger_stores import Store, sqlite_store
from tests.fakes import Process, Site, ours, theirs
from tests.services.postgres_copies import original, postgres_copy

__all__ = ["original", "ours", "postgres_copy", "theirs"]


@pytest.fixture
def adapter(request: pytest.FixtureRequest) -> str:
    """`sqlite`, unless the test has `@on_both`."""
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture
def place(adapter: str, request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store of its own, with its schema."""
    if adapter == "postgres":
        copied: Store = request.getfixturevalue("postgres_copy")
        return copied
    created = sqlite_store(tmp_path / "keyturn.db")
    created.initialise()
    return created


@pytest.fixture
def site(place: Store) -> Iterator[Site]:
    created = Site.on(place)
    yield created
    created.close()


@pytest.fixture
def shop(ours: Process) -> SecureKeyStore:
    """The public store over one process's node."""
    return ours.store()
