"""Counting uses: each once, whatever happens between the count and the ledger."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Final

import pytest

from keyturn.domain.verdict import Code
from keyturn.errors import (
    ConfigurationError,
    IntegrityError,
    InvalidInputError,
    KeyturnError,
    OutcomeUnknownError,
    SchemaError,
    StorageError,
)
from keyturn.ports.ledger import LastUse, UseCount
from keyturn.verifier.cache import Cache
from keyturn.verifier.entries import Entry
from keyturn.verifier.uses import BATCH, MAX_RECENT, MAX_REFUSALS, MAX_USED, Uses, together
from tests.fakes import HookedLedger
from tests.unit.records.memory_ledger import MemoryStore
from tests.unit.verifier.samples import NANOS, entry_of, key_id_of

MINUTE: Final = 60_000_000_000
SECOND: Final = 1_000_000_000
FIRST: Final = NANOS // MINUTE


class Counted:
    """Uses over a ledger in memory, and what has reached it."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.ledger = HookedLedger(self.store.open())
        self.uses = Uses(self.ledger)
        self.written: list[UseCount] = []

    def flush(self) -> bool:
        return self.uses.flush(self.written.extend)

    def flush_all(self) -> None:
        while self.flush():
            pass

    def stored(self) -> dict[tuple[str, str], int]:
        """Counts in the ledger by key and code, over all minutes."""
        found: Counter[tuple[str, str]] = Counter()
        for (_, key, _, code, _), count in self.store.uses.items():
            found[key, code] += count
        return dict(found)

    def told(self) -> int:
        """How many uses and refusals were passed on."""
        return sum(count.count for count in self.written)


@pytest.fixture
def counted() -> Counted:
    return Counted()


def use(counted: Counted, entry: Entry, times: int = 1, at: int = NANOS, ip: str | None = None) -> None:
    for _ in range(times):
        counted.uses.count(entry, at, ip)


def refuse(counted: Counted, at: int = NANOS, code: Code = Code.NOT_FOUND, ip: str | None = None) -> None:
    counted.uses.count_refusal("default", None, code, at, ip)


def test_uses_reach_the_ledger_at_the_flush_and_not_before(counted: Counted) -> None:
    entry = entry_of(1)
    use(counted, entry, 3)
    assert counted.stored() == {}
    assert not counted.flush(), "nothing more to write"
    assert counted.stored() == {(key_id_of(1), "valid"): 3}
    assert counted.ledger.calls == {"record_uses": 1}


def test_a_flush_without_uses_writes_nothing(counted: Counted) -> None:
    assert not counted.flush()
    assert not counted.ledger.calls


def test_a_use_says_when_and_from_where(counted: Counted) -> None:
    entry = entry_of(1, version={"number": 4})
    use(counted, entry, at=NANOS + 5 * SECOND + 1_999, ip="203.0.113.9")
    counted.flush()
    micros = (NANOS + 5 * SECOND) // 1_000 + 1
    assert counted.written == [
        UseCount(
            tenant="default", key_id=key_id_of(1), version=4, code="valid", minute=FIRST, count=1, last_at=micros,
            last_ip="203.0.113.9",
        )
    ]  # fmt: skip
    assert counted.store.last_uses == {
        (key_id_of(1), 4): LastUse(key_id=key_id_of(1), version=4, at=micros, ip="203.0.113.9")
    }


def test_each_use_is_written_once_over_many_flushes(counted: Counted) -> None:
    entry = entry_of(1)
    for times in (1, 0, 5, 2):
        use(counted, entry, times)
        counted.flush()
    assert counted.stored() == {(key_id_of(1), "valid"): 8}
    assert counted.told() == 8


@pytest.mark.parametrize("moment", ["before", "after"])
def test_what_is_used_while_a_batch_is_written_is_written_with_the_next(
    counted: Counted, moment: str
) -> None:
    known, new = entry_of(1), entry_of(2)
    use(counted, known, 3)
    refuse(counted)

    def meanwhile() -> None:
        use(counted, known, 4)
        use(counted, new, 1)
        refuse(counted)

    hang = counted.ledger.before if moment == "before" else counted.ledger.after
    hang("record_uses", meanwhile)
    assert counted.flush(), "there is more to write"
    assert counted.stored() == {(key_id_of(1), "valid"): 3, ("", "not_found"): 1}
    assert not counted.flush()
    assert counted.stored() == {(key_id_of(1), "valid"): 7, (key_id_of(2), "valid"): 1, ("", "not_found"): 2}
    assert counted.told() == 10


