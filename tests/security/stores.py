"""Stores of their own for histories, and copies of them in which no index looks into rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from tests.contract.ledger_stores import Store, postgres_store, sqlite_store
from tests.contract.postgres_server import PostgresServer
from tests.security.attacker import Attacker, Image, attacker_on


@contextmanager
def fresh_store(
    adapter: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Store, str]]:
    """One that is not initialised, and the URL at which an attacker has every right."""
    if adapter == "sqlite":
        store = sqlite_store(tmp_path_factory.mktemp("store") / "keyturn.db")
        yield store, store.url
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        database = server.create_database()
        yield postgres_store(database), database.superuser_url
        server.drop_database(database.name)


@contextmanager
def loosened_copy(
    of: Attacker,
    image: Image,
    adapter: str,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Store, Attacker]]:
    """The store with that content, where the columns of the rows' table are plain ones."""
    with fresh_store(adapter, request, tmp_path_factory) as (store, attackers_url):
        store.initialise(log_id=of.log_id())
        with closing(attacker_on(attackers_url)) as attacker:
            attacker.put_image(image)
            attacker.loosen()
            yield store, attacker
