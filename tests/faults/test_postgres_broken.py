"""Connections that end, a server that is killed, and a disk that is full."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from keyturn.adapters.ledger.postgres import PostgresLedger, Settings, initialise, open_ledger
from keyturn.errors import ConflictError, OutcomeUnknownError, StorageError, StorageFullError
from tests.contract.ledger_samples import change_of, checked_entries, plain_row
from tests.contract.ledger_stores import LOG_ID
from tests.contract.postgres_server import APP_ROLE, PostgresDatabase, PostgresServer
from tests.contract.waiting import until

COMMIT_LOCK = int.from_bytes(b"keyturn")
SETTINGS = Settings(read=2.0)  # these tests are not about time
KILLS = 5


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as started:
        yield started


@pytest.fixture
def database(server: PostgresServer) -> PostgresDatabase:
    created = server.create_database()
    initialise(created.owner_url, log_id=LOG_ID, grant_to=APP_ROLE)
    return created


@pytest.fixture
def ledger(database: PostgresDatabase) -> Iterator[PostgresLedger]:
    opened = open_ledger(database.app_url, SETTINGS)
    yield opened
    opened.close()


def end_sessions(database: PostgresDatabase) -> None:
    """End every other session on the database, and return when they are gone."""
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with psycopg.connect(database.superuser_url, autocommit=True) as superuser:
        superuser.execute(f"SELECT pg_terminate_backend(pid) {others}".encode())
        until(lambda: superuser.execute(f"SELECT count(*) {others}".encode()).fetchone() == (0,))


def test_a_read_goes_on_after_its_connection_was_ended(
    database: PostgresDatabase, ledger: PostgresLedger
) -> None:
    ledger.commit(change_of(plain_row("row", 1)))
    end_sessions(database)
    assert ledger.head() == 1


def test_a_read_whose_connection_ends_under_way_is_made_again(
    database: PostgresDatabase, ledger: PostgresLedger
) -> None:
    ledger.commit(change_of(plain_row("row", 1)))
    with psycopg.connect(database.superuser_url) as blocker, ThreadPoolExecutor(1) as pool:
        blocker.execute("LOCK TABLE keyturn.entries IN ACCESS EXCLUSIVE MODE")
        waiting = pool.submit(ledger.head)
        query = (
            "SELECT pg_terminate_backend(pid) FROM pg_locks"
            " WHERE relation = 'keyturn.entries'::regclass AND NOT granted"
        )
        until(lambda: blocker.execute(query).fetchone())
        blocker.rollback()
        assert waiting.result(10) == 1


def test_a_commit_goes_on_after_idle_connections_were_ended(
    database: PostgresDatabase, ledger: PostgresLedger
) -> None:
    """No OutcomeUnknownError for each idle connection after a restart: it is seen to be dead before it is used."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: ledger.head(), range(40)))
    end_sessions(database)
    assert [ledger.commit(change_of(plain_row(f"row {row}", 1))) for row in range(5)] == [1, 2, 3, 4, 5]


def test_a_commit_whose_connection_ends_under_way_is_of_unknown_outcome(
    database: PostgresDatabase, ledger: PostgresLedger
) -> None:
    with psycopg.connect(database.superuser_url) as blocker, ThreadPoolExecutor(1) as pool:
        blocker.execute("SELECT pg_advisory_xact_lock(%s)", (COMMIT_LOCK,))
        waiting = pool.submit(ledger.commit, change_of(plain_row("row", 1)))
        query = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        until(lambda: blocker.execute(query).fetchone())
        with pytest.raises(OutcomeUnknownError):
            waiting.result(10)
    assert ledger.commit(change_of(plain_row("row", 1))) == 1


def test_a_server_that_is_down_is_a_storage_error_until_it_is_back(
    server: PostgresServer, ledger: PostgresLedger
) -> None:
    server.stop()
    for _ in range(3):
        with pytest.raises(StorageError) as caught:
            ledger.commit(change_of(plain_row("row", 1)))
        assert not isinstance(caught.value, OutcomeUnknownError)
        with pytest.raises(StorageError):
            ledger.head()
    server.start()
    assert ledger.commit(change_of(plain_row("row", 1))) == 1


def test_what_was_acknowledged_survives_killing_the_server_again_and_again(
    server: PostgresServer, ledger: PostgresLedger
) -> None:
    """Four threads commit while the whole cluster is killed; each keeps account of what it was told."""
    stop = threading.Event()
    acknowledged: dict[int, bytes] = {}
    refused: list[bytes] = []

    def write(thread: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            text = f"{thread}.{number}".encode()
            try:
                acknowledged[ledger.commit(change_of(plain_row(text.decode(), 1), entry=text))] = text
            except OutcomeUnknownError:
                continue
            except StorageError:
                refused.append(text)
                time.sleep(0.01)

    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(KILLS):
        enough = len(acknowledged) + 100
        until(lambda: len(acknowledged) >= enough)  # noqa: B023  (called before the loop goes on)
        server.kill()
        server.start()
    stop.set()
    for thread in threads:
        thread.join()

    entries = checked_entries(ledger)
    assert {position: entries[position - 1] for position in acknowledged} == acknowledged
    assert not set(refused) & set(entries), "what was refused must not have been written"
    assert len(acknowledged) >= 100 * KILLS


def fill_the_disk_under(server: PostgresServer, database: PostgresDatabase, table: str) -> tuple[Path, Path]:
    """Put /dev/full in the place of a table's file, so that the kernel answers its growth with ENOSPC."""
    with psycopg.connect(database.superuser_url, autocommit=True) as superuser:
        found = superuser.execute("SELECT pg_relation_filepath(%s::regclass)", (table,)).fetchone()
    assert found is not None
    server.stop()
    file = server.data / str(found[0])
    aside = file.with_suffix(".aside")
    file.rename(aside)
    file.symlink_to("/dev/full")
    server.start()
    return file, aside


def test_a_full_disk_is_named_and_writes_nothing(
    server: PostgresServer, database: PostgresDatabase, ledger: PostgresLedger
) -> None:
    file, aside = fill_the_disk_under(server, database, "keyturn.entries")
    with ThreadPoolExecutor(5) as pool:
        waiting = [pool.submit(ledger.commit, change_of(plain_row(f"row {row}", 1))) for row in range(5)]
        errors = [each.exception() for each in waiting]
    assert [type(error) for error in errors] == [StorageFullError] * 5
    assert "No space left on device" in server.log
    assert ledger.head() == 0
    assert ledger.read([f"row {row}" for row in range(5)]) == [None] * 5

    server.stop()
    file.unlink()
    aside.rename(file)
    server.start()
    assert ledger.commit(change_of(plain_row("row 0", 1))) == 1
    with pytest.raises(ConflictError):
        ledger.commit(change_of(plain_row("row 0", 1)))


def test_a_full_disk_is_named_where_the_server_reports_it_late(
    database: PostgresDatabase, ledger: PostgresLedger
) -> None:
    """A quota may be noticed only when the transaction ends; a deferred trigger of the owner's does so here."""
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        owner.execute(
            "CREATE FUNCTION keyturn.full() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'quota' USING ERRCODE = '53100'; END $$"
        )
        owner.execute(
            "CREATE CONSTRAINT TRIGGER full_late AFTER INSERT ON keyturn.entries DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION keyturn.full()"
        )
        with pytest.raises(StorageFullError):
            ledger.commit(change_of(plain_row("row", 1)))
        owner.execute("DROP TRIGGER full_late ON keyturn.entries")
    assert ledger.head() == 0
    assert ledger.commit(change_of(plain_row("row", 1))) == 1
