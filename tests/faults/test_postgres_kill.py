"""Clients killed with SIGKILL in the middle of their commits: whole or not at all, and what was acknowledged stays."""

from __future__ import annotations

import itertools
import multiprocessing
import multiprocessing.connection
import os
import random
import threading
import time
from functools import partial

import pytest

from keyturn.ports.ledger import Commit
from tests.contract.ledger_samples import checked_entries, entry_of, plain_row
from tests.contract.ledger_stores import Store, postgres_store
from tests.contract.postgres_server import PostgresDatabase
from tests.faults.kill_loop import Open
from tests.faults.wrong_ledgers import Hasty, open_wrong

KILLS = 120
KILLS_OF_THE_WRONG = 5
THREADS = 4  # of each client, so that commits travel together
LONGEST_LIFE = 0.02  # seconds after its first acknowledged commit


def pair_of(text: str) -> Commit:
    """Two entries and two rows, which must come together or not at all."""
    names = (f"{text}/1", f"{text}/2")
    rows = tuple(plain_row(name, 1) for name in names)
    return Commit((), rows, tuple(entry_of(name, entry=name.encode()) for name in names))


def commit_until_killed(open_ledger: Open, client: int, report: int) -> None:
    """Commit for ever, and report each position that was acknowledged as one line."""
    ledger = open_ledger()

    def write(thread: int) -> None:
        for number in itertools.count():
            text = f"{client}.{thread}.{number}"
            position = ledger.commit(pair_of(text))
            os.write(report, f"{position} {text}\n".encode())

    for thread in range(THREADS):
        threading.Thread(target=write, args=(thread,)).start()


def acknowledged_before_the_kill(
    open_ledger: Open, client: int, random_life: random.Random
) -> list[tuple[int, str]]:
    """Start a client, kill it at a random moment, and return what it had been told."""
    reader, writer = FORKSERVER.Pipe(duplex=False)
    process = FORKSERVER.Process(target=run_client, args=(open_ledger, client, writer))
    process.start()
    writer.close()
    lines = os.read(reader.fileno(), 1 << 20)  # blocks until the first acknowledgement
    time.sleep(random_life.uniform(0, LONGEST_LIFE))
    process.kill()
    process.join()
    while more := os.read(reader.fileno(), 1 << 20):
        lines += more
    reader.close()
    words = (line.split() for line in lines.decode().splitlines())
    return [(int(position), text) for position, text in words]


def run_client(open_ledger: Open, client: int, writer: multiprocessing.connection.Connection) -> None:
    """What a client process does: kept apart so that the pipe's end stays open with it."""
    commit_until_killed(open_ledger, client, writer.fileno())
    threading.Event().wait()


FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload([__name__, "keyturn.adapters.ledger.postgres"])


def acknowledged_before_kills(open_ledger: Open, kills: int) -> list[tuple[int, str]]:
    lives = random.Random(20)
    return [
        each for client in range(kills) for each in acknowledged_before_the_kill(open_ledger, client, lives)
    ]


def missing(entries: list[str], acknowledged: list[tuple[int, str]]) -> list[str]:
    """What was acknowledged, and is not where it was said to be."""
    return [
        text
        for position, text in acknowledged
        if entries[position - 2 : position] != [f"{text}/1", f"{text}/2"]
    ]


@pytest.fixture
def store(postgres_database: PostgresDatabase) -> Store:
    created = postgres_store(postgres_database)
    created.initialise()
    return created


def test_killed_clients_lose_nothing_that_was_acknowledged(store: Store) -> None:
    acknowledged = acknowledged_before_kills(store.open, KILLS)
    assert len(acknowledged) >= KILLS

    ledger = store.open()
    entries = [entry.decode() for entry in checked_entries(ledger)]
    assert missing(entries, acknowledged) == []
    assert len(entries) > 2 * len(acknowledged), "some commits should have been cut off from their answers"
    for first, second in zip(entries[::2], entries[1::2], strict=True):
        assert first.removesuffix("/1") == second.removesuffix("/2")
    for start in range(0, len(entries), 1_000):
        assert None not in ledger.read(entries[start : start + 1_000])
    ledger.close()


def test_a_client_that_acknowledges_before_the_commit_is_found_out(store: Store) -> None:
    acknowledged = acknowledged_before_kills(partial(open_wrong, Hasty, store), KILLS_OF_THE_WRONG)
    ledger = store.open()
    assert missing([entry.decode() for entry in checked_entries(ledger)], acknowledged)
    ledger.close()
