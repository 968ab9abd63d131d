"""kill -9 right after a call has returned: what it did cannot be cut off the log by whoever can write to the store."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from keyturn import SecureKeyGenerator, SecureKeyStore
from keyturn.errors import IntegrityError
from tests.contract.postgres_server import PostgresDatabase
from tests.running_server import KEK, prepared_postgres
from tests.security.attacker import attacker_on

_CONTEXT: Final = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Place:
    """An initialised store, as the program opens it and as whoever owns the machine does."""

    url: str
    attackers_url: str


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'keys.db'}"
        yield Place(url, url)
        return
    database: PostgresDatabase = request.getfixturevalue("postgres_database")
    prepared_postgres(database)
    yield Place(database.app_url, database.superuser_url)


def _revoke_and_wait(url: str, pipe: multiprocessing.connection.Connection) -> None:
    """Never verifies and never closes: nothing but the call itself can have vouched for what it did."""
    store = SecureKeyStore.open(url, KEK)
    store.revoke_key(pipe.recv())
    pipe.send("revoked")
    time.sleep(3_600)


def test_a_revocation_that_was_acknowledged_survives_the_kill_and_the_attack(place: Place) -> None:
    key = SecureKeyGenerator().generate_api_key()
    with SecureKeyStore.open(place.url, KEK) as store:
        store.store_key(key)
        assert store.authenticate(key.secret)
    ours, theirs = _CONTEXT.Pipe()
    process = _CONTEXT.Process(target=_revoke_and_wait, args=(place.url, theirs))
    process.start()
    with closing(attacker_on(place.attackers_url)) as attacker:
        older = attacker.rows()[key.key_id]
        ours.send(key.key_id)
        assert ours.recv() == "revoked"
        process.kill()
        process.join()
        attacker.delete_entries(len(attacker.log()))
        attacker.put_rows(older)
    with pytest.raises(IntegrityError, match="before its sealed head"):
        SecureKeyStore.open(place.url, KEK)
