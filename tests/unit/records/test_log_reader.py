"""Following the log: what is known when a read has ended, who shares it, and what a log that does not hold does."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from keyturn.domain.entry import chain_next
from keyturn.errors import IntegrityError, OutcomeUnknownError, StorageError
from keyturn.ports.ledger import LogEntry
from keyturn.records.log_reader import BATCH, NEVER, SNAPSHOT_EVERY, LogReader
from keyturn.records.records import Records
from tests.fakes import HookedLedger, ManualClock
from tests.unit.records.memory_ledger import MemoryStore
from tests.unit.records.samples import (
    OWN,
    Bench,
    HookedKeyring,
    begun,
    change_of,
    image_of,
    put_of,
    restore,
    ring,
)


def known(bench: Bench, row_id: str) -> int:
    """The revision of a row that this process holds for current; 0 for none."""
    return bench.log.floor.revision(row_id)


# Reading


def test_a_reader_knows_the_log_as_it_was_when_it_was_opened() -> None:
    bench = begun()
    bench.commit(put_of(OWN), entries=3)
    other = bench.beside()
    assert other.log.position == 4
    assert other.log.as_of == f"{bench.store.log_id}:4"
    assert known(other, OWN) == 1
    assert other.log.read_at < bench.clock.steady()


def test_catching_up_reads_to_the_end_in_order() -> None:
    bench = begun()
    for revision in range(1, 6):
        bench.write(put_of(OWN, revision))
    assert (bench.log.position, known(bench, OWN)) == (1, 0)
    bench.log.catch_up()
    assert (bench.log.position, bench.log.as_of, known(bench, OWN)) == (6, f"{bench.store.log_id}:6", 5)


def test_a_log_longer_than_a_read_is_read_in_several() -> None:
    bench = begun()
    for _ in range(2 * BATCH // 1_000):
        bench.write(entries=1_000)
    bench.write(put_of(OWN))
    reads = bench.ledger.calls["read_log"]
    bench.log.catch_up()
    assert BATCH == 2_000
    assert bench.log.position == 2 * BATCH + 2
    assert known(bench, OWN) == 1
    assert bench.ledger.calls["read_log"] - reads == 4, "three with entries, one that finds the end"
    assert bench.beside().log.position == 2 * BATCH + 2


def test_with_nothing_new_one_read_is_enough() -> None:
    bench = begun()
    reads = bench.ledger.calls["read_log"]
    bench.log.catch_up()
    assert bench.ledger.calls["read_log"] == reads + 1


def test_the_time_of_a_read_is_when_it_began() -> None:
    bench = begun()
    before = bench.clock.steady()
    bench.ledger.after("read_log", lambda: bench.clock.pass_time(5.0))
    bench.log.catch_up()
    assert before < bench.log.read_at < before + 0.001


def test_listeners_are_told_which_rows_changed_before_the_position_moves() -> None:
    """Whoever sees the new position must find a cache without the old rows."""
    bench, told = begun(), []
    bench.log.listen(lambda rows: told.append((rows, bench.log.position, bench.log.as_of)))
    bench.write(put_of(OWN), put_of("key_a"))
    bench.write()
    bench.log.catch_up()
    assert told == [([OWN, "key_a"], 1, f"{bench.store.log_id}:1")]
    bench.write(put_of(OWN, 2))
    bench.log.catch_up()
    assert told[1:] == [([OWN], 3, f"{bench.store.log_id}:3")]


def test_an_entry_that_names_no_row_changes_nothing_for_a_listener() -> None:
    bench = begun()
    told: list[Sequence[str] | None] = []
    bench.log.listen(told.append)
    bench.write(entries=5)
    bench.log.catch_up()
    assert told == [[]]


def test_while_changes_are_taken_in_nobody_fills_a_cache() -> None:
    bench, held = begun(), []
    bench.log.listen(lambda _: held.append(bench.log.applying.locked()))
    bench.write(put_of(OWN))
    bench.log.catch_up()
    assert held == [True]
    assert not bench.log.applying.locked()


# Sharing a read


class Waiting:
    """A reader whose next read of the log stands still until it is let go."""

    def __init__(self, bench: Bench) -> None:
        self.has_begun, self.may_end = threading.Event(), threading.Event()
        bench.ledger.after("read_log", self._stand_still)

    def _stand_still(self) -> None:
        self.has_begun.set()
        assert self.may_end.wait(20)


def test_threads_that_wait_for_a_read_get_one_that_began_after_they_asked() -> None:
    bench, threads = begun(), 20
    waiting = Waiting(bench)
    with ThreadPoolExecutor(threads + 1) as pool:
        first = pool.submit(bench.log.catch_up)
        assert waiting.has_begun.wait(20)
        bench.write(put_of(OWN))  # after the first read, and before the others ask
        asked = threading.Barrier(threads + 1)

        def ask() -> tuple[int, int]:
            asked.wait(20)
            bench.log.catch_up()
            return known(bench, OWN), bench.log.position

        others = [pool.submit(ask) for _ in range(threads)]
        asked.wait(20)
        waiting.may_end.set()
        first.result(20)
        assert {other.result(20) for other in others} == {(1, 2)}, (
            "a read that began before they asked is not theirs"
        )


def test_threads_that_asked_before_a_read_began_do_not_read_again() -> None:
    bench = begun()
    waiting, asked = Waiting(bench), [threading.Event() for _ in range(5)]
    reads = bench.ledger.calls["read_log"]
    with ThreadPoolExecutor(6) as pool:
        done = [pool.submit(bench.log.catch_up)]
        assert waiting.has_begun.wait(20)
        for event in asked:
            bench.clock.at_next("steady", event.set)
        done += [pool.submit(bench.log.catch_up) for _ in asked]
        assert all(event.wait(20) for event in asked)
        time.sleep(0.05)  # from looking at the clock to waiting for the read
        waiting.may_end.set()
        for each in done:
            each.result(20)
    # The one that stood still, and one for all who waited; one more where a thread was slow between clock and lock.
    assert 2 <= bench.ledger.calls["read_log"] - reads <= 3 < 1 + len(asked)


# Failing


def test_a_read_that_fails_on_the_way_keeps_what_it_had_and_goes_on_later() -> None:
    bench = begun()
    for _ in range(3):
        bench.write(entries=1_000)
    bench.write(put_of(OWN))
    read_at = bench.log.read_at

    def fail() -> None:
        raise StorageError("gone")

    bench.ledger.before("read_log", lambda: None, fail)
    with pytest.raises(StorageError):
        bench.log.catch_up()
    assert (bench.log.position, bench.log.read_at) == (1 + BATCH, read_at)
    assert not bench.log.is_broken
    bench.log.catch_up()
    assert (bench.log.position, known(bench, OWN)) == (3_002, 1)


@pytest.mark.parametrize("what", ["entry", "hash", "seal", "position", "row"])
def test_a_log_that_does_not_hold_closes_the_reader_for_good(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench = begun()
    bench.write(put_of(OWN))
    whole = bench.store.log[-1]
    bench.store.log[-1] = {
        "entry": replace(whole, entry=whole.entry.replace(b"local", b"LOCAL")),
        "hash": replace(whole, hash=bytes(32)),
        "seal": replace(whole, seal=bytes(37)),
        "position": replace(whole, position=7),
        "row": replace(whole, entry=whole.entry.replace(b",1,", b",2,")),
    }[what]
    with caplog.at_level(logging.CRITICAL, "keyturn.log"), pytest.raises(IntegrityError):
        bench.log.catch_up()
    assert bench.log.is_broken
    assert bench.log.read_at == NEVER
    assert "answers nothing more" in caplog.text
    bench.store.log[-1] = whole
    reads = bench.ledger.calls["read_log"]
    for _ in range(3):
        with pytest.raises(IntegrityError):
            bench.log.catch_up()
    assert bench.ledger.calls["read_log"] == reads, "mending it changes nothing: an operator has to look"
    assert (bench.log.position, known(bench, OWN)) == (1, 0)


def test_a_log_that_names_a_revision_twice_does_not_hold() -> None:
    bench = begun()
    bench.commit(put_of(OWN, 1))
    bench.commit(put_of(OWN, 2))
    again = bench.store.log[-1]
    bench.store.log.append(
        LogEntry(len(bench.store.log) + 1, again.entry, again.seal, chain_next(again.hash, again.entry), None)
    )
    with pytest.raises(IntegrityError, match="revision 2"):
        bench.log.catch_up()
    assert bench.log.is_broken


def test_threads_that_wait_for_a_read_that_breaks_the_log_are_all_refused() -> None:
    bench = begun()
    waiting = Waiting(bench)
    bench.write()
    bench.store.log[-1] = replace(bench.store.log[-1], seal=bytes(37))
    with ThreadPoolExecutor(5) as pool:
        done = [pool.submit(bench.log.catch_up)]
        assert waiting.has_begun.wait(20)
        done += [pool.submit(bench.log.catch_up) for _ in range(4)]
        waiting.may_end.set()
        assert [type(each.exception(20)) for each in done] == [IntegrityError] * 5


def test_a_broken_reader_vouches_for_nothing() -> None:
    bench = begun()
    sealed = bench.store.sealed
    bench.write()
    bench.store.log[-1] = replace(bench.store.log[-1], seal=bytes(37))
    with pytest.raises(IntegrityError):
        bench.log.catch_up()
    bench.log.seal_head()
    assert bench.store.sealed == sealed


def test_a_reader_that_distrusts_what_it_read_reads_again() -> None:
    bench = begun()
    bench.log.distrust()
    assert bench.log.read_at == NEVER
    bench.log.catch_up()
    assert bench.log.read_at > 0


def test_a_read_that_was_under_way_does_not_undo_distrust() -> None:
    bench = begun()
    waiting = Waiting(bench)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(bench.log.catch_up)
        assert waiting.has_begun.wait(20)

        def lose() -> None:
            raise OutcomeUnknownError("lost")

        bench.ledger.after("commit", lose)
        with pytest.raises(OutcomeUnknownError):
            bench.commit(put_of(OWN))
        waiting.may_end.set()
        reading.result(20)
    assert bench.log.position == 1, "the commit is there and was not seen"
    assert bench.log.read_at == NEVER


# A log that went back


def test_after_a_log_went_back_nothing_kept_may_be_relied_on_and_the_operator_hears_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = begun()
    bench.commit(put_of(OWN))
    before = image_of(bench.store)
    for revision in (2, 3):
        bench.commit(put_of(OWN, revision))
    told: list[Sequence[str] | None] = []
    bench.log.listen(told.append)
    restore(bench.store, before)
    bench.write(put_of("key_b"), entries=3)
    with caplog.at_level(logging.ERROR, "keyturn.log"):
        bench.log.catch_up()
    assert told == [None]
    assert bench.log.as_of == f"{bench.store.log_id}:5"
    assert "reading it anew" in caplog.text
    (incident,) = bench.log.incidents.drain()
    assert (incident.row_id, incident.tenant) == ("log", "system")
    assert "position 4" in incident.problem
    bench.write(put_of("key_c"))
    bench.log.catch_up()
    assert (told[1:], bench.log.position) == ([["key_c"]], 6), "and it is followed from there"


def test_a_log_that_is_shorter_than_what_was_read_of_it_is_read_anew() -> None:
    bench = begun()
    before = image_of(bench.store)
    bench.commit(put_of(OWN), entries=3)
    restore(bench.store, before)
    bench.log.catch_up()
    assert bench.log.position == 1
    assert len(bench.log.incidents.drain()) == 1


def test_what_was_seen_revoked_stays_so_after_the_log_went_back() -> None:
    """The other history may go on in its own way: of a row of which it tells otherwise, nothing is taken any more."""
    bench = begun()
    bench.commit(put_of(OWN, 1), put_of("key_a", 1))
    before = image_of(bench.store)
    bench.commit(put_of(OWN, 2, revoked=True))
    restore(bench.store, before)
    bench.write(put_of("key_b"))
    bench.write(put_of(OWN, 2), put_of("key_a", 2))
    with pytest.raises(IntegrityError):
        bench.records.get(OWN)
    bench.write(put_of(OWN, 3))
    with pytest.raises(IntegrityError):
        bench.records.get(OWN)
    assert [bench.records.get(row) is not None for row in ("key_a", "key_b")] == [True, True]
    assert not bench.log.is_broken


def test_a_log_that_is_shorter_than_its_sealed_head_closes_the_reader() -> None:
    bench = begun()
    bench.commit(put_of(OWN))
    bench.log.seal_head()
    del bench.store.log[1:]
    with pytest.raises(IntegrityError, match="before its sealed head"):
        bench.log.catch_up()
    assert bench.log.is_broken


# What a process vouches for


def test_before_the_first_entry_there_is_nothing_to_vouch_for() -> None:
    bench = Bench()
    bench.log.seal_head()
    assert (bench.store.sealed, bench.ledger.calls["seal_head"]) == (None, 0)


def test_the_head_that_is_sealed_is_the_one_that_was_read() -> None:
    bench = begun()
    bench.write(put_of(OWN))
    bench.log.catch_up()
    bench.write()
    bench.log.seal_head()
    sealed = bench.store.sealed
    assert sealed is not None
    assert (sealed.position, sealed.hash) == (2, bench.store.log[1].hash), (
        "not the entry that it has not seen"
    )


def test_the_sealed_head_is_written_when_there_is_something_new_and_only_forward() -> None:
    bench = begun()
    behind = bench.beside()
    writes = bench.ledger.calls["seal_head"]
    bench.log.seal_head()
    assert bench.ledger.calls["seal_head"] == writes, "nothing new"
    bench.write(put_of(OWN), entries=5)
    bench.log.catch_up()
    bench.log.seal_head()
    bench.log.seal_head()
    assert bench.ledger.calls["seal_head"] == writes + 1
    sealed = bench.store.sealed
    assert sealed is not None
    assert sealed.position == 6
    bench.write(put_of("key_a"))
    behind.log.seal_head()
    assert bench.store.sealed == sealed
    behind.log.catch_up()
    behind.log.seal_head()
    assert bench.store.sealed is not None
    assert bench.store.sealed.position == 7


def test_a_head_that_could_not_be_written_is_written_the_next_time() -> None:
    bench = begun()
    bench.write(put_of(OWN))
    bench.log.catch_up()
    bench.ledger.fail(StorageError("gone"), "seal_head")
    with pytest.raises(StorageError):
        bench.log.seal_head()
    bench.ledger.work_again()
    bench.log.seal_head()
    assert bench.store.sealed is not None
    assert bench.store.sealed.position == 2


def test_a_reader_opens_a_log_that_was_written_on_after_its_sealed_head() -> None:
    bench = begun()
    bench.write(put_of(OWN), entries=3)
    assert bench.beside().log.position == 4


def test_a_head_that_is_sealed_while_another_thread_reads_on_is_one_head() -> None:
    """A change seals the head that there will be, beside the thread that follows the log."""
    bench = begun()
    keyring = ring(bench.store.log_id, HookedKeyring)
    assert isinstance(keyring, HookedKeyring)
    ledger = HookedLedger(bench.store.open())
    log = LogReader(ledger=ledger, keyring=keyring, clock=bench.clock)
    records = Records(ledger=ledger, keyring=keyring, log=log)

    def follow() -> None:
        bench.write(put_of(OWN))
        log.catch_up()

    keyring.hook = follow
    records.commit(change_of(put_of("key_a")))
    assert Bench(bench.store, bench.clock).log.position == 3


def test_writing_the_head_does_not_keep_others_from_reading_the_log() -> None:
    bench = begun()
    bench.write(put_of(OWN))
    bench.log.catch_up()
    has_begun, may_end = threading.Event(), threading.Event()

    def wait_for_its_turn() -> None:
        has_begun.set()
        may_end.wait(20)

    bench.ledger.before("seal_head", wait_for_its_turn)
    with ThreadPoolExecutor(2) as pool:
        sealing = pool.submit(bench.log.seal_head)
        assert has_begun.wait(20)
        reading = pool.submit(bench.log.catch_up)
        try:
            reading.result(1.0)
            has_read = True
        except TimeoutError:
            has_read = False
        may_end.set()
        sealing.result(20)
        reading.result(20)
    assert has_read


# Snapshots


def as_if_a_snapshot_were_due_after(bench: Bench, entries: int) -> None:
    """Instead of fifty thousand entries, of which the reader keeps no more than the position of the last snapshot."""
    bench.log._snapshot = bench.log.position + entries - SNAPSHOT_EVERY


def test_a_snapshot_is_kept_every_fifty_thousand_entries_and_a_reader_begins_from_it() -> None:
    """So that a start on a log of millions takes seconds. Its floor is that of the whole log."""
    assert SNAPSHOT_EVERY == 50_000
    bench = begun()
    for revision in range(1, 4):
        bench.commit(put_of(OWN, revision))
    as_if_a_snapshot_were_due_after(bench, 3)
    bench.commit(put_of("key_a", 1), put_of("key_b", 1))
    bench.commit(put_of("key_b", 2))
    bench.log.keep_snapshot()
    assert bench.ledger.calls["save_snapshot"] == 0, "one entry short"
    bench.commit()
    bench.log.keep_snapshot()
    assert bench.store.snapshot is not None
    assert bench.store.snapshot.position == bench.log.position == 7

    bench.commit(put_of("key_c", 1))
    bench.commit(put_of("key_c", 2))
    bench.log.keep_snapshot()
    assert bench.store.snapshot.position == 7, "the next one is far"

    bench.store.log[:3] = [replace(stored, entry=b"unread", hash=b"") for stored in bench.store.log[:3]]
    other = bench.beside()
    assert other.log.position == 9
    assert other.log.floor.to_bytes() == bench.log.floor.to_bytes()
    assert [known(other, row) for row in (OWN, "key_b", "key_c", "key_a")] == [3, 2, 2, 0]
    other.commit()
    other.log.keep_snapshot()
    assert other.ledger.calls["save_snapshot"] == 0


def test_a_snapshot_that_could_not_be_written_is_written_the_next_time() -> None:
    bench = begun()
    as_if_a_snapshot_were_due_after(bench, 1)
    bench.ledger.fail(StorageError("gone"), "save_snapshot")
    bench.commit(put_of(OWN))
    with pytest.raises(StorageError):
        bench.log.keep_snapshot()
    bench.ledger.work_again()
    bench.commit(put_of(OWN, 2))
    bench.log.keep_snapshot()
    assert bench.store.snapshot is not None
    assert bench.store.snapshot.position == 3
    assert bench.beside().log.floor.revision(OWN) > 1


def test_a_floor_that_has_outgrown_a_snapshot_locks_nobody_out(caplog: pytest.LogCaptureFixture) -> None:
    """The last snapshot stays, whoever runs says so and goes on, and a node that starts reads the log from there."""
    bench = begun()
    as_if_a_snapshot_were_due_after(bench, 1)
    bench.commit(put_of(OWN))
    bench.log.keep_snapshot()
    last = bench.store.snapshot
    assert last is not None
    grown = LogReader(
        ledger=bench.ledger,
        keyring=bench.keyring,
        clock=bench.clock,
        snapshot_bytes=len(bench.log.floor.to_bytes()),
    )
    for revision in (1, 2, 3):
        bench.commit(put_of("key_a", revision))
    grown.catch_up()
    grown._snapshot = grown.position - SNAPSHOT_EVERY
    grown.keep_snapshot()
    grown.keep_snapshot()  # it says so once, until the log has grown again
    assert len([each for each in caplog.messages if "more than a snapshot holds" in each]) == 1
    assert bench.store.snapshot == last
    other = bench.beside()
    assert known(other, "key_a") == 3
    other.commit(put_of("key_b"))


def test_a_snapshot_of_another_log_is_refused() -> None:
    bench, other = begun(), Bench(MemoryStore("FEDCBA9876543210"), ManualClock())
    other.commit(put_of("keyring"))
    other.log.keep_snapshot()
    as_if_a_snapshot_were_due_after(other, 1)
    other.commit(put_of(OWN))
    other.log.keep_snapshot()
    bench.store.snapshot = other.store.snapshot
    assert bench.store.snapshot is not None
    with pytest.raises(IntegrityError):
        bench.beside()
