"""Rows of rotations and policies that are damaged or gone, and what goes on beside them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Final

import pytest

from keyturn.domain.lifecycle import KeyState
from keyturn.key_rotator import RotationFrequency, RotationPolicy, RotationStrategy
from tests.contract.ledger_stores import Store
from tests.fakes import BY, Process
from tests.services.rotating import rotator_of
from tests.services.test_rotation import states

Damage = Callable[[Store, str], None]


def altered(place: Store, row_id: str) -> None:
    _execute(place, "UPDATE rows SET seal = zeroblob(37) WHERE id = ?", row_id)


def removed(place: Store, row_id: str) -> None:
    _execute(place, "DELETE FROM rows WHERE id = ?", row_id)


def _execute(place: Store, statement: str, row_id: str) -> None:
    with closing(sqlite3.connect(place.url.removeprefix("sqlite:///"))) as direct, direct:
        assert direct.execute(statement, (row_id,)).rowcount == 1


DAMAGES: Final[dict[str, Damage]] = {"altered": altered, "removed": removed}


def test_other_rotations_are_listed_and_counted(ours: Process, place: Store) -> None:
    rotator = rotator_of(ours)
    bad, *good = (rotator.rotate_key(ours.issue().key_id).rotation.rotation_id for _ in range(3))
    altered(place, bad)
    assert {each.rotation_id for each in rotator.get_rotation_history().items} == set(good)
    first = rotator.get_rotation_history(limit=2)
    rest = rotator.get_rotation_history(limit=2, cursor=first.next_cursor)
    assert [each.rotation_id for each in (*first.items, *rest.items)] == good[::-1]
    assert rotator.get_rotation_statistics().by_stage == {"overlap": 2}


def test_other_policies_are_listed(ours: Process, place: Store) -> None:
    rotator = rotator_of(ours)
    for name in ("a", "b", "c"):
        rotator.create_rotation_policy(
            RotationPolicy(
                policy_id=name,
                frequency=RotationFrequency.MONTHLY,
                strategy=RotationStrategy.OVERLAPPING,
            )
        )
    altered(place, ours.node.rotation.policies.get("b", BY).row_id)
    assert [kept.policy.policy_id for kept in rotator.list_rotation_policies().items] == ["c", "a"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_keys_secrets_are_destroyed(ours: Process, place: Store, damage: str) -> None:
    key = ours.issue()
    rotation = rotator_of(ours).rotate_key(key.key_id).rotation
    DAMAGES[damage](place, rotation.rotation_id)
    ours.node.lifecycle.destroy(key.key_id, BY)
    assert ours.get(key).state is KeyState.DESTROYED
    assert states(ours, key) == [KeyState.DESTROYED, KeyState.DESTROYED]
