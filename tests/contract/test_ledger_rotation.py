"""What the lists behind rotation promise, on every adapter."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from keyturn.ports.bounds import MAX_LISTED
from keyturn.ports.ledger import Ledger, NewRow, RotationFilter
from tests.contract.ledger_samples import SEAL, change_of, ids_of, key_row


def row(kind: str, name: str, *, tenant: str = "default", revision: int = 1, **members: object) -> NewRow:
    return NewRow(name, kind, tenant, revision, json.dumps(members), SEAL, None)


@pytest.fixture
def keys(ledger: Ledger) -> Ledger:
    """Keys that count from different times, one in a commit."""
    for key in (
        key_row("key_c", created_at=30, rotation_policy_id="p"),
        key_row("key_a", created_at=10, due_from=30, rotation_policy_id="p"),
        key_row("key_b", created_at=20, rotation_policy_id="p"),
        key_row("key_d", created_at=20, rotation_policy_id="q"),
        key_row("key_e", created_at=20, rotation_policy_id="p", state="suspended"),
        key_row("key_f", created_at=20, rotation_policy_id="p", tenant="other"),
        key_row("key_g", created_at=40),
        key_row("key_h", created_at=5, due_from=15),
        key_row("key_i", created_at=5, type="hmac"),
    ):
        ledger.commit(change_of(key))
    return ledger


START = (-1, "")


def test_keys_that_name_a_policy_come_in_the_order_of_what_they_count_from(keys: Ledger) -> None:
    assert ids_of(keys.list_due_keys("default", 30, START, 10, policy_id="p")) == ["key_b", "key_a", "key_c"]
    assert ids_of(keys.list_due_keys("default", 29, START, 10, policy_id="p")) == ["key_b"]
    assert ids_of(keys.list_due_keys("default", 30, START, 2, policy_id="p")) == ["key_b", "key_a"]
    assert ids_of(keys.list_due_keys("default", 30, (30, "key_a"), 2, policy_id="p")) == ["key_c"]
    assert ids_of(keys.list_due_keys("other", 30, START, 10, policy_id="p")) == ["key_f"]


def test_keys_of_a_type_are_those_that_name_no_policy(keys: Ledger) -> None:
    assert ids_of(keys.list_due_keys("default", 100, START, 10, type="api_token")) == ["key_h", "key_g"]
    assert ids_of(keys.list_due_keys("default", 39, START, 10, type="api_token")) == ["key_h"]
    assert ids_of(keys.list_due_keys("default", 39, START, 10, type="hmac")) == ["key_i"]


def test_a_key_that_was_rotated_counts_anew(keys: Ledger) -> None:
    keys.commit(change_of(key_row("key_b", 2, created_at=20, due_from=50, rotation_policy_id="p")))
    assert ids_of(keys.list_due_keys("default", 30, START, 10, policy_id="p")) == ["key_a", "key_c"]


@pytest.fixture
def rotations(ledger: Ledger) -> Ledger:
    listed: tuple[dict[str, Any], ...] = (
        {"key": "key_a", "policy_id": "p", "strategy": "gradual", "stage": "staged", "next_at": 20},
        {"key": "key_a", "strategy": "immediate", "stage": "completed"},
        {"key": "key_b", "policy_id": "p", "strategy": "overlapping", "stage": "overlap", "next_at": 10},
        {"key": "key_c", "policy_id": "q", "strategy": "overlapping", "stage": "overlap", "next_at": 20},
        {"key": "key_a", "policy_id": "p", "strategy": "gradual", "stage": "staged", "tenant": "other"},
    )
    for number, members in enumerate(listed):
        tenant = str(members.pop("tenant", "default"))
        ledger.commit(change_of(row("rotation", f"rot_{number}", tenant=tenant, **members)))
    return ledger


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, "3210"),
        ({"key_id": "key_a"}, "10"),
        ({"policy_id": "p"}, "20"),
        ({"policy_id": "p", "key_id": "key_a"}, "0"),
        ({"stage": "overlap"}, "32"),
        ({"stage": "completed"}, "1"),
        ({"stage": "staged", "policy_id": "p"}, "0"),
        ({"stage": "completed", "policy_id": "p"}, ""),
        ({"stage": "overlap", "before": 4}, "2"),
        ({"before": 3}, "10"),
        ({"tenant": "other"}, "4"),
        ({"key_id": "key_z"}, ""),
    ],
)
def test_rotations_are_listed_newest_first(rotations: Ledger, wanted: dict[str, object], found: str) -> None:
    matching = RotationFilter(**{"tenant": "default", **wanted})  # type: ignore[arg-type]
    assert ids_of(rotations.list_rotations(matching, 10)) == [f"rot_{number}" for number in found]
    assert len(rotations.list_rotations(matching, 1)) == min(1, len(found))


def test_steps_that_are_due_come_in_the_order_of_their_time_in_every_tenant(rotations: Ledger) -> None:
    assert ids_of(rotations.list_due_rotations(20, (0, ""), 10)) == ["rot_2", "rot_0", "rot_3"]
    assert ids_of(rotations.list_due_rotations(19, (0, ""), 10)) == ["rot_2"]
    assert ids_of(rotations.list_due_rotations(20, (10, "rot_2"), 1)) == ["rot_0"]
    done = row("rotation", "rot_0", revision=2, key="key_a", strategy="gradual", stage="completed")
    rotations.commit(change_of(done))
    assert ids_of(rotations.list_due_rotations(20, (0, ""), 10)) == ["rot_2", "rot_3"]


def test_policies_are_listed_newest_first_of_one_tenant_or_of_all(ledger: Ledger) -> None:
    for number, tenant in enumerate(("default", "other", "default")):
        ledger.commit(change_of(row("policy", f"pol_{number}", tenant=tenant)))
    assert ids_of(ledger.list_policies("default", None, 10)) == ["pol_2", "pol_0"]
    assert ids_of(ledger.list_policies(None, None, 10)) == ["pol_2", "pol_1", "pol_0"]
    assert ids_of(ledger.list_policies(None, 3, 1)) == ["pol_1"]


def test_published_keys_of_every_tenant_come_by_tenant_and_id(ledger: Ledger) -> None:
    for key in (
        key_row("key_b", published_for=60),
        key_row("key_a", published_for=60, state="deactivated"),
        key_row("key_c"),
        key_row("key_0", published_for=60, tenant="other"),
    ):
        ledger.commit(change_of(key))
    assert ids_of(ledger.list_published(("", ""), 10)) == ["key_a", "key_b", "key_0"]
    assert ids_of(ledger.list_published(("", ""), 2)) == ["key_a", "key_b"]
    assert ids_of(ledger.list_published(("default", "key_a"), 10)) == ["key_b", "key_0"]
    assert ids_of(ledger.list_published(("other", ""), 10)) == ["key_0"]
    ledger.commit(change_of(key_row("key_b", 2)))
    ledger.commit(change_of(key_row("key_c", 2, published_for=60)))
    assert ids_of(ledger.list_published(("", ""), 10)) == ["key_a", "key_c", "key_0"]


LISTS: dict[str, Callable[[Ledger, int], object]] = {
    "due keys of a policy": lambda ledger, most: ledger.list_due_keys("t", 9, START, most, policy_id="p"),
    "due keys of a type": lambda ledger, most: ledger.list_due_keys("t", 9, START, most, type="rsa"),
    "due rotations": lambda ledger, most: ledger.list_due_rotations(9, START, most),
    "rotations": lambda ledger, most: ledger.list_rotations(RotationFilter(tenant="t"), most),
    "published keys": lambda ledger, most: ledger.list_published(("", ""), most),
    "policies": lambda ledger, most: ledger.list_policies(None, None, most),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_bounded(ledger: Ledger, name: str) -> None:
    """SQLite takes a negative limit for none at all: a mistake would read the whole table into memory."""
    assert LISTS[name](ledger, MAX_LISTED) == []
    for limit in (-1, 0, MAX_LISTED + 1):
        with pytest.raises(ValueError, match="1 to 1001 rows"):
            LISTS[name](ledger, limit)


def test_keys_that_are_due_at_the_same_time_all_come_a_page_at_a_time(ledger: Ledger) -> None:
    names = sorted(f"key_{letter}" for letter in "azAZ09_m")
    ledger.commit(change_of(*(key_row(name, created_at=7, rotation_policy_id="p") for name in names)))
    found: list[str] = []
    after = START
    while rows := ledger.list_due_keys("default", 7, after, 3, policy_id="p"):
        found += ids_of(rows)
        after = (7, rows[-1].id)
    assert found == names, "bytewise, as every store compares ids"


def test_a_key_is_listed_whatever_its_texts_hold(ledger: Ledger) -> None:
    """JSON may hold a NUL, which PostgreSQL's text cannot, and what looks like one escaped."""
    for number, name in enumerate(("a\0b", "\\u0000", '"}, "rotation_policy_id": "p"', "é\U0001f600")):
        members: dict[str, Any] = {
            "name": name, "created_at": number, "rotation_policy_id": "q", "published_for": 60,
        }  # fmt: skip
        ledger.commit(change_of(key_row(f"key_{number}", **members)))
    assert ids_of(ledger.list_due_keys("default", 9, START, 9, policy_id="q")) == [
        f"key_{n}" for n in range(4)
    ]
    assert ids_of(ledger.list_published(("", ""), 9)) == [f"key_{n}" for n in range(4)]
    assert ledger.list_due_keys("default", 9, START, 9, policy_id="p") == []
