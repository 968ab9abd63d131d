"""What counting uses promises, on every adapter."""

from __future__ import annotations

import threading

import pytest

from keyturn.ports.ledger import LastUse, Ledger, UsageCount
from tests.contract.ledger_samples import use_of
from tests.contract.ledger_stores import Store


def test_counts_of_the_same_minute_and_result_add_up(ledger: Ledger) -> None:
    ledger.record_uses([use_of("key_a", count=2), use_of("key_a", count=3)])
    ledger.record_uses([use_of("key_a", count=10), use_of("key_a", code="revoked", count=1)])
    ledger.record_uses([use_of("key_a", version=2, count=4), use_of("key_b", count=100)])
    assert ledger.read_uses("key_a", 7, 7) == [
        UsageCount(version=1, code="revoked", minute=7, count=1),
        UsageCount(version=1, code="valid", minute=7, count=15),
        UsageCount(version=2, code="valid", minute=7, count=4),
    ]


def test_minutes_are_read_oldest_first_both_ends_included(ledger: Ledger) -> None:
    ledger.record_uses([use_of("key_a", minute, count=minute) for minute in (9, 5, 8, 6, 7, 10)])
    assert [each.minute for each in ledger.read_uses("key_a", 6, 9)] == [6, 7, 8, 9]
    assert ledger.read_uses("key_a", 11, 99) == []
    assert ledger.read_uses("key_none", 0, 99) == []


def test_counts_are_added_up_over_periods(ledger: Ledger) -> None:
    ledger.record_uses([use_of("key_a", minute, count=1) for minute in (0, 59, 60, 61, 119, 120, 200)])
    ledger.record_uses(
        [use_of("key_a", 61, code="revoked", count=5), use_of("key_a", 119, version=2, count=7)]
    )

    def counted(first: int, last: int, period: int) -> list[tuple[int, int, str, int]]:
        found = ledger.read_uses("key_a", first, last, period=period)
        return [(use.minute, use.version, use.code, use.count) for use in found]

    assert counted(0, 199, 60) == [
        (0, 1, "valid", 2),
        (60, 1, "revoked", 5),
        (60, 1, "valid", 3),
        (60, 2, "valid", 7),
        (120, 1, "valid", 1),
    ]
    assert counted(61, 119, 60) == [(60, 1, "revoked", 5), (60, 1, "valid", 2), (60, 2, "valid", 7)]
    assert counted(0, 10_000, 1_440) == [(0, 1, "revoked", 5), (0, 1, "valid", 7), (0, 2, "valid", 7)]


def test_results_that_belong_to_no_key_are_counted(ledger: Ledger) -> None:
    ledger.record_uses([use_of("", version=0, code="not_found", count=7)])
    assert ledger.read_uses("", 7, 7) == [UsageCount(version=0, code="not_found", minute=7, count=7)]
    assert ledger.last_uses([""]) == []


def test_the_last_use_of_each_version_only_moves_forward(ledger: Ledger) -> None:
    ledger.record_uses(
        [use_of("key_a", last_at=50, last_ip="::1"), use_of("key_a", last_at=40, last_ip="no")]
    )
    ledger.record_uses([use_of("key_a", last_at=30, last_ip="no"), use_of("key_a", version=2, last_at=5)])
    assert ledger.last_uses(["key_a", "key_none"]) == [
        LastUse(key_id="key_a", version=1, at=50, ip="::1"),
        LastUse(key_id="key_a", version=2, at=5, ip="203.0.113.9"),
    ]
    ledger.record_uses([use_of("key_a", last_at=60, last_ip=None)])
    assert ledger.last_uses(["key_a"])[0] == LastUse(key_id="key_a", version=1, at=60, ip=None)


def test_a_refused_use_is_no_use(ledger: Ledger) -> None:
    ledger.record_uses([use_of("key_a", last_at=10), use_of("key_a", last_at=99, code="expired")])
    assert [each.at for each in ledger.last_uses(["key_a"])] == [10]


def test_ten_thousand_counts_are_taken_at_once_and_no_more(ledger: Ledger) -> None:
    uses = [use_of(f"key_{number % 100}", minute=number) for number in range(10_000)]
    ledger.record_uses(uses)
    assert len(ledger.read_uses("key_7", 0, 10_000)) == 100
    with pytest.raises(ValueError, match="at most"):
        ledger.record_uses([*uses, use_of("key_a")])
    ledger.record_uses([])


def test_last_uses_takes_a_thousand_ids_and_no_more(ledger: Ledger) -> None:
    ids = [f"key_{number}" for number in range(1_001)]
    ledger.record_uses([use_of(key) for key in ids])
    assert sorted(each.key_id for each in ledger.last_uses(ids[:1_000])) == sorted(ids[:1_000])
    assert ledger.last_uses([]) == []
    with pytest.raises(ValueError, match="at most"):
        ledger.last_uses(ids)


def test_counts_from_several_threads_and_ledgers_all_count(store: Store, ledger: Ledger) -> None:
    other = store.open()

    def count(which: Ledger) -> None:
        for number in range(20):
            which.record_uses([use_of(f"key_{number % 3}"), use_of(f"key_{(number + 1) % 3}")])

    threads = [threading.Thread(target=count, args=(which,)) for which in (ledger, other) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert sum(use.count for key in range(3) for use in ledger.read_uses(f"key_{key}", 0, 99)) == 6 * 40