def test_what_the_ledger_did_not_take_is_kept_and_written_once(counted: Counted) -> None:
    entry = entry_of(1)
    use(counted, entry, 3)
    refuse(counted)
    counted.ledger.fail(StorageError("gone"), "record_uses")
    for _ in range(5):
        with pytest.raises(StorageError):
            counted.flush()
        use(counted, entry)
        refuse(counted)
    assert (counted.stored(), counted.written) == ({}, [])
    counted.ledger.work_again()
    counted.flush()
    assert counted.stored() == {(key_id_of(1), "valid"): 8, ("", "not_found"): 6}
    counted.flush()
    assert counted.told() == 14


@pytest.mark.parametrize(
    "error", [SchemaError("no such table"), ConfigurationError("no right"), IntegrityError("damaged")]
)
def test_what_an_operator_can_mend_loses_no_count(counted: Counted, error: KeyturnError) -> None:
    use(counted, entry_of(1), 3)
    refuse(counted)
    counted.ledger.fail(error, "record_uses")
    for _ in range(5):
        with pytest.raises(type(error)):
            counted.flush()
    counted.ledger.work_again()
    counted.flush()
    assert counted.stored() == {(key_id_of(1), "valid"): 3, ("", "not_found"): 1}
    assert counted.uses.dropped == 0


def test_what_the_ledger_can_never_take_is_dropped_and_counted_and_the_rest_goes_on(counted: Counted) -> None:
    use(counted, entry_of(1), 3)
    counted.ledger.fail(InvalidInputError("no text"), "record_uses")
    counted.flush()
    counted.ledger.work_again()
    use(counted, entry_of(1), 4)
    counted.flush()
    assert (counted.stored(), counted.uses.dropped) == ({(key_id_of(1), "valid"): 4}, 3)


def test_an_outage_costs_no_memory_for_uses(counted: Counted) -> None:
    """Each credential has a counter of its own, which only grows in value."""
    entries = [entry_of(number) for number in range(10)]
    counted.ledger.fail(StorageError("gone"), "record_uses")
    for minute in range(100):
        for entry in entries:
            use(counted, entry, at=NANOS + minute * MINUTE)
        with pytest.raises(StorageError):
            counted.flush()
    assert len(counted.uses._used) == 10


def test_when_the_answer_is_lost_counts_may_be_too_high_by_that_batch_and_never_too_low(
    counted: Counted,
) -> None:
    entry = entry_of(1)
    use(counted, entry, 3)

    def lose() -> None:
        raise OutcomeUnknownError("lost")

    counted.ledger.after("record_uses", lose)
    with pytest.raises(OutcomeUnknownError):
        counted.flush()
    use(counted, entry, 2)
    counted.flush()
    assert counted.stored() == {(key_id_of(1), "valid"): 3 + 5}


def test_the_uses_of_a_credential_that_left_the_cache_are_counted(counted: Counted) -> None:
    cache = Cache(2)
    for number in range(20):
        entry = entry_of(number)
        cache.put(entry)
        use(counted, entry, number)
        del entry
    cache.drop(None)
    counted.flush()
    assert counted.stored() == {(key_id_of(number), "valid"): number for number in range(1, 20)}


def test_a_credential_that_was_loaded_again_keeps_both_counts(counted: Counted) -> None:
    use(counted, entry_of(1), 3)
    use(counted, entry_of(1), 4)
    counted.flush()
    assert counted.stored() == {(key_id_of(1), "valid"): 7}


def test_refusals_are_counted_by_key_code_and_minute(counted: Counted) -> None:
    known = entry_of(1, version={"number": 2})
    for at in (NANOS, NANOS + 59 * SECOND, NANOS + 60 * SECOND):
        counted.uses.count_refusal("default", known, Code.REVOKED, at, None)
    counted.uses.count_refusal("default", known, Code.EXPIRED, NANOS, None)
    refuse(counted)
    counted.flush()
    assert {(use.key_id, use.version, use.code, use.minute): use.count for use in counted.written} == {
        (key_id_of(1), 2, "revoked", FIRST): 2,
        (key_id_of(1), 2, "revoked", FIRST + 1): 1,
        (key_id_of(1), 2, "expired", FIRST): 1,
        ("", 0, "not_found", FIRST): 1,
    }


