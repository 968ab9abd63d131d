"""What forgetting kept answers promises, on every adapter."""

from __future__ import annotations

import threading

import pytest

from keyturn.errors import ConflictError
from keyturn.ports.ledger import Ledger
from tests.contract.ledger_samples import (
    answer_row,
    change_of,
    checked_entries,
    key_row,
    one_row,
    plain_row,
    version_row,
)
from tests.contract.ledger_stores import Store


def left_of(ledger: Ledger, *rows: str) -> set[str]:
    return {row.id for row in ledger.read(rows) if row is not None}


def test_answers_are_forgotten_from_their_expiry_on(ledger: Ledger) -> None:
    ledger.commit(change_of(*(answer_row(f"ans_{at}", at) for at in (10, 20, 30))))
    assert ledger.forget_answers(9, 100) == 0
    assert ledger.forget_answers(20, 100) == 2
    assert left_of(ledger, "ans_10", "ans_20", "ans_30") == {"ans_30"}
    assert ledger.forget_answers(20, 100) == 0


def test_no_more_are_forgotten_than_were_allowed(ledger: Ledger) -> None:
    names = [f"ans_{number}" for number in range(7)]
    ledger.commit(change_of(*(answer_row(name, 10) for name in names)))
    assert [ledger.forget_answers(10, 3) for _ in range(4)] == [3, 3, 1, 0]
    assert left_of(ledger, *names) == set()


def test_nothing_but_answers_is_forgotten(ledger: Ledger) -> None:
    """A key that has expired is still a key."""
    ledger.commit(
        change_of(key_row("key_a", expires_at=1), version_row("key_a", 1, "cred"), plain_row("own_a"))
    )
    assert ledger.forget_answers(1 << 52, 100) == 0
    assert left_of(ledger, "key_a", "key_a.1", "own_a") == {"key_a", "key_a.1", "own_a"}


def test_an_answer_that_was_ever_changed_stays(ledger: Ledger) -> None:
    """Readers of the log keep it in their floor, and would take its absence for tampering."""
    ledger.commit(change_of(answer_row("ans_a", 10)))
    ledger.commit(change_of(answer_row("ans_a", 10, revision=2)))
    assert ledger.forget_answers(20, 100) == 0
    assert one_row(ledger, "ans_a") is not None


def test_a_forgotten_answer_may_be_made_anew_and_a_kept_one_may_not(ledger: Ledger) -> None:
    ledger.commit(change_of(answer_row("ans_a", 10)))
    with pytest.raises(ConflictError):
        ledger.commit(change_of(answer_row("ans_a", 99)))
    ledger.forget_answers(10, 100)
    ledger.commit(change_of(answer_row("ans_a", 99)))
    assert ledger.forget_answers(10, 100) == 0
    assert len(checked_entries(ledger)) == 2, "the log tells of both"


def test_several_may_forget_at_once(store: Store, ledger: Ledger) -> None:
    names = [f"ans_{number}" for number in range(200)]
    ledger.commit(change_of(*(answer_row(name, 10) for name in names)))
    other, counts = store.open(), []

    def forget(which: Ledger) -> None:
        while count := which.forget_answers(10, 20):
            counts.append(count)

    threads = [threading.Thread(target=forget, args=(which,)) for which in (ledger, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert sum(counts) == 200
    assert left_of(ledger, *names) == set()
