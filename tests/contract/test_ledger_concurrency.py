"""What a ledger promises to those who use it at once: threads of one process, and several processes."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from keyturn.domain.change import Require
from keyturn.errors import ConflictError
from keyturn.ports.ledger import Commit, Ledger, LogEntry
from tests.contract.ledger_samples import change_of, checked_entries, entry_of, one_row, plain_row
from tests.contract.ledger_stores import Store

WRITERS = 16
COMMITS = 25  # of each writer
PROCESSES = 4


@contextmanager
def tail(ledger: Ledger) -> Iterator[list[LogEntry]]:
    """Read the log along while others write; afterwards all of it has been read."""
    seen: list[LogEntry] = []
    is_over = threading.Event()

    def read_on() -> bool:
        found = ledger.read_log(len(seen) + 1, 7)
        # What is not there yet must not be passed over: the next read begins after what came.
        seen.extend(found)
        return bool(found)

    def follow() -> None:
        while not is_over.is_set():
            if not read_on():
                ledger.wait_for_news(0.05)
        while read_on():
            pass

    reader = threading.Thread(target=follow)
    reader.start()
    try:
        yield seen
    finally:
        is_over.set()
        reader.join()


def commit_many(ledger: Ledger, writer: str, commits: int = COMMITS) -> list[bytes]:
    """Entries that were acknowledged: one, two or three with each commit, and a row with each entry."""
    written = []
    for number in range(commits):
        rows = tuple(plain_row(f"{writer}.{number}.{part}") for part in range(1 + number % 3))
        entries = tuple(entry_of(row.id, entry=row.id.encode()) for row in rows)
        ledger.commit(Commit((), rows, entries))
        written += [entry.entry for entry in entries]
    return written


def commit_as_process(store: Store, writer: str) -> None:
    ledger = store.open()
    commit_many(ledger, writer)
    ledger.close()


def assert_whole(seen: list[LogEntry], ledger: Ledger, written: set[bytes]) -> None:
    """The reader saw each position once, in order, and all that was written, each commit in one piece."""
    assert [entry.position for entry in seen] == list(range(1, len(seen) + 1))
    entries = [entry.entry for entry in seen]
    assert entries == checked_entries(ledger)
    assert set(entries) == written
    assert len(entries) == len(written)
    for before, after in zip([b"..0", *entries], entries, strict=False):
        writer, number, part = after.split(b".")
        assert part == b"0" or before == b".".join([writer, number, b"%d" % (int(part) - 1)])


def test_writer_threads_make_one_dense_log_that_a_reader_sees_in_order(store: Store, ledger: Ledger) -> None:
    reader = store.open()
    with tail(reader) as seen, ThreadPoolExecutor(WRITERS) as pool:
        done = [pool.submit(commit_many, ledger, str(writer)) for writer in range(WRITERS)]
    written = {entry for each in done for entry in each.result()}
    assert_whole(seen, ledger, written)
    reader.close()


def test_writer_processes_make_one_dense_log_that_a_reader_sees_in_order(
    store: Store, ledger: Ledger
) -> None:
    context = multiprocessing.get_context("spawn")
    children = [
        context.Process(target=commit_as_process, args=(store, str(number))) for number in range(PROCESSES)
    ]
    with tail(ledger) as seen:
        for child in children:
            child.start()
        own = set(commit_many(ledger, "own", 3 * COMMITS))
        for child in children:
            child.join(60)
    assert [child.exitcode for child in children] == [0] * PROCESSES
    theirs = {
        f"{writer}.{number}.{part}".encode()
        for writer in range(PROCESSES)
        for number in range(COMMITS)
        for part in range(1 + number % 3)
    }
    assert_whole(seen, ledger, own | theirs)


def race(*acts: Callable[[], object]) -> list[object]:
    """What each act returned, or the ConflictError it raised, begun together."""
    barrier = threading.Barrier(len(acts))

    def begin(act: Callable[[], object]) -> object:
        barrier.wait()
        try:
            return act()
        except ConflictError as error:
            return error

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(begin, acts))


def test_of_changes_to_one_row_at_once_one_is_made(store: Store, ledger: Ledger) -> None:
    other = store.open()
    for revision in range(1, 31):
        change = change_of(plain_row("row", revision))
        outcomes = race(*(partial(which.commit, change) for which in (ledger, other) * 2))
        assert [isinstance(each, ConflictError) for each in outcomes].count(True) == 3
    assert len(checked_entries(ledger)) == 30
    other.close()


def test_what_a_change_relies_on_does_not_move_under_it(store: Store, ledger: Ledger) -> None:
    """A key issued for an owner while the owner is revoked: one of the two is refused."""
    other = store.open()
    for number in range(30):
        issue = change_of(plain_row(f"key_{number}"), requires=(Require(f"own_{number}", 0),))
        revoke = change_of(plain_row(f"own_{number}"), requires=(Require(f"key_{number}", 0),))
        issued, revoked = race(partial(ledger.commit, issue), partial(other.commit, revoke))
        assert isinstance(issued, ConflictError) != isinstance(revoked, ConflictError)
    other.close()


def test_retries_after_conflicts_lose_no_change(ledger: Ledger) -> None:
    def count_up() -> int:
        made = 0
        while made < 10:
            row = one_row(ledger, "counter")
            revision = row.revision if row else 0
            try:
                ledger.commit(change_of(plain_row("counter", revision + 1)))
            except ConflictError:
                continue
            made += 1
        return made

    assert race(*[count_up] * 4) == [10] * 4
    row = one_row(ledger, "counter")
    assert row is not None
    assert row.revision == 40


def test_a_commit_is_seen_by_another_ledger_once_it_returned(store: Store, ledger: Ledger) -> None:
    other = store.open()
    for number in range(1, 51):
        ledger.commit(change_of(plain_row("row", number)))
        row = one_row(other, "row")
        assert row is not None
        assert (other.head(), row.revision) == (number, number)
    other.close()


def test_waiting_ends_soon_after_news_and_in_time_without(store: Store, ledger: Ledger) -> None:
    other = store.open()
    ledger.wait_for_news(0.2)  # what came before it began to listen
    began = time.monotonic()
    ledger.wait_for_news(0.3)
    assert time.monotonic() - began < 2.0
    for number in range(3):
        timer = threading.Timer(0.2, other.commit, (change_of(plain_row(f"row {number}")),))
        timer.start()
        began = time.monotonic()
        while ledger.head() == number:
            ledger.wait_for_news(20.0)
        assert time.monotonic() - began < 10.0
        timer.join()
    other.close()
