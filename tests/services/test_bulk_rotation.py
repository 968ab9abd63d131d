"""Rotating all keys of somebody, above all after a leak: no old secret is forgotten, also after an interruption."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

import pytest

from keyturn.domain.lifecycle import KeyState
from keyturn.domain.spec import GeneratedKey
from keyturn.key_rotator import KeyRotator, RotationStrategy
from keyturn.rotation.bulk import BulkOutcome
from tests.contract.ledger_stores import Store
from tests.fakes import BY, Process
from tests.services.rotating import DAY, HOUR, rotator_of, token_of
from tests.services.samples import on_both


def after_a_leak(process: Process, *, since: datetime, limit: int = 1_000) -> list[BulkOutcome]:
    """The outcomes of so many keys of acme, and then an interruption."""
    run = rotator_of(process).rotate_keys(owner="acme", since=since, compromised=True)
    return list(islice(run, limit))


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
    assert [(each.key_id, each.problem) for each in done] == [(other.key_id, None)]


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
    with sqlite3.connect(place.url.removeprefix("sqlite:///")) as direct:
        direct.execute("UPDATE rows SET seal = zeroblob(37) WHERE id = ?", (keys[1].key_id + altered,))
    direct.close()
    done = after_a_leak(ours, since=ours.clock.now() + timedelta(seconds=1))
    assert {each.key_id for each in done if each.started} == {keys[0].key_id, keys[2].key_id}
    (failed,) = [each for each in done if each.problem]
    assert failed.key_id == keys[1].key_id


def test_a_single_suspended_key_is_rotated_only_after_a_leak(ours: Process) -> None:
    key, rotator = ours.issue(), rotator_of(ours)
    ours.node.lifecycle.suspend(key.key_id, BY)
    rotated = rotator.rotate_key(key.key_id, compromised=True)
    assert ours.ask(token_of(rotated)).code == "suspended"
