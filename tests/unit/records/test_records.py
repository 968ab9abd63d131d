"""Rows read checked and committed sealed: what holds in this process when a call returns."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from keyturn.domain.change import ChangeSet, Require
from keyturn.errors import (
    ConfigurationError,
    ConflictError,
    IntegrityError,
    OutcomeUnknownError,
    StorageBusyError,
    StorageError,
    StorageFullError,
)
from keyturn.ports.ledger import Commit, Position
from keyturn.records.log_reader import NEVER
from tests.unit.records.memory_ledger import MemoryLedger
from tests.unit.records.samples import OWN, Bench, begun, change_of, put_of

KEY = f"key_{0:022}"


def problems(bench: Bench) -> list[tuple[str, str]]:
    return [(incident.row_id, incident.problem) for incident in bench.records.incidents.drain()]


def revision_of(bench: Bench, row_id: str) -> int | None:
    opened = bench.records.get(row_id)
    return None if opened is None else opened.row.revision


# What a list left out

POLICIES = [f"pol_{number:022}" for number in range(3)]


def test_a_policy_that_was_made_meanwhile_is_found_beside_a_list() -> None:
    bench = begun()
    for policy in POLICIES:
        bench.commit(put_of(policy))
    bench.commit(put_of(POLICIES[2], 2))
    found = list(bench.records.open_left_out("pol_", {POLICIES[0]}))
    assert [(each.row.id, each.row.revision) for each in found] == [(POLICIES[1], 1), (POLICIES[2], 2)]
    assert list(bench.records.open_left_out("whe_", ())) == []
    assert problems(bench) == []


def test_a_policy_that_was_deleted_or_put_back_is_reported_and_no_others_concern() -> None:
    bench = begun()
    for policy in POLICIES:
        bench.commit(put_of(policy))
    older = bench.store.rows[POLICIES[1]]
    bench.commit(put_of(POLICIES[1], 2))
    del bench.store.rows[POLICIES[0]]
    bench.store.rows[POLICIES[1]] = older
    for _ in range(2):
        assert [each.row.id for each in bench.records.open_left_out("pol_", ())] == POLICIES[2:]
    assert [row for row, _ in problems(bench)] == POLICIES[:2]
    assert next(iter(bench.beside().records.open_left_out("pol_", ()))).row.id == POLICIES[2]


# Committing


def test_a_commit_is_taken_in_before_it_returns() -> None:
    """A revocation holds in the process that made it when the call returns."""
    bench = begun()
    told: list[tuple[object, int]] = []
    bench.log.listen(lambda rows: told.append((rows, bench.log.position)))
    position = bench.commit(put_of(KEY), put_of(OWN), entries=3)
    assert position == bench.log.position == 4
    assert told == [([KEY, OWN], 1)]
    assert bench.log.as_of.endswith(":4")


def test_what_others_committed_before_is_taken_in_with_it() -> None:
    bench = begun()
    bench.write(put_of(OWN), entries=2)
    assert bench.commit(put_of(KEY)) == bench.log.position == 4
    assert bench.log.floor.revision(OWN) == 1


def test_a_commit_of_this_process_never_shares_a_read_that_began_before_it() -> None:
    bench = begun()
    has_begun, may_end = threading.Event(), threading.Event()

    def stand_still() -> None:
        has_begun.set()
        assert may_end.wait(20)

    bench.ledger.after("read_log", stand_still)
    reading = threading.Thread(target=bench.log.catch_up)
    reading.start()
    assert has_begun.wait(20)
    bench.ledger.after("commit", may_end.set)
    position = bench.commit(put_of(OWN))
    assert bench.log.position >= position
    assert bench.log.floor.revision(OWN) == 1
    reading.join(20)


def test_after_a_commit_that_could_not_be_read_back_nothing_is_decided_from_before_it() -> None:
    bench = begun()
    bench.ledger.fail(StorageError("gone"), "read_log")
    position = bench.commit(put_of(OWN))
    assert position == 2, "it is committed, and the caller is told so"
    assert bench.log.read_at == NEVER
    bench.ledger.work_again()
    bench.log.catch_up()
    assert bench.log.floor.revision(OWN) == 1


class ForgetfulLedger(MemoryLedger):
    """Acknowledges changes, and keeps none."""

    def commit(self, commit: Commit) -> Position:
        return self.head() + len(commit.entries)


class OtherLedger(MemoryLedger):
    """Acknowledges a change, and keeps another in its place."""

    def commit(self, commit: Commit) -> Position:
        return super().commit(replace(commit, entries=commit.entries[::-1]))


@pytest.mark.parametrize("kind", [ForgetfulLedger, OtherLedger])
def test_a_change_that_was_acknowledged_and_is_not_in_the_log_is_a_finding(kind: type[MemoryLedger]) -> None:
    bench = begun()
    bench.ledger.inner = kind(bench.store)
    with pytest.raises(IntegrityError, match="acknowledged"):
        bench.commit(put_of(OWN), entries=2)
    assert [row for row, _ in problems(bench)] == ["log"]


def test_a_change_after_which_others_have_written_is_found_in_the_log() -> None:
    bench = begun()
    bench.ledger.after("commit", lambda: bench.write(put_of(KEY), entries=3))
    assert bench.commit(put_of(OWN), entries=2) == 3
    assert bench.log.position == 6
    assert problems(bench) == []


def test_a_commit_to_a_log_that_then_does_not_hold_is_no_success() -> None:
    bench = begun()
    bench.ledger.fail(IntegrityError("altered"), "read_log")
    with pytest.raises(IntegrityError):
        bench.commit(put_of(OWN))
    assert bench.log.read_at == NEVER
    bench.ledger.work_again()
    with pytest.raises(IntegrityError):
        bench.commit(put_of(KEY))
    assert KEY not in bench.store.rows, "a node that has found its log altered changes nothing more"


def test_after_an_outcome_that_is_unknown_nothing_is_decided_from_before_it() -> None:
    bench = begun()

    def lose() -> None:
        raise OutcomeUnknownError("lost")

    bench.ledger.after("commit", lose)
    with pytest.raises(OutcomeUnknownError):
        bench.commit(put_of(OWN))
    assert bench.log.read_at == NEVER
    assert revision_of(bench, OWN) == 1, "it has happened"


@pytest.mark.parametrize("error", [StorageBusyError("busy"), StorageFullError("full")])
def test_a_commit_that_wrote_nothing_leaves_this_process_as_it_was(error: Exception) -> None:
    bench = begun()
    read_at, reads = bench.log.read_at, bench.ledger.calls["read_log"]
    bench.ledger.fail(error, "commit")
    with pytest.raises(type(error)):
        bench.commit(put_of(OWN))
    assert (bench.log.read_at, bench.ledger.calls["read_log"]) == (read_at, reads)


def sealed_position(bench: Bench) -> int:
    assert bench.store.sealed is not None
    return bench.store.sealed.position


@pytest.mark.parametrize("entries", [1, 3])
def test_a_change_is_vouched_for_when_its_call_returns_at_no_further_write(entries: int) -> None:
    bench = begun()
    writes = bench.ledger.calls["seal_head"]
    for put in (put_of(OWN), put_of(KEY)):
        assert sealed_position(bench) < bench.commit(put, entries=entries) == sealed_position(bench)
    assert bench.ledger.calls["seal_head"] == writes
    bench.log.seal_head()
    assert bench.ledger.calls["seal_head"] == writes, "nothing new"
    assert bench.beside().log.position == bench.log.position


def test_where_others_wrote_first_a_change_is_vouched_for_by_one_more_write() -> None:
    bench = begun()
    writes = bench.ledger.calls["seal_head"]
    bench.ledger.before("commit", lambda: bench.write(put_of(KEY), entries=3))
    assert bench.commit(put_of(OWN)) == 5 == sealed_position(bench)
    assert bench.ledger.calls["seal_head"] == writes + 1
    assert bench.beside().log.position == 5


def test_where_others_write_at_once_a_change_is_vouched_for_at_no_further_write() -> None:
    bench = begun()
    writes = bench.ledger.calls["seal_head"]
    bench.ledger.after("commit", lambda: bench.write(put_of(KEY), entries=3))
    assert bench.commit(put_of(OWN)) == 2 <= sealed_position(bench)
    assert bench.ledger.calls["seal_head"] == writes


@pytest.mark.parametrize("error", [StorageError("gone"), ConfigurationError("no right")])
def test_a_change_that_could_not_be_vouched_for_has_happened_and_is_vouched_for_later(
    error: Exception,
) -> None:
    bench = begun()
    bench.ledger.before("commit", lambda: bench.write(put_of(KEY)))
    bench.ledger.fail(error, "seal_head")
    assert bench.commit(put_of(OWN)) == 3
    assert sealed_position(bench) == 1
    bench.ledger.work_again()
    bench.log.seal_head()
    assert sealed_position(bench) == 3


def test_threads_that_write_at_once_are_vouched_for_together() -> None:
    bench, threads = begun(), 8
    all_here = threading.Barrier(threads)
    bench.ledger.always("commit", all_here.wait)  # so that all have read the same log

    def change(number: int) -> bool:
        return bench.commit(put_of(f"key_{number}")) <= sealed_position(bench)

    with ThreadPoolExecutor(threads) as pool:
        assert all(pool.map(change, range(threads)))
    assert bench.ledger.calls["seal_head"] < threads
    assert sealed_position(bench) == bench.log.position == threads + 1


def test_what_a_change_requires_is_the_ledgers_to_check() -> None:
    bench = begun()
    changes = change_of(put_of(KEY))
    with pytest.raises(ConflictError):
        bench.records.commit(ChangeSet(requires=(Require(OWN, 1),), puts=changes.puts, events=changes.events))
    assert revision_of(bench, KEY) is None


# Reading


def test_a_row_comes_back_as_it_was_committed() -> None:
    bench = begun()
    bench.commit(put_of(KEY, name="é"))
    opened = bench.records.get(KEY)
    assert opened is not None
    assert (opened.row.id, opened.row.revision, opened.body["name"]) == (KEY, 1, "é")
    assert bench.records.get(OWN) is None


def test_many_rows_come_in_the_order_asked_for() -> None:
    bench = begun()
    bench.commit(put_of("key_b"), put_of("key_a"))
    found = bench.records.get_many(["key_a", "none", "key_b", "key_a"])
    assert [opened and opened.row.id for opened in found] == ["key_a", None, "key_b", "key_a"]


def test_what_others_committed_is_read() -> None:
    bench, other = begun(), None
    other = bench.beside()
    for revision in (1, 2, 3):
        other.commit(put_of(OWN, revision))
        assert revision_of(bench, OWN) == revision
    assert problems(bench) == []


@pytest.mark.parametrize("moment", ["before the rows are read", "after the rows are read"])
def test_a_row_that_others_change_meanwhile_is_no_finding(moment: str) -> None:
    bench = begun()
    bench.commit(put_of(OWN))
    change: Callable[[], object] = lambda: bench.write(put_of(OWN, 2))  # noqa: E731
    if moment.startswith("before"):
        bench.ledger.before("read", change)
    else:
        bench.ledger.after("read", change)
    assert revision_of(bench, OWN) in (1, 2)
    assert problems(bench) == []


def test_a_row_that_this_process_changed_after_it_was_read_is_read_again() -> None:
    bench = begun()
    bench.commit(put_of(OWN))
    bench.ledger.after("read", lambda: bench.commit(put_of(OWN, 2)))
    assert revision_of(bench, OWN) == 2
    assert problems(bench) == []


def test_a_row_that_came_into_being_after_it_was_looked_for_is_read_again() -> None:
    bench = begun()
    bench.ledger.after("read", lambda: bench.commit(put_of(OWN)))
    assert revision_of(bench, OWN) == 1
    assert problems(bench) == []


def test_a_row_that_this_process_changes_each_time_it_is_read_is_no_finding() -> None:
    bench = begun()
    bench.commit(put_of(OWN))
    bench.ledger.after("read", lambda: bench.commit(put_of(OWN, 2)), lambda: bench.commit(put_of(OWN, 3)))
    assert revision_of(bench, OWN) == 3
    assert problems(bench) == []


def test_an_older_row_is_refused_and_noted() -> None:
    bench = begun()
    bench.commit(put_of(OWN))
    older = bench.store.rows[OWN]
    bench.commit(put_of(OWN, 2))
    bench.store.rows[OWN] = older
    with pytest.raises(IntegrityError, match="not the one that the log names"):
        bench.records.get(OWN)
    assert problems(bench) == [(OWN, "the row is not the one that the log names")]


def test_a_row_of_a_commit_that_never_was_is_refused() -> None:
    """Its seal holds, for it was sealed to be committed."""
    bench = begun()
    bench.commit(put_of(OWN))
    other = begun()
    for revision in (1, 2):
        other.commit(put_of(OWN, revision, stolen=True))
    bench.store.rows[OWN] = other.store.rows[OWN]
    with pytest.raises(IntegrityError):
        bench.records.get(OWN)
    bench.store.rows[OWN] = replace(other.store.rows[OWN], revision=1)
    with pytest.raises(IntegrityError):
        bench.records.get(OWN)


def test_a_row_that_vanished_is_refused_and_noted() -> None:
    bench = begun()
    bench.commit(put_of(OWN))
    del bench.store.rows[OWN]
    with pytest.raises(IntegrityError, match="missing"):
        bench.records.get(OWN)
    assert [row for row, _ in problems(bench)] == [OWN]


def test_a_row_whose_seal_does_not_hold_is_refused_and_noted_once() -> None:
    bench = begun()
    bench.commit(put_of(KEY))
    bench.store.rows[KEY] = replace(bench.store.rows[KEY], body=bench.store.rows[KEY].body.replace("1", "2"))
    for _ in range(3):
        with pytest.raises(IntegrityError):
            bench.records.get(KEY)
    assert problems(bench) == [(KEY, "a row seal does not hold")]


def test_a_log_that_cannot_be_read_gives_no_rows() -> None:
    bench = begun()
    bench.commit(put_of(KEY))
    bench.ledger.fail(StorageError("gone"), "read_log")
    with pytest.raises(StorageError):
        bench.records.get(KEY)


# Rows that a listing found


def test_rows_of_a_listing_are_checked_and_those_that_moved_are_read_again() -> None:
    bench = begun()
    bench.commit(put_of("key_a"), put_of("key_b"))
    found = [row for row in bench.ledger.read(["key_a", "key_b"]) if row is not None]
    bench.write(put_of("key_a", 2))
    assert [opened.row.revision for opened in bench.records.open_all(found)] == [2, 1]
    assert problems(bench) == []


def test_a_listing_with_an_older_row_is_refused() -> None:
    bench = begun()
    bench.commit(put_of("key_a"))
    older = bench.store.rows["key_a"]
    bench.commit(put_of("key_a", 2))
    bench.store.rows["key_a"] = older
    with pytest.raises(IntegrityError):
        bench.records.open_all([older])


def test_a_listing_with_a_row_that_is_gone_is_refused() -> None:
    bench = begun()
    bench.commit(put_of("key_a"))
    bench.commit(put_of("key_a", 2))
    stale = replace(bench.store.rows["key_a"], revision=1)
    del bench.store.rows["key_a"]
    with pytest.raises(IntegrityError):
        bench.records.open_all([stale])
