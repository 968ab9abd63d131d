"""What sealing rows anew promises, on every adapter: in place, of what was read, and of nothing else."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from keyturn.errors import ConflictError
from keyturn.ports.ledger import Ledger, Reseal, Row
from tests.contract.ledger_samples import SEAL, change_of, ids_of, key_row, one_row, plain_row, version_row
from tests.contract.ledger_stores import Store

NEW_SEAL = b"\x01" + bytes([2] * 36)


def read(ledger: Ledger, row: str) -> Row:
    found = one_row(ledger, row)
    assert found is not None
    return found


def anew(row: Row, seal: bytes = NEW_SEAL, material: bytes | None = None) -> Reseal:
    return Reseal(row, seal, material)


def test_seal_and_material_are_replaced_and_nothing_else(ledger: Ledger) -> None:
    ledger.commit(change_of(plain_row("row", material=b"old"), plain_row("other", material=b"kept")))
    row, other, head = read(ledger, "row"), read(ledger, "other"), ledger.head()
    assert ledger.reseal([anew(row, material=b"new")]) == 1
    assert read(ledger, "row") == replace(row, seal=NEW_SEAL, material=b"new")
    assert read(ledger, "other") == other
    assert ledger.head() == head, "it is no change, and no entry"


def test_many_are_resealed_at_once(ledger: Ledger) -> None:
    rows = [
        key_row("key_a", owner="ann", tags=["t"]),
        version_row("key_a", 1, "cred", material=b"m"),
        plain_row("own"),
    ]
    ledger.commit(change_of(*rows))
    found = ledger.list_rows("", 10)
    assert ledger.reseal([anew(row, material=row.material) for row in found]) == 3
    assert ledger.list_rows("", 10) == [replace(row, seal=NEW_SEAL) for row in found]
    credential = ledger.read_credential("cred")
    assert credential is not None
    assert credential.key.seal == NEW_SEAL


def test_nothing_is_no_reseal(ledger: Ledger) -> None:
    assert ledger.reseal([]) == 0


@pytest.mark.parametrize(
    "stale",
    [
        {"seal": NEW_SEAL},
        {"revision": 1},
        {"revision": 3},
        {"material": b"another"},
        {"material": None},
        {"material": b""},
        {"id": "absent"},
    ],
    ids=str,
)
def test_a_row_that_is_not_as_it_was_read_is_left_alone(ledger: Ledger, stale: dict[str, object]) -> None:
    ledger.commit(change_of(plain_row("row", material=b"old")))
    ledger.commit(change_of(plain_row("row", 2, material=b"old"), plain_row("other")))
    row = read(ledger, "row")
    reseals = [anew(replace(row, **stale), material=b"new"), anew(read(ledger, "other"))]  # type: ignore[arg-type]
    assert ledger.reseal(reseals) == 1
    assert read(ledger, "row") == row
    assert one_row(ledger, "absent") is None, "nothing is ever inserted"
    assert read(ledger, "other").seal == NEW_SEAL


def test_a_row_without_material_is_told_from_one_with_some(ledger: Ledger) -> None:
    ledger.commit(change_of(plain_row("row")))
    row = read(ledger, "row")
    assert ledger.reseal([anew(replace(row, material=b""))]) == 0
    assert ledger.reseal([anew(row)]) == 1


def test_a_row_that_was_changed_meanwhile_keeps_its_change(ledger: Ledger) -> None:
    ledger.commit(change_of(plain_row("row")))
    before = read(ledger, "row")
    ledger.commit(change_of(plain_row("row", 2, material=b"m")))
    changed = read(ledger, "row")
    assert ledger.reseal([anew(before)]) == 0
    assert read(ledger, "row") == changed


def test_a_resealed_row_is_changed_like_any_other(ledger: Ledger) -> None:
    ledger.commit(change_of(plain_row("row", material=b"old")))
    ledger.reseal([anew(read(ledger, "row"), material=b"new")])
    ledger.commit(change_of(plain_row("row", 2)))
    row = read(ledger, "row")
    assert (row.revision, row.seal, row.material) == (2, SEAL, None)


def test_a_thousand_at_once_and_no_more(ledger: Ledger) -> None:
    ledger.commit(change_of(*(plain_row(f"{number:04}") for number in range(1_000))))
    rows = ledger.list_rows("", 1_000)
    assert ledger.reseal([anew(row) for row in rows]) == 1_000
    again = [anew(replace(row, seal=NEW_SEAL), SEAL) for row in rows]
    with pytest.raises(ValueError, match="at most"):
        ledger.reseal([*again, again[0]])
    assert {row.seal for row in ledger.list_rows("", 1_000)} == {NEW_SEAL}


def test_of_two_at_once_each_row_is_resealed_by_one(store: Store) -> None:
    ledgers = [store.open(), store.open()]
    ledgers[0].commit(change_of(*(plain_row(f"{number:03}") for number in range(300))))
    rows, together = ledgers[0].list_rows("", 300), threading.Barrier(2)

    def run(number: int) -> int:
        together.wait()
        seal = bytes([1, 7 + number]) + bytes(35)
        return sum(ledgers[number].reseal([anew(row, seal) for row in rows[at::10]]) for at in range(10))

    with ThreadPoolExecutor(2) as threads:
        assert sum(threads.map(run, range(2))) == 300
    for ledger in ledgers:
        ledger.close()


def test_it_passes_beside_commits_to_the_same_rows_and_takes_none_back(store: Store) -> None:
    ours, theirs = store.open(), store.open()
    ours.commit(change_of(*(plain_row(f"{number}") for number in range(20))))
    is_over = threading.Event()

    def reseal() -> int:
        turns = 0
        while not is_over.is_set():
            turns += 1
            theirs.reseal([anew(row, turns.to_bytes(37, "big")) for row in theirs.list_rows("", 20)])
        return turns

    with ThreadPoolExecutor(1) as threads:
        resealing = threads.submit(reseal)
        for revision in range(2, 30):
            # Rows in another order than that of their ids: nobody may wait for the other in a circle.
            ours.commit(change_of(*(plain_row(f"{number}", revision) for number in range(19, -1, -1))))
        is_over.set()
        assert resealing.result() > 1
    assert {row.revision for row in ours.list_rows("", 20)} == {29}
    with pytest.raises(ConflictError):
        ours.commit(change_of(plain_row("0", 29)))
    for ledger in (ours, theirs):
        ledger.close()


def test_rows_of_every_kind_and_tenant_are_listed_in_the_bytewise_order_of_their_ids(ledger: Ledger) -> None:
    rows = (
        plain_row("own_b"),
        key_row("key_a", tenant="other"),
        key_row("key_B"),
        version_row("key_a", 1, "credential"),
        plain_row("Z"),
    )
    ledger.commit(change_of(*rows))
    expected = ["Z", "key_B", "key_a", "key_a.1", "own_b"]
    assert ids_of(ledger.list_rows("", 10)) == expected
    assert ids_of(ledger.list_rows("", 2)) == expected[:2]
    assert ids_of(ledger.list_rows("key_B", 2)) == ["key_a", "key_a.1"]
    assert ids_of(ledger.list_rows("key_", 1)) == ["key_B"], (
        "an id that is not there is as good a place to begin"
    )
    assert ledger.list_rows("own_b", 10) == []
    assert ledger.list_rows("", 10) == [read(ledger, row) for row in expected]


def test_rows_are_counted(ledger: Ledger) -> None:
    assert ledger.count_rows() == 0
    ledger.commit(change_of(plain_row("a"), key_row("key_a", tenant="other")))
    ledger.commit(change_of(plain_row("a", 2)))
    assert ledger.count_rows() == 2