def test_refusals_of_one_kind_keep_the_latest_time_and_the_latest_known_address(counted: Counted) -> None:
    for second, ip in ((1, "203.0.113.1"), (3, "203.0.113.3"), (2, "203.0.113.2"), (4, None)):
        refuse(counted, NANOS + second * SECOND, ip=ip)
    counted.flush()
    (count,) = counted.written
    assert (count.count, count.last_at, count.last_ip) == (4, (NANOS + 4 * SECOND) // 1_000, "203.0.113.3")


def test_two_counts_together_are_the_same_in_either_order() -> None:
    def count(number: int, at: int, ip: str | None) -> UseCount:
        return UseCount(
            tenant="default",
            key_id="",
            version=0,
            code="stale",
            minute=1,
            count=number,
            last_at=at,
            last_ip=ip,
        )

    earlier, later = count(2, 10, "203.0.113.1"), count(3, 20, None)
    assert together(earlier, later) == together(later, earlier) == count(5, 20, "203.0.113.1")


def test_a_batch_has_a_thousand_counts_at_most_and_all_are_written_in_the_end(counted: Counted) -> None:
    for number in range(2 * BATCH):
        use(counted, entry_of(number))
    for minute in range(BATCH // 2):
        refuse(counted, NANOS + minute * MINUTE)
    sizes = []
    while True:
        before = len(counted.written)
        more = counted.flush()
        sizes.append(len(counted.written) - before)
        if not more:
            break
    assert sizes == [1_000, 1_000, 500]
    assert counted.told() == 2_500
    assert len(counted.stored()) == 2 * BATCH + 1


def test_kinds_of_refusals_are_bounded_and_what_does_not_fit_is_counted(counted: Counted) -> None:
    counted.ledger.fail(StorageError("gone"), "record_uses")
    for minute in range(MAX_REFUSALS + 7):
        refuse(counted, NANOS + minute * MINUTE)
    assert len(counted.uses._refusals) == MAX_REFUSALS == 100_000
    assert counted.uses.dropped == 7
    refuse(counted, NANOS)
    assert counted.uses.dropped == 7, "a kind that is known still counts"
    counted.ledger.work_again()
    counted.flush_all()
    assert counted.told() == MAX_REFUSALS + 1


def test_a_batch_that_comes_back_to_full_memory_is_counted_as_dropped(counted: Counted) -> None:
    for minute in range(MAX_REFUSALS):
        refuse(counted, NANOS + minute * MINUTE)

    def fill_up_and_fail() -> None:
        for minute in range(MAX_REFUSALS, MAX_REFUSALS + BATCH):
            refuse(counted, NANOS + minute * MINUTE)
        raise StorageError("gone")

    counted.ledger.before("record_uses", fill_up_and_fail)
    with pytest.raises(StorageError):
        counted.flush()
    assert (len(counted.uses._refusals), counted.uses.dropped) == (MAX_REFUSALS, BATCH)


def test_credentials_that_wait_to_be_written_are_bounded_and_what_does_not_fit_is_counted(
    counted: Counted,
) -> None:
    """Where only counts are refused, others are loaded and pushed out of the cache for as long as that lasts."""
    known, new = entry_of(1), entry_of(2)
    use(counted, known, 3)
    assert counted.uses.batches == 1
    counted.uses._used += [known] * (MAX_USED - 1)
    use(counted, new, 5)
    use(counted, known, 2)
    assert counted.uses.batches == MAX_USED // BATCH == 500
    assert (known.uses, new.uses, counted.uses.dropped) == (5, 0, 5)


def test_uses_from_many_threads_are_counted_exactly_while_they_are_written(counted: Counted) -> None:
    entries, threads, each = [entry_of(number) for number in range(5)], 4, 3_000
    is_over = Event()

    def ask() -> None:
        for number in range(each):
            use(counted, entries[number % 5])
            if number % 3 == 0:
                refuse(counted)

    def write() -> None:
        while not is_over.is_set():
            counted.flush()

    with ThreadPoolExecutor(threads + 1) as pool:
        writing = pool.submit(write)
        asking = [pool.submit(ask) for _ in range(threads)]
        for done in asking:
            done.result()
        is_over.set()
        writing.result()
    counted.flush_all()
    expected = {(key_id_of(number), "valid"): threads * each // 5 for number in range(5)}
    assert counted.stored() == expected | {("", "not_found"): threads * each // 3}


def test_what_waits_and_what_was_decided_is_told_at_any_time(counted: Counted) -> None:
    """Also of uses that are not added up yet, and of those that are written already."""
    first, second = entry_of(), entry_of()
    assert (counted.uses.of_entries, counted.uses.waiting) == (0, 0)
    use(counted, first, times=3)
    use(counted, second)
    counted.uses.count_refusal("default", first, Code.EXPIRED, NANOS, None)
    refuse(counted)
    assert counted.uses.of_entries == 5, "a refusal that no key can be held to is none of a known credential"
    assert counted.uses.waiting == 6
    counted.flush_all()
    assert (counted.uses.of_entries, counted.uses.waiting) == (5, 0)
    use(counted, first, times=MAX_RECENT + 5)
    assert counted.uses.of_entries == MAX_RECENT + 10
