"""Verifying in a program without threads of ours, while somebody else keeps the store from being written to.

What is due to be written is written by the call that comes by. It may fail, and is then tried again; but whoever
verifies does not wait for it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Final

import psycopg
import pytest

from tests.contract.ledger_stores import Store, postgres_store
from tests.contract.postgres_server import PostgresDatabase, PostgresServer
from tests.fakes import Site

COMMIT_LOCK: Final = int.from_bytes(b"keyturn")
TIMES: Final = 6  # as often as somebody verifies while the store is held
LONG: Final = 1.0  # seconds; what is waited for ends after 5 of them on SQLite, and 10 on PostgreSQL


class Scene:
    """A process that uses the library, another one, and a key that both know."""

    def __init__(self, store: Store) -> None:
        self.site = Site.on(store)
        self.ours, self.theirs = (self.site.process(max_staleness=60.0) for _ in range(2))
        self.shop = self.ours.store()
        self.key = self.ours.issue()
        self.uses = 0
        self.verify()

    def verify(self) -> float:
        """A valid use; how many seconds it took."""
        began = time.monotonic()
        assert self.shop.authenticate(self.key.secret)
        self.uses += 1
        return time.monotonic() - began

    def verify_while(self, held: AbstractContextManager[object]) -> list[float]:
        """How long each call takes while there is everything to write and the store is held."""
        self.theirs.issue()
        self.ours.catch_up()  # so that there is a head to be sealed
        self.ours.node.records.incidents.note("keyring", "system", "a finding")
        with held:
            return [self._verify_later() for _ in range(TIMES)]

    def _verify_later(self) -> float:
        self.site.clock.pass_time(2.5)
        return self.verify()

    def counted(self) -> int:
        """As the store has it; what waits is written first, by a call that may wait."""
        return self.shop.get_usage_statistics(self.key.key_id).total


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program has begun to write to the file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_whoever_verifies_does_not_wait_for_a_file_that_is_locked(sqlite: Store) -> None:
    scene = Scene(sqlite)
    took = scene.verify_while(locked(Path(sqlite.url.removeprefix("sqlite:///"))))
    assert max(took) < LONG
    assert scene.counted() == scene.uses == TIMES + 1
    scene.site.close()


@contextmanager
def blocked(database: PostgresDatabase, statement: bytes) -> Iterator[None]:
    """Another session holds a lock."""
    with psycopg.connect(database.superuser_url) as other:
        other.execute(statement)
        yield
        other.rollback()


LOCKS: Final = {
    "uses": b"LOCK TABLE keyturn.uses IN ACCESS EXCLUSIVE MODE",
    "changes": b"SELECT pg_advisory_xact_lock(%d)" % COMMIT_LOCK,
    "the head": b"LOCK TABLE keyturn.sealed_heads IN ACCESS EXCLUSIVE MODE",
}


@pytest.fixture
def database(postgres_database: PostgresDatabase) -> PostgresDatabase:
    postgres_store(postgres_database).initialise()
    return postgres_database


@pytest.mark.parametrize("what", LOCKS)
def test_whoever_verifies_does_not_wait_for_what_is_locked_in_a_database(
    database: PostgresDatabase, what: str
) -> None:
    scene = Scene(postgres_store(database))
    assert max(scene.verify_while(blocked(database, LOCKS[what]))) < LONG
    assert scene.counted() == scene.uses == TIMES + 1
    scene.site.close()


SLOW: Final = b"""
    CREATE FUNCTION keyturn.dawdle() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_catalog.pg_sleep(0.6); RETURN NEW; END $$;
    CREATE TRIGGER dawdling BEFORE INSERT OR UPDATE ON keyturn.uses FOR EACH ROW EXECUTE FUNCTION keyturn.dawdle();
"""


@contextmanager
def dawdling(database: PostgresDatabase) -> Iterator[None]:
    """Counts take their time to be written, and get there in the end."""
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        owner.execute(SLOW)
        yield
        owner.execute("DROP TRIGGER dawdling ON keyturn.uses")


def test_counts_that_took_too_long_to_write_are_not_there_twice(database: PostgresDatabase) -> None:
    """The server undoes them: given up by the client alone they would be written unheard, and then again."""
    scene = Scene(postgres_store(database))
    assert max(scene.verify_while(dawdling(database))) < LONG
    assert scene.counted() == scene.uses == TIMES + 1
    scene.site.close()


def test_whoever_verifies_does_not_wait_for_a_database_that_is_frozen() -> None:
    with PostgresServer() as server:
        store = postgres_store(server.create_database())
        store.initialise()
        scene = Scene(store)

        @contextmanager
        def frozen() -> Iterator[None]:
            server.freeze()
            yield
            server.thaw()

        assert max(scene.verify_while(frozen())) < LONG
        # What was sent may have been done unheard, once for each attempt.
        assert scene.counted() >= scene.uses == TIMES + 1
        scene.site.close()
