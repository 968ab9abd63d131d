"""One store for each ledger adapter, as fixtures: every test of the port runs on all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

from keyturn.ports.ledger import Ledger
from tests.contract.postgres_server import APP_ROLE, PostgresDatabase

LOG_ID = "0123456789ABCDEF"
PACKAGE = "keyturn.adapters.ledger"


@dataclass(frozen=True, slots=True)
class Store:
    """An adapter's module, the URL that the program opens, and the URL and role to initialise with."""

    adapter: str
    url: str
    owner_url: str
    role: str | None = None

    def initialise(self, log_id: str = LOG_ID) -> None:
        import_module(f"{PACKAGE}.{self.adapter}").initialise(
            self.owner_url, log_id=log_id, grant_to=self.role
        )

    def open(self) -> Ledger:
        ledger: Ledger = import_module(f"{PACKAGE}.{self.adapter}").open_ledger(self.url)
        return ledger


def sqlite_store(path: Path) -> Store:
    """A store in a file of its own, not initialised."""
    url = f"sqlite:///{path}"
    return Store("sqlite", url, url)


def postgres_store(database: PostgresDatabase) -> Store:
    """A store in a database of its own, not initialised; the program's role is the restricted one."""
    return Store("postgres", database.app_url, database.owner_url, APP_ROLE)


@pytest.fixture(params=["sqlite", "postgres"])
def empty_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store that is not initialised."""
    if request.param == "sqlite":
        return sqlite_store(tmp_path / "data" / "keyturn.db")
    return postgres_store(request.getfixturevalue("postgres_database"))


@pytest.fixture
def store(empty_store: Store) -> Store:
    """An initialised store without entries."""
    empty_store.initialise()
    return empty_store


@pytest.fixture
def ledger(store: Store) -> Iterator[Ledger]:
    """The store, opened."""
    opened = store.open()
    yield opened
    opened.close()
