"""Processes that fork with a ledger open: neither side loses a commit, and neither waits for ever."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable

from keyturn.adapters.ledger.sqlite import SqliteLedger
from keyturn.errors import KeyturnError
from keyturn.ports.ledger import Ledger
from tests.contract.ledger_samples import change_of, checked_entries, entries_only, one_row, plain_row
from tests.contract.ledger_stores import Store

CHILDREN = 10


def fork(act: Callable[[], None]) -> int:
    """The pid of a child that acts and ends, with status 0 if nothing was raised."""
    with warnings.catch_warnings():
        # Newer Pythons warn of forks beside threads, which is what is tested here.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        act()
        status = 0
    finally:
        os._exit(status)


def status_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_childs_commits_survive_the_parents_close(sqlite: Store) -> None:
    """SQLite's locks do not pass a fork: unprepared, the parent's close would delete the child's write-ahead log."""
    ledger = sqlite.open()
    ledger.commit(change_of(plain_row("parent")))
    assert one_row(ledger, "parent") is not None
    ledger.wait_for_news(0.0)
    (committed, says_committed), (closed, says_closed) = os.pipe(), os.pipe()

    def child() -> None:
        ledger.commit(change_of(plain_row("child 1")))
        os.write(says_committed, b".")
        os.read(closed, 1)
        ledger.commit(change_of(plain_row("child 2")))

    pid = fork(child)
    os.read(committed, 1)
    assert ledger.commit(change_of(plain_row("parent", 2))) == 3
    ledger.close()
    os.write(says_closed, b".")
    assert status_of(pid) == 0
    again = sqlite.open()
    assert len(checked_entries(again)) == 4
    assert None not in again.read(["parent", "child 1", "child 2"])
    again.close()
    for end in (committed, says_committed, closed, says_closed):
        os.close(end)


def test_a_parent_that_ends_first_leaves_the_child_its_store(sqlite: Store) -> None:
    ledger = sqlite.open()
    ledger.commit(entries_only(1))

    def commit_fifty() -> None:
        for _ in range(50):
            ledger.commit(entries_only(1))

    def parent() -> None:
        pid = fork(commit_fifty)
        ledger.commit(entries_only(1))
        ledger.close()
        assert status_of(pid) == 0

    assert status_of(fork(parent)) == 0
    assert len(checked_entries(ledger)) == 52
    ledger.close()


def test_forks_in_the_middle_of_work_leave_both_sides_working(sqlite: Store) -> None:
    ledger = sqlite.open()
    is_over = threading.Event()
    written, failures = [0] * 3, []

    def work(thread: int) -> None:
        try:
            while not is_over.is_set():
                ledger.commit(change_of(plain_row(f"{thread}.{written[thread]}")))
                written[thread] += 1
                ledger.head()
                ledger.wait_for_news(0.0)
        except KeyturnError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(3)]
    for thread in threads:
        thread.start()
    statuses = []
    for number in range(CHILDREN):
        time.sleep(0.01)
        statuses.append(status_of(fork(lambda name=f"child {number}": read_and_commit(ledger, name))))  # type: ignore[misc]
    is_over.set()
    for thread in threads:
        thread.join()
    assert (statuses, failures) == ([0] * CHILDREN, [])
    assert len(checked_entries(ledger)) == sum(written) + CHILDREN
    assert None not in ledger.read([f"child {number}" for number in range(CHILDREN)])
    ledger.close()


def read_and_commit(ledger: Ledger, row: str) -> None:
    head = ledger.head()
    assert ledger.commit(change_of(plain_row(row))) > head
    assert one_row(ledger, row) is not None
    ledger.wait_for_news(0.0)


def test_a_child_never_touches_its_parents_connections_even_where_no_hook_ran(sqlite: Store) -> None:
    """As after a fork in C code, which Python does not hear of."""
    ledger = sqlite.open()
    assert isinstance(ledger, SqliteLedger)
    ledger.commit(entries_only(1))
    ledger.head()
    parents = ledger._writer._connection
    for part in (ledger._writer, ledger._readers, ledger._news):
        part._pid = -1
    assert ledger.commit(entries_only(1)) == 2
    assert ledger.head() == 2
    assert ledger._writer._connection is not parents
    assert parents is not None
    assert parents.execute("SELECT 1").fetchone() == (1,), "left open: closing would end the parent's locks"
    parents.close()
    ledger.close()
