"""Several processes on one ledger: writers and a reader, forks, news."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Event

import psycopg
import pytest

from keyturn.adapters.ledger.postgres import PostgresLedger, initialise, open_ledger
from keyturn.ports.ledger import NewEntry
from tests.contract.ledger_samples import change_of, checked_entries, plain_row
from tests.contract.ledger_stores import LOG_ID
from tests.contract.postgres_server import APP_ROLE, PostgresDatabase

WRITERS = 16
COMMITS = 25  # of each writer
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def app_url(postgres_database: PostgresDatabase) -> str:
    initialise(postgres_database.owner_url, log_id=LOG_ID, grant_to=APP_ROLE)
    return postgres_database.app_url


@pytest.fixture
def ledger(app_url: str) -> Iterator[PostgresLedger]:
    opened = open_ledger(app_url)
    yield opened
    opened.close()


def write_commits(url: str, writer: int, start: Event) -> None:
    """One writer: commits of one entry, or of three, from two threads."""
    ledger = open_ledger(url)
    start.wait(60)

    def write(thread: int) -> None:
        for number in range(COMMITS):
            plain = change_of(plain_row(f"{writer}.{thread}.{number}", 1))
            more = (
                () if number % 5 else (NewEntry(b"second", b"", None, ()), NewEntry(b"third", b"", None, ()))
            )
            ledger.commit(type(plain)((), plain.rows, plain.entries + more))

    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger.close()


def test_a_reader_behind_16_writers_sees_every_position_once_and_in_order(
    app_url: str, ledger: PostgresLedger
) -> None:
    start = SPAWN.Event()
    writers = [
        SPAWN.Process(target=write_commits, args=(app_url, number, start)) for number in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    start.set()

    seen: list[int] = []
    reads = 0
    while True:
        are_done = not any(writer.is_alive() for writer in writers)
        found = ledger.read_log(len(seen) + 1, 50)
        seen += [entry.position for entry in found]
        reads += bool(found)
        if are_done and not found:
            break
    assert [writer.exitcode for writer in writers] == [0] * WRITERS
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) == WRITERS * 2 * (COMMITS + 2 * (COMMITS // 5))
    assert reads > len(seen) / 50 + 10, (
        "the reader must have read beside the writers for this to mean anything"
    )
    assert len(checked_entries(ledger)) == len(seen)


def sessions(database: PostgresDatabase) -> set[int]:
    """The server's processes for the program's connections."""
    with psycopg.connect(database.superuser_url) as superuser:
        found = superuser.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = %s AND usename = %s", (database.name, APP_ROLE)
        ).fetchall()
    return {pid for (pid,) in found}


def test_a_forked_child_uses_connections_of_its_own(
    postgres_database: PostgresDatabase, ledger: PostgresLedger
) -> None:
    ledger.commit(change_of(plain_row("before", 1)))
    ledger.wait_for_news(1)  # opens the connection that listens
    before = sessions(postgres_database)
    assert len(before) == 2
    child = os.fork()
    if child == 0:
        status = 1
        try:
            ledger.commit(change_of(plain_row("child", 1)))
            ledger.wait_for_news(0.1)
            ledger.close()
            status = 0
        finally:
            os._exit(status)
    for number in range(20):
        ledger.commit(change_of(plain_row(f"parent {number}", 1)))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert ledger.commit(change_of(plain_row("after", 1))) == 23
    ledger.wait_for_news(5)
    assert before <= sessions(postgres_database), (
        "the child's goodbye must not have ended the parent's sessions"
    )
    assert len(checked_entries(ledger)) == 23


def test_a_child_forked_while_threads_commit_does_not_wait_for_them(ledger: PostgresLedger) -> None:
    stop = threading.Event()

    def write(thread: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            ledger.commit(change_of(plain_row(f"{thread}.{number}", 1)))

    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(6)]
    for thread in threads:
        thread.start()
    try:
        for number in range(10):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    ledger.commit(change_of(plain_row(f"child {number}", 1)))
                    status = 0
                finally:
                    os._exit(status)
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert None not in ledger.read([f"child {number}" for number in range(10)])
    checked_entries(ledger)


def test_news_of_another_processs_commit_ends_the_wait(app_url: str, ledger: PostgresLedger) -> None:
    ledger.wait_for_news(5)  # returns as soon as it listens
    other = open_ledger(app_url)
    timer = threading.Timer(0.3, other.commit, (change_of(plain_row("row", 1)),))
    started = time.monotonic()
    timer.start()
    ledger.wait_for_news(30)
    waited = time.monotonic() - started
    timer.join()
    other.close()
    assert 0.25 < waited < 10


def test_news_that_came_before_the_wait_is_not_lost(ledger: PostgresLedger) -> None:
    ledger.wait_for_news(5)
    ledger.commit(change_of(plain_row("row", 1)))
    started = time.monotonic()
    ledger.wait_for_news(30)
    assert time.monotonic() - started < 10


def test_without_news_the_wait_lasts_as_long_as_asked(ledger: PostgresLedger) -> None:
    ledger.wait_for_news(5)
    started = time.monotonic()
    ledger.wait_for_news(0.3)
    assert 0.29 <= time.monotonic() - started < 5


def test_closing_wakes_whoever_waits(ledger: PostgresLedger) -> None:
    ledger.wait_for_news(5)
    waiting = threading.Thread(target=ledger.wait_for_news, args=(60,))
    waiting.start()
    time.sleep(0.1)
    ledger.close()
    waiting.join(10)
    assert not waiting.is_alive()
    ledger.close()


def test_a_listener_whose_connection_ends_sleeps_and_listens_anew(
    postgres_database: PostgresDatabase, ledger: PostgresLedger
) -> None:
    ledger.wait_for_news(5)
    with psycopg.connect(postgres_database.superuser_url, autocommit=True) as superuser:
        superuser.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND query LIKE 'LISTEN%%'",
            (postgres_database.name,),
        )
    started = time.monotonic()
    ledger.wait_for_news(0.3)
    assert time.monotonic() - started >= 0.29
    test_news_that_came_before_the_wait_is_not_lost(ledger)
