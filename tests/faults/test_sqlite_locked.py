"""Writers that meet: each gets its turn, and whoever waits in vain is told so."""

from __future__ import annotations

import fcntl
import multiprocessing
import multiprocessing.queues
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection, connect

import pytest

from keyturn.adapters.ledger.sqlite import Settings, SqliteLedger, open_ledger
from keyturn.errors import StorageBusyError
from keyturn.ports.ledger import Ledger
from tests.contract.ledger_samples import change_of, checked_entries, entries_only, one_row, plain_row
from tests.contract.ledger_stores import Store

SPAWN = multiprocessing.get_context("spawn")
WRITERS = 4
SECONDS = 2.0
IMPATIENT = Settings(write=0.3, read=0.3)


@pytest.fixture
def impatient(sqlite: Store) -> Iterator[SqliteLedger]:
    ledger = open_ledger(sqlite.url, IMPATIENT)
    ledger.commit(change_of(plain_row("first")))
    yield ledger
    ledger.close()


def path_of(store: Store) -> Path:
    return Path(store.url.removeprefix("sqlite:///"))


@contextmanager
def stranger(store: Store) -> Iterator[Connection]:
    """A program that knows nothing of our lock files."""
    connection = connect(path_of(store), isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def assert_busy_within_bounds(ledger: Ledger) -> None:
    began = time.monotonic()
    with pytest.raises(StorageBusyError) as caught:
        ledger.commit(change_of(plain_row("second")))
    assert 0.25 < time.monotonic() - began < 2.0
    assert caught.value.fix


def test_a_store_that_another_program_has_locked_is_busy_and_readable(
    sqlite: Store, impatient: SqliteLedger
) -> None:
    with stranger(sqlite) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert_busy_within_bounds(impatient)
        assert one_row(impatient, "first") is not None
        assert impatient.head() == 1
        other.execute("ROLLBACK")
        assert impatient.commit(change_of(plain_row("second"))) == 2
    assert len(checked_entries(impatient)) == 2


def test_a_program_that_locks_out_readers_makes_them_busy(sqlite: Store, impatient: SqliteLedger) -> None:
    impatient.close()
    with stranger(sqlite) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        with pytest.raises(StorageBusyError):
            open_ledger(sqlite.url, IMPATIENT)
        assert time.monotonic() - began < 2.0
    open_ledger(sqlite.url, IMPATIENT).close()


@pytest.mark.parametrize("suffix", [".lock", ".lock-next"])
def test_a_writer_that_never_ends_its_turn_makes_others_busy(
    sqlite: Store, impatient: SqliteLedger, suffix: str
) -> None:
    with path_of(sqlite).with_name(f"keyturn.db{suffix}").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert_busy_within_bounds(impatient)
        assert impatient.head() == 1
    assert impatient.commit(change_of(plain_row("second"))) == 2


def test_a_thread_that_waits_in_vain_leaves_the_queue(impatient: SqliteLedger) -> None:
    with impatient._writer.transaction():
        waiting = threading.Thread(target=assert_busy_within_bounds, args=(impatient,))
        waiting.start()
        waiting.join(10)
        assert not waiting.is_alive()
    assert impatient.commit(change_of(plain_row("second"))) == 2


def test_a_failed_write_gives_its_turn_back(sqlite: Store, impatient: SqliteLedger) -> None:
    def delete_and_stumble() -> None:
        with impatient._writer.transaction() as connection:
            connection.execute("DELETE FROM rows")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        delete_and_stumble()
    other = open_ledger(sqlite.url, IMPATIENT)
    assert other.commit(change_of(plain_row("first", 2))) == 2
    other.close()


def write_for_a_while(store: Store, begin: float, counts: multiprocessing.queues.SimpleQueue[int]) -> None:
    ledger = store.open()
    time.sleep(max(0.0, begin - time.time()))
    end, count = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        ledger.commit(entries_only(1))
        count += 1
    counts.put(count)
    ledger.close()


def test_no_writing_process_is_starved(sqlite: Store) -> None:
    counts: multiprocessing.queues.SimpleQueue[int] = SPAWN.SimpleQueue()
    begin = time.time() + 1.0
    writers = [SPAWN.Process(target=write_for_a_while, args=(sqlite, begin, counts)) for _ in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    found = sorted(counts.get() for _ in writers)
    assert found[0] * 4 >= found[-1], found
    ledger = sqlite.open()
    assert len(checked_entries(ledger)) == sum(found)
    ledger.close()


def test_no_writing_thread_is_starved(sqlite: Store) -> None:
    ledger = sqlite.open()
    counts = [0] * 8
    end = time.monotonic() + 1.0

    def write(thread: int) -> None:
        while time.monotonic() < end:
            ledger.commit(entries_only(1))
            counts[thread] += 1

    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(len(counts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert min(counts) * 2 >= max(counts), counts
    ledger.close()
