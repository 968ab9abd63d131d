"""One store for each ledger, with the same history in it, put back as it was before each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.bootstrap import initialise, open_node
from keyturn.domain.secret import Secret
from tests.contract.ledger_stores import Store
from tests.contract.postgres_server import postgres_server
from tests.security.attacker import Attacker, attacker_on
from tests.security.history import Chronicle, HandClock, carry_out
from tests.security.scene import Scene
from tests.security.stores import fresh_store, loosened_copy

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
    with fresh_store(request.param, request, tmp_path_factory) as (store, attackers_url):
        yield from _world(store, attackers_url)


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
    copy = loosened_copy(world.attacker, world.chronicle.end, world.store.adapter, request, tmp_path_factory)
    with copy as (store, attacker):
        yield World(store, world.kek, attacker, world.chronicle)


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
