"""Writes in passing do what they always do, on every adapter. That they give up soon is shown where stores are held."""

from __future__ import annotations

import pytest

from keyturn.errors import ConflictError
from keyturn.ports.ledger import Ledger, Snapshot, UsageCount
from keyturn.ports.passing import in_passing, is_in_passing
from tests.contract.ledger_samples import (
    SEAL,
    change_of,
    checked_entries,
    entries_only,
    head_at,
    one_row,
    plain_row,
    use_of,
)


def test_it_ends_with_its_block_whatever_happens() -> None:
    def stumble() -> None:
        with in_passing():
            assert is_in_passing()
            raise KeyError

    with pytest.raises(KeyError):
        stumble()
    assert not is_in_passing()


def test_a_change_is_made_or_refused_whole(ledger: Ledger) -> None:
    with in_passing():
        assert ledger.commit(change_of(plain_row("a"))) == 1
        with pytest.raises(ConflictError):
            ledger.commit(change_of(plain_row("a"), plain_row("b")))
        assert ledger.commit(entries_only(3)) == 4
    assert ledger.commit(change_of(plain_row("a", 2))) == 5
    assert one_row(ledger, "b") is None
    assert len(checked_entries(ledger)) == 5


def test_the_rest_is_kept(ledger: Ledger) -> None:
    ledger.commit(entries_only(2))
    head = head_at(ledger, 2)
    snapshot = Snapshot(2, head.hash, b"floor", SEAL)
    with in_passing():
        ledger.seal_head(head)
        ledger.save_snapshot(snapshot)
        ledger.record_uses([use_of("key_a", count=3)])
    assert (ledger.sealed_head(), ledger.snapshot()) == (head, snapshot)
    assert ledger.read_uses("key_a", 7, 7) == [UsageCount(version=1, code="valid", minute=7, count=3)]
