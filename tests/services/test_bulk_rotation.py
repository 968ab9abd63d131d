"""Rotating all keys of somebody, above all after a leak: no old secret is forgotten, also after an interruption."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

import pytest

from keyturn.domain.key import KeyType
from keyturn.domain.lifecycle import KeyState
from keyturn.domain.spec import GeneratedKey
from keyturn.errors import ConflictError, InvalidInputError
from keyturn.key_rotator import KeyRotator, RotatedKey, RotationStrategy
from keyturn.rotation.bulk import BulkOutcome
from tests.contract.ledger_stores import Store
from tests.fakes import BY, Process
from tests.services.rotating import DAY, HOUR, rotator_of, token_of
from tests.services.samples import on_both


def after_a_leak(process: Process, *, since: datetime, limit: int = 1_000) -> list[BulkOutcome]:
    """The outcomes of so many keys of acme, and then an interruption."""
    run = rotator_of(process).rotate_keys(owner="acme", since=since, compromised=True)
    return list(islice((each for each in run if each.skipped is None), limit))


def spoil(place: Store, row_id: str) -> None:
    """Break the seal of a row."""
    with sqlite3.connect(place.url.removeprefix("sqlite:///")) as direct:
        direct.execute("UPDATE rows SET seal = zeroblob(37) WHERE id = ?", (row_id,))
    direct.close()


def token(outcome: BulkOutcome) -> str:
    assert outcome.started is not None
    return token_of(outcome.started)


_Meanwhile = Callable[[KeyRotator, str], object]
_MEANWHILE: Final[dict[str, _Meanwhile]] = {
    "rotated with an overlap": lambda rotator, key_id: rotator.rotate_key(key_id),
    "rotated at once": lambda rotator, key_id: rotator.rotate_key(
        key_id, strategy=RotationStrategy.IMMEDIATE
    ),
    "staged": lambda rotator, key_id: rotator.rotate_key(key_id, strategy=RotationStrategy.BLUE_GREEN),
    "rolled back": lambda rotator, key_id: rotator.rollback_rotation(
        rotator.rotate_key(key_id).rotation.rotation_id
    ),
}


@on_both
@pytest.mark.parametrize("meanwhile", _MEANWHILE)
def test_after_a_leak_no_other_rotation_since_counts(ours: Process, meanwhile: str) -> None:
    """It left the old version in service, or was none of a secret that leaked."""
    key = ours.issue(owner="acme")
    ours.clock.pass_time(HOUR)
    since, rotator = ours.clock.now(), rotator_of(ours)
    ours.clock.pass_time(1)
    _MEANWHILE[meanwhile](rotator, key.key_id)
    (outcome,) = after_a_leak(ours, since=since)
    assert (ours.ask(key).code, ours.ask(token(outcome)).code) == ("revoked", "valid")
    assert after_a_leak(ours, since=since) == [], "once"
    ours.clock.pass_time(DAY)
    rotator.rotate_key(key.key_id)
    assert after_a_leak(ours, since=since) == [], "whatever was done with the new secret since"


@on_both
def test_after_a_leak_suspended_keys_are_rotated_too_and_stay_suspended(ours: Process) -> None:
    key = ours.issue(owner="acme")
    ours.node.lifecycle.suspend(key.key_id, BY)
    ours.clock.pass_time(1)
    (outcome,) = after_a_leak(ours, since=ours.clock.now())
    assert ours.get(key).state is KeyState.SUSPENDED
    assert (ours.ask(key).code, ours.ask(token(outcome)).code) == ("revoked", "suspended")
    ours.node.lifecycle.resume(key.key_id, BY)
    assert (ours.ask(key).code, ours.ask(token(outcome)).code) == ("revoked", "valid")


def test_without_a_leak_suspended_keys_and_those_rotated_since_are_left_alone(ours: Process) -> None:
    suspended, rotated, other = (ours.issue(owner="acme") for _ in range(3))
    ours.node.lifecycle.suspend(suspended.key_id, BY)
    ours.clock.pass_time(1)
    since, rotator = ours.clock.now(), rotator_of(ours)
    rotator.rotate_key(rotated.key_id)
    done = list(rotator.rotate_keys(owner="acme", since=since))
    assert all(each.problem is None for each in done)
    assert [each.key_id for each in done if each.started] == [other.key_id]
    assert [each.key_id for each in done if each.skipped] == [rotated.key_id]


def test_an_interrupted_run_goes_on_where_it_was(ours: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyturn.rotation.bulk._PAGE", 2)
    keys = {key.key_id: key for key in (ours.issue(owner="acme") for _ in range(7))}
    for key_id in list(keys)[::2]:
        ours.node.lifecycle.suspend(key_id, BY)
    ours.clock.pass_time(1)
    since = ours.clock.now()
    done: list[BulkOutcome] = []
    for _ in range(5):
        ours.clock.pass_time(1)
        done += after_a_leak(ours, since=since, limit=2)
    assert sorted(each.key_id for each in done) == sorted(keys), "each once"
    assert all(ours.ask(key).code == "revoked" for key in keys.values())


@pytest.mark.parametrize("altered", ["", ".1"])
def test_a_key_that_cannot_be_rotated_is_named_and_the_others_are(
    ours: Process, place: Store, altered: str
) -> None:
    """Be it the key's row or its version's that does not hold."""
    keys: list[GeneratedKey] = [ours.issue(owner="acme") for _ in range(3)]
    ours.clock.pass_time(1)
    spoil(place, keys[1].key_id + altered)
    done = after_a_leak(ours, since=ours.clock.now())
    assert {each.key_id for each in done if each.started} == {keys[0].key_id, keys[2].key_id}
    (failed,) = [each for each in done if each.problem]
    assert failed.key_id == keys[1].key_id


@on_both
@pytest.mark.parametrize("compromised", [True, False])
def test_a_key_that_another_run_rotates_meanwhile_is_left_alone(
    ours: Process, theirs: Process, *, compromised: bool
) -> None:
    """Its secret was handed out there, and must not be ended by this run."""
    key = ours.issue(owner="acme")
    ours.clock.pass_time(1)
    how: dict[str, Any] = {"compromised": True} if compromised else {"strategy": RotationStrategy.IMMEDIATE}
    first: list[BulkOutcome] = []

    def run(process: Process) -> list[BulkOutcome]:
        return list(rotator_of(process).rotate_keys(owner="acme", since=since, **how))

    since = ours.clock.now()
    ours.ledger.before("commit", lambda: first.extend(run(theirs)))
    (left,) = run(ours)
    assert (left.started, left.problem, left.key_id) == (None, None, key.key_id)
    assert str(left.skipped).startswith("rotated at 2026-")
    ours.catch_up()
    assert (ours.ask(key).code, ours.ask(token(first[0])).code) == ("revoked", "valid")


@on_both
def test_of_two_who_rotate_a_leaked_key_at_once_one_is_told_that_they_were_not_first(
    ours: Process, theirs: Process
) -> None:
    key, done = ours.issue(), list[RotatedKey]()

    def leaked(process: Process) -> RotatedKey:
        return rotator_of(process).rotate_key(key.key_id, compromised=True)

    ours.ledger.before("commit", lambda: done.append(leaked(theirs)))
    with pytest.raises(ConflictError, match="a moment ago"):
        leaked(ours)
    ours.catch_up()
    assert ours.ask(token_of(done[0])).valid
    assert ours.ask(token_of(leaked(ours))).valid, "later it is another compromise"


@on_both
def test_a_leaked_key_is_rotated_whoever_rotates_it_otherwise_meanwhile(
    ours: Process, theirs: Process
) -> None:
    key = ours.issue()
    ours.ledger.before("commit", lambda: rotator_of(theirs).rotate_key(key.key_id))
    rotated = rotator_of(ours).rotate_key(key.key_id, compromised=True)
    assert (ours.ask(key).code, ours.ask(token_of(rotated)).code) == ("revoked", "valid")


@pytest.mark.parametrize(
    "since", [None, "2026-01-01T00:00:00Z", datetime(2026, 1, 1), datetime(2126, 1, 1, tzinfo=UTC)]
)
def test_a_time_that_can_be_no_beginning_is_refused_at_once(ours: Process, since: Any) -> None:
    with pytest.raises(InvalidInputError) as refused:
        rotator_of(ours).rotate_keys(owner="acme", since=since)
    assert refused.value.field == "since"


@pytest.mark.parametrize(
    "terms", [{"overlap": -1}, {"sharse": [100]}, {"compromised": True, "keep_secret": True}]
)
def test_terms_that_suit_no_key_are_refused_before_any_is_rotated(
    ours: Process, terms: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInputError):
        rotator_of(ours).rotate_keys(owner="acme", since=ours.clock.now(), **terms)


def test_a_rotation_whose_row_does_not_hold_keeps_no_key_from_being_rotated_after_a_leak(
    ours: Process, place: Store
) -> None:
    keys = [ours.issue(owner="acme") for _ in range(3)]
    ours.clock.pass_time(1)
    since = ours.clock.now()
    done = after_a_leak(ours, since=since)
    assert len(done) == len(keys)
    broken = next(each.started.rotation for each in done if each.started and each.key_id == keys[1].key_id)
    spoil(place, broken.rotation_id)
    (again,) = after_a_leak(ours, since=since)
    assert again.key_id == keys[1].key_id
    assert ours.ask(token(again)).valid


def test_a_single_suspended_key_is_rotated_only_after_a_leak(ours: Process) -> None:
    key, rotator = ours.issue(), rotator_of(ours)
    ours.node.lifecycle.suspend(key.key_id, BY)
    rotated = rotator.rotate_key(key.key_id, compromised=True)
    assert ours.ask(token_of(rotated)).code == "suspended"


def test_terms_that_do_not_suit_one_key_are_its_problem_and_no_others(ours: Process) -> None:
    token_key, hmac_key = ours.issue(owner="acme"), ours.issue(owner="acme", key_type=KeyType.HMAC)
    ours.clock.pass_time(1)
    run = rotator_of(ours).rotate_keys(
        owner="acme", since=ours.clock.now(), strategy=RotationStrategy.OVERLAPPING, lead=HOUR
    )
    done = {each.key_id: each for each in run}
    assert "lead" in str(done[token_key.key_id].problem)
    assert done[hmac_key.key_id].started is not None
