"""What `Ledger.commit` promises, on every adapter."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keyturn.domain.change import MAX_EVENTS, MAX_PUTS, Require
from keyturn.domain.entry import chain_next
from keyturn.errors import ConflictError
from keyturn.ports.ledger import Commit, Ledger, NewRow, SealedHead, Snapshot
from tests.contract.ledger_samples import (
    HASH,
    SEAL,
    change_of,
    checked_entries,
    entries_only,
    entry_of,
    head_at,
    key_row,
    one_row,
    plain_row,
    version_row,
)
from tests.contract.ledger_stores import Store


def test_a_commit_returns_the_position_of_its_last_entry(ledger: Ledger) -> None:
    assert ledger.head() == 0
    assert ledger.commit(entries_only(1)) == 1
    assert ledger.commit(entries_only(3)) == 4
    assert ledger.commit(entries_only(1)) == 5
    assert ledger.head() == 5


def test_a_row_comes_back_as_it_was_put(ledger: Ledger) -> None:
    row = plain_row("row", material=bytes(range(256)))
    ledger.commit(entries_only(2))
    ledger.commit(change_of(row))
    found = one_row(ledger, "row")
    assert found is not None
    assert (found.id, found.kind, found.tenant, found.revision) == ("row", "owner", "default", 1)
    assert (found.body, found.seal, found.material) == (row.body, SEAL, bytes(range(256)))
    assert (found.created, found.position) == (3, 3)


def test_a_changed_row_is_new_in_all_but_its_creation(ledger: Ledger) -> None:
    ledger.commit(change_of(plain_row("row", material=b"old")))
    ledger.commit(change_of(NewRow("row", "owner", "default", 2, '{"b":2}', SEAL[::-1], None)))
    found = one_row(ledger, "row")
    assert found is not None
    assert (found.revision, found.body, found.seal, found.material) == (2, '{"b":2}', SEAL[::-1], None)
    assert (found.created, found.position) == (1, 2)


def test_material_may_be_empty_and_is_not_none_then(ledger: Ledger) -> None:
    ledger.commit(change_of(plain_row("row", material=b"")))
    found = one_row(ledger, "row")
    assert found is not None
    assert found.material == b""


def test_each_row_has_the_position_of_the_entry_that_names_it(ledger: Ledger) -> None:
    rows = tuple(plain_row(name) for name in "abcd")
    ledger.commit(Commit((), rows, (entry_of("c"), entry_of(), entry_of("a", "d"), entry_of("b"))))
    found = ledger.read(["a", "b", "c", "d"])
    assert [row and (row.created, row.position) for row in found] == [(3, 3), (4, 4), (1, 1), (3, 3)]


def test_entries_come_back_as_they_were_put(ledger: Ledger) -> None:
    first = entry_of(entry=b"{}\x00\xff", details='{"ip":"203.0.113.9","salt":"é"}')
    second = replace(entry_of(entry=bytes(65_535)), seal=b"seal")
    ledger.commit(Commit((), (), (first, second)))
    found = ledger.read_log(1, 10)
    assert [(each.entry, each.seal, each.details) for each in found] == [
        (first.entry, SEAL, first.details),
        (second.entry, b"seal", None),
    ]
    assert checked_entries(ledger) == [first.entry, second.entry]


@pytest.mark.parametrize("revision", [1, 3, 4])
def test_a_row_must_follow_its_stored_revision(ledger: Ledger, revision: int) -> None:
    ledger.commit(change_of(plain_row("row")))
    with pytest.raises(ConflictError):
        ledger.commit(change_of(plain_row("row", revision)))
    assert ledger.head() == 1
    assert ledger.commit(change_of(plain_row("row", 2))) == 2


def test_a_new_row_begins_at_revision_one(ledger: Ledger) -> None:
    with pytest.raises(ConflictError):
        ledger.commit(change_of(plain_row("row", 2)))
    assert ledger.head() == 0


@pytest.mark.parametrize(
    ("require", "holds"),
    [
        (Require("present", 2), True),
        (Require("present", 1), False),
        (Require("present", 3), False),
        (Require("present", 0), False),
        (Require("absent", 0), True),
        (Require("absent", 1), False),
    ],
)
def test_a_requirement_that_does_not_hold_is_a_conflict(
    ledger: Ledger, require: Require, holds: bool
) -> None:
    ledger.commit(change_of(plain_row("present")))
    ledger.commit(change_of(plain_row("present", 2)))
    change = change_of(plain_row("other"), requires=(Require("absent", 0), require))
    if holds:
        assert ledger.commit(change) == 3
        return
    with pytest.raises(ConflictError):
        ledger.commit(change)
    assert one_row(ledger, "other") is None
    assert ledger.head() == 2


def test_a_change_may_require_the_row_that_it_puts(ledger: Ledger) -> None:
    ledger.commit(change_of(plain_row("row"), requires=(Require("row", 0),)))
    ledger.commit(change_of(plain_row("row", 2), requires=(Require("row", 1),)))
    with pytest.raises(ConflictError):
        ledger.commit(change_of(plain_row("row", 3), requires=(Require("row", 1),)))


def test_a_conflict_in_the_last_put_writes_nothing(ledger: Ledger) -> None:
    ledger.commit(change_of(plain_row("last"), plain_row("changed")))
    head = head_at(ledger, 1)
    before = ledger.read(["last", "changed"])
    change = Commit(
        (),
        (plain_row("new"), plain_row("changed", 2), key_row("key_new", tags=["t"]), plain_row("last")),
        (entry_of("new"), entry_of("changed", "key_new"), entry_of("last")),
        head,
    )
    with pytest.raises(ConflictError):
        ledger.commit(change)
    assert ledger.read(["new", "key_new"]) == [None, None]
    assert ledger.read(["last", "changed"]) == before
    assert ledger.head() == 1
    assert ledger.sealed_head() is None


def test_a_credential_id_of_another_version_is_a_conflict(ledger: Ledger) -> None:
    ledger.commit(change_of(key_row("key_a"), version_row("key_a", 1, "taken")))
    with pytest.raises(ConflictError):
        ledger.commit(change_of(plain_row("row"), key_row("key_b"), version_row("key_b", 1, "taken")))
    with pytest.raises(ConflictError):
        ledger.commit(change_of(key_row("key_c"), version_row("key_c", 1, "c"), version_row("key_c", 2, "c")))
    assert ledger.read(["row", "key_b", "key_c"]) == [None] * 3
    assert ledger.head() == 1


def test_a_version_keeps_its_credential_id_through_changes(ledger: Ledger) -> None:
    ledger.commit(change_of(key_row("key_a"), version_row("key_a", 1, "mine")))
    ledger.commit(change_of(version_row("key_a", 1, "mine", 2)))
    with pytest.raises(ConflictError):
        ledger.commit(change_of(version_row("key_a", 2, "mine")))


def test_versions_without_a_credential_id_do_not_meet(ledger: Ledger) -> None:
    ledger.commit(change_of(key_row("key_a"), version_row("key_a", 1, None), version_row("key_a", 2, None)))
    assert len(ledger.read_versions("key_a")) == 2


def test_the_ledger_is_usable_after_a_conflict(ledger: Ledger) -> None:
    for attempt in range(1, 4):
        with pytest.raises(ConflictError):
            ledger.commit(change_of(plain_row("row", 9)))
        assert ledger.commit(change_of(plain_row(f"row {attempt}"))) == attempt
    assert len(checked_entries(ledger)) == 3


def test_the_largest_change_is_applied_whole(ledger: Ledger) -> None:
    rows = tuple(plain_row(f"row {number}") for number in range(MAX_PUTS))
    entries = tuple(
        entry_of(*(row.id for row in rows[number::MAX_EVENTS])) for number in range(MAX_EVENTS)
    )  # fmt: skip
    assert ledger.commit(Commit((), rows, entries)) == MAX_EVENTS
    again = tuple(replace(row, revision=2) for row in rows)
    assert ledger.commit(Commit((), again, entries)) == 2 * MAX_EVENTS
    found = ledger.read(["row 0", "row 999", "row 1000", "row 4095"])
    assert [row and (row.created, row.position) for row in found] == [
        (1, 1_001), (1_000, 2_000), (1, 1_001), (96, 1_096),
    ]  # fmt: skip
    assert len(checked_entries(ledger)) == 2 * MAX_EVENTS


MALFORMED = {
    "no entry": Commit((), (), ()),
    "too many entries": entries_only(MAX_EVENTS + 1),
    "a row that no entry names": Commit((), (plain_row("a"),), (entry_of(),)),
    "a row named twice": Commit((), (plain_row("a"),), (entry_of("a"), entry_of("a"))),
    "a row put twice": Commit((), (plain_row("a"), plain_row("a")), (entry_of("a"),)),
    "a named row that is not put": Commit((), (), (entry_of("a"),)),
    "a long entry": Commit((), (), (entry_of(entry=bytes(65_536)),)),
    "a key whose body is no JSON": change_of(NewRow("key_a", "key", "default", 1, "{", SEAL, None)),
    "a version whose body is no JSON": change_of(NewRow("key_a.1", "version", "default", 1, "", SEAL, None)),
    "half a surrogate": change_of(plain_row("a", body='"\ud800"')),
    "an expiry that is no number": change_of(key_row("key_a", expires_at="soon")),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_what_cannot_be_stored_is_refused_whole(ledger: Ledger, what: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  InvalidInputError is one
        ledger.commit(MALFORMED[what])
    assert ledger.head() == 0
    assert ledger.read(["a", "key_a", "key_a.1"]) == [None] * 3
    assert ledger.commit(change_of(plain_row("a"))) == 1


def test_a_sealed_head_travels_with_a_commit_and_only_moves_forward(ledger: Ledger) -> None:
    ledger.commit(entries_only(6))
    fifth = head_at(ledger, 5)
    ledger.commit(change_of(plain_row("a"), sealed=fifth))
    assert ledger.sealed_head() == fifth
    for position in (4, 5):
        ledger.commit(change_of(plain_row(f"b{position}"), sealed=head_at(ledger, position, b"s")))
        assert ledger.sealed_head() == fifth
    sixth = head_at(ledger, 6, b"s")
    ledger.commit(change_of(plain_row("c"), sealed=sixth))
    assert ledger.sealed_head() == sixth


@pytest.mark.parametrize("others", [0, 1, 2])
def test_a_head_that_a_commit_makes_is_kept_with_it_unless_somebody_else_was_first(
    ledger: Ledger, others: int
) -> None:
    ledger.commit(entries_only(3))
    rest = entries_only(2)
    chain = head_at(ledger, 3).hash
    for new in rest.entries:
        chain = chain_next(chain, new.entry)
    foreseen = SealedHead(5, chain, SEAL)
    if others:
        ledger.commit(entries_only(others))
    assert ledger.commit(replace(rest, sealed_head=foreseen)) == 5 + others
    assert ledger.sealed_head() == (None if others else foreseen)
    assert len(checked_entries(ledger)) == 5 + others


@pytest.mark.parametrize(
    "position", [1, 2, 3, 9], ids=["first", "before", "the commit's own", "not there yet"]
)
def test_a_head_that_the_log_does_not_hold_is_not_kept(ledger: Ledger, position: int) -> None:
    """A process that has not noticed a failover vouches for what was lost; kept, it would close every node."""
    ledger.commit(entries_only(2))
    ledger.commit(change_of(plain_row("a"), sealed=SealedHead(position, HASH, SEAL)))
    ledger.seal_head(SealedHead(position, HASH, SEAL))
    ledger.save_snapshot(Snapshot(position, HASH, b"floor", SEAL))
    assert (ledger.head(), ledger.sealed_head(), ledger.snapshot()) == (3, None, None)


def test_what_was_committed_is_there_after_reopening(store: Store, ledger: Ledger) -> None:
    ledger.commit(change_of(key_row("key_a", name="né"), version_row("key_a", 1, "cred", material=b"m")))
    head = head_at(ledger, 1)
    ledger.commit(change_of(plain_row("own"), sealed=head))
    rows = ledger.read(["key_a", "key_a.1", "own"])
    entries = checked_entries(ledger)
    ledger.close()
    again = store.open()
    assert again.read(["key_a", "key_a.1", "own"]) == rows
    assert checked_entries(again) == entries
    assert again.sealed_head() == head
    assert again.commit(change_of(plain_row("own", 2))) == 3
    again.close()
