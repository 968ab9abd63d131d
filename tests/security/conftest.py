"""One store for each ledger, with the same history in it, put back as it was before each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.bootstrap import initialise, open_node
from keyturn.domain.secret import Secret
from tests.contract.ledger_stores import Store, postgres_store, sqlite_store
from tests.contract.postgres_server import PostgresServer, postgres_server
from tests.security.attacker import Attacker, attacker_on
from tests.security.history import Chronicle, HandClock, carry_out
from tests.security.scene import Scene

__all__ = ["postgres_server"]


@dataclass(frozen=True, slots=True)
class World:
    """A store whose history has happened."""

    store: Store
    kek: bytes
    attacker: Attacker
    chronicle: Chronicle


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if request.param == "sqlite":
        store = sqlite_store(tmp_path_factory.mktemp("world") / "keyturn.db")
        yield from _world(store, store.url)
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        database = server.create_database()
        yield from _world(postgres_store(database), database.superuser_url)
        server.drop_database(database.name)


def _world(store: Store, attackers_url: str) -> Iterator[World]:
    kek, clock = os.urandom(32), HandClock()
    wrapper = LocalKeyWrapper(Secret(kek))
    initialise(store.owner_url, wrapper, with_first_key=False, grant_to=store.role, clock=clock)
    attacker = attacker_on(attackers_url)
    yield World(store, kek, attacker, carry_out(open_node(store.url, wrapper, clock=clock), clock, attacker))
    attacker.close()


@pytest.fixture
def scene(world: World) -> Iterator[Scene]:
    """The history, untouched, with no node open."""
    created = _scene(world)
    yield created
    created.close()


@pytest.fixture(scope="session")
def loose_world(
    world: World, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """The same in another store, where the columns of the rows' table are plain ones."""
    if world.store.adapter == "sqlite":
        store = sqlite_store(tmp_path_factory.mktemp("loose") / "keyturn.db")
        yield from _loosened(world, store, store.url)
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        database = server.create_database()
        yield from _loosened(world, postgres_store(database), database.superuser_url)
        server.drop_database(database.name)


def _loosened(world: World, store: Store, attackers_url: str) -> Iterator[World]:
    store.initialise(log_id=world.attacker.log_id())
    attacker = attacker_on(attackers_url)
    attacker.put_image(world.chronicle.end)
    attacker.loosen()
    yield World(store, world.kek, attacker, world.chronicle)
    attacker.close()


@pytest.fixture
def loose_scene(loose_world: World) -> Iterator[Scene]:
    """The history with plain columns; they say at first what they should."""
    created = _scene(loose_world)
    created.attacker.put_index_back()
    yield created
    created.close()


def _scene(world: World) -> Scene:
    world.attacker.put_image(world.chronicle.end)
    world.attacker.forget_uses()
    return Scene(
        url=world.store.url,
        kek=world.kek,
        attacker=world.attacker,
        chronicle=world.chronicle,
        clock=HandClock(world.chronicle.ended_at),
    )
