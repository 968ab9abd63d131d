"""Policies and rotations as rows, against vectors that were computed without this program."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Final

import pytest

from keyturn.domain import canonical
from keyturn.domain.key import KeyType
from keyturn.domain.rotation.blackout import BlackoutWindow
from keyturn.domain.rotation.bodies import rotation_from, rotation_put
from keyturn.domain.rotation.kept_policy import KeptPolicy
from keyturn.domain.rotation.plan import Paused, Plan
from keyturn.domain.rotation.policy import RotationFrequency, RotationPolicy, RotationStrategy
from keyturn.domain.rotation.policy_bodies import policy_from, policy_put
from keyturn.domain.rotation.reasons import PAUSED_BY_SOMEBODY, Outcome, PauseCode, PolicyPauseCode, Reason
from keyturn.domain.rotation.rotation import Rotation
from keyturn.domain.rotation.schedule import cohort, next_due
from keyturn.domain.rotation.selection import KeySelection
from keyturn.domain.rotation.stages import Awaited, Cause, Stage
from keyturn.domain.scope import KeyScope
from keyturn.errors import IntegrityError, InvalidInputError
from tests.unit.crypto.samples import Vector, named, vectors
from tests.unit.domain.rotation.samples import key_of

VECTORS: Final = vectors("rotation")
NOON: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
KEY_ID: Final = "key_0123456789ABCDEFGHIJKL"
DAY: Final = 86_400


def after(micros: int = 0, **more: int) -> datetime:
    return NOON + timedelta(microseconds=micros, **more)


MONTHLY = KeptPolicy(
    row_id="pol_0123456789ABCDEFGHIJKL",
    tenant="default",
    policy=RotationPolicy(
        policy_id="monthly_rotation",
        frequency=RotationFrequency.MONTHLY,
        strategy=RotationStrategy.OVERLAPPING,
    ),
    created_at=NOON,
    updated_at=NOON,
)
WAITING = Rotation(
    rotation_id="rot_zyxwvutsrqponmlkjihgfe",
    tenant="default",
    key_id=KEY_ID,
    key_type=KeyType.API_TOKEN,
    policy_id="monthly_rotation",
    strategy=RotationStrategy.OVERLAPPING,
    cause=Cause.SCHEDULED,
    plan=Plan(overlap=7 * DAY, max_overlap=90 * DAY),
    old=1,
    new=2,
    stage=Stage.STAGED,
    stage_at=NOON,
    started_at=NOON,
    awaited=frozenset((Awaited.PICK_UP,)),
    next_at=after(days=1),
)
OVERLAPPING = replace(
    WAITING,
    revision=2,
    stage=Stage.OVERLAP,
    stage_at=after(5),
    awaited=frozenset(),
    next_at=after(5, days=7),
    ends_at=after(5, days=7),
    ceiling=after(5, days=90),
)
SHIFTING = Rotation(
        rotation_id=WAITING.rotation_id,
        tenant="acme",
        revision=3,
        key_id=KEY_ID,
        key_type=KeyType.JWT,
        strategy=RotationStrategy.GRADUAL,
        cause=Cause.REQUESTED,
        plan=Plan(
            lead=3_600, overlap=DAY, max_overlap=2 * DAY, shares=(10, 50, 100), dwell=3_600,
            retire_unused_after=7_200,
        ),
        old=2,
        new=4,
        stage=Stage.SHIFTING,
        stage_at=after(1),
        started_at=NOON,
        share=50,
        next_at=after(1, hours=1),
    )  # fmt: skip
LEFT = timedelta(days=7) - timedelta(microseconds=5)
SAMPLES: Final[dict[str, KeptPolicy | Rotation]] = {
    "a monthly policy": MONTHLY,
    "a policy with everything optional, paused": KeptPolicy(
        row_id=MONTHLY.row_id,
        tenant="acme",
        revision=7,
        policy=RotationPolicy(
            policy_id="Partners-2.0",
            frequency=RotationFrequency.CUSTOM,
            strategy=RotationStrategy.GRADUAL,
            cron="30 3 1 JAN,JUL *",
            time_zone="Europe/Zurich",
            keys=KeySelection(
                types=(KeyType.API_TOKEN, KeyType.JWT),
                owners=("ada@example.com",),
                tags=("partner",),
                scopes=(KeyScope.READ_WRITE,),
                key_ids=(KEY_ID,),
            ),
            overlap=14 * DAY,
            max_overlap=30 * DAY,
            retire_unused_after=DAY,
            lead=3_600,
            max_age=365 * DAY,
            notices=(30 * DAY,),
            blackouts=(
                BlackoutWindow(starts_at=NOON, ends_at=after(days=1)),
                BlackoutWindow(cron="0 18 * * FRI", duration=62 * 3_600),
            ),
        ),
        created_at=NOON,
        updated_at=after(5),
        paused=Reason(
            PolicyPauseCode.NOT_TAKEN_UP, "12 of 40 new versions are not taken up after 86400 seconds"
        ),
    ),
    "a policy that was deleted": replace(
        MONTHLY,
        revision=2,
        updated_at=after(9),
        is_deleted=True,
        policy=RotationPolicy(
            policy_id="monthly_rotation",
            frequency=RotationFrequency.NEVER,
            strategy=RotationStrategy.BLUE_GREEN,
            requires_check=True,
            keys=KeySelection(every_key=True),
        ),
    ),
    "a rotation whose new secret waits": WAITING,
    "a rotation in its overlap": OVERLAPPING,
    "a rotation that is paused": replace(
        OVERLAPPING,
        revision=3,
        next_at=None,
        ends_at=after(5, days=90),
        paused=Paused(at=after(10), why=PAUSED_BY_SOMEBODY, next_in=LEFT, ends_in=LEFT),
    ),
    "a rotation that moves a signing key's signatures": SHIFTING,
    "a rotation that was rolled back": replace(
        WAITING,
        revision=2,
        policy_id=None,
        strategy=RotationStrategy.BLUE_GREEN,
        cause=Cause.REQUESTED,
        plan=Plan(rollback_window=DAY),
        stage=Stage.ROLLED_BACK,
        stage_at=after(7),
        awaited=frozenset(),
        next_at=None,
        finished_at=after(7),
        outcome=Reason(Outcome.ROLLED_BACK, "somebody rolled it back"),
    ),
    "a rotation that can still be rolled back": replace(
        WAITING,
        revision=2,
        policy_id=None,
        strategy=RotationStrategy.BLUE_GREEN,
        cause=Cause.REQUESTED,
        plan=Plan(rollback_window=DAY),
        stage=Stage.WINDOW,
        stage_at=after(7),
        awaited=frozenset(),
        next_at=after(7, days=1),
        ends_at=after(7, days=1),
        ceiling=after(7, days=1),
    ),
    "a rotation that was completed": replace(
        OVERLAPPING,
        revision=3,
        stage=Stage.COMPLETED,
        stage_at=after(9),
        next_at=None,
        ends_at=None,
        ceiling=None,
        finished_at=after(9),
        outcome=Reason(Outcome.COMPLETED, "all its stages are over"),
    ),
    "a rotation that another one took over from": replace(
        OVERLAPPING,
        revision=3,
        stage=Stage.FAILED,
        stage_at=after(9),
        next_at=None,
        ends_at=None,
        ceiling=None,
        finished_at=after(9),
        outcome=Reason(Outcome.SUPERSEDED, "the key was compromised: another rotation took over"),
    ),
    "a rotation whose new version does not sign right": replace(
        SHIFTING,
        revision=4,
        next_at=None,
        paused=Paused(
            at=after(1, hours=1),
            why=Reason(PauseCode.NOT_VERIFYING, "what the new version signs does not verify"),
            next_in=timedelta(0),
            ends_in=None,
        ),
    ),
}  # fmt: skip
READ: Final[dict[str, Callable[[Mapping[str, object]], KeptPolicy | Rotation]]] = {
    "policy": policy_from,
    "rotation": rotation_from,
}


@named(VECTORS["rows"])
def test_a_value_is_written_as_the_format_says(vector: Vector) -> None:
    sample = SAMPLES[vector["name"]]
    put = policy_put(sample) if isinstance(sample, KeptPolicy) else rotation_put(sample)
    assert canonical.encode(put.body) == vector["body"]
    columns = {"id": put.id, "kind": put.kind, "tenant": put.tenant, "revision": put.revision}
    assert columns == {name: vector[name] for name in columns}


@named(VECTORS["rows"])
def test_a_body_gives_its_value_back(vector: Vector) -> None:
    assert READ[vector["kind"]](json.loads(vector["body"])) == SAMPLES[vector["name"]]


SAYS: Final = {
    "unknown_member": "members this program does not know",
    "format": r"^not a (policy|rotation) row of format 1$",
    "missing_member": "body is malformed",
    "value": "body is malformed",
}


@named(VECTORS["bodies_refused"])
def test_a_body_that_is_not_of_this_format_is_refused(vector: Vector) -> None:
    with pytest.raises(IntegrityError, match=SAYS[vector["failure"]]):
        READ[vector["kind"]](json.loads(vector["body"]))


@pytest.mark.parametrize("vector", VECTORS["cohorts"], ids=lambda vector: vector["of"])
def test_a_cohort_is_the_formats(vector: Vector) -> None:
    made = key_of(NOON, tenant=vector["tenant"])
    key = made if vector["of"] == made.key_id else replace(made, owner=vector["of"])
    assert cohort(key) == vector["cohort"]


def test_every_member_is_in_some_vector() -> None:
    """What no vector has, another program could not know of."""
    full = [json.loads(vector["body"]) for vector in VECTORS["rows"]]
    policies: set[str] = set().union(*(body for body in full if body["kind"] == "policy"))
    rotations: set[str] = set().union(*(body for body in full if body["kind"] == "rotation"))
    assert {each.name for each in fields(RotationPolicy)} <= policies
    renamed = {"rotation_id": "id", "key_id": "key", "key_type": "type"}
    assert {renamed.get(each.name, each.name) for each in fields(Rotation)} <= rotations


@named(VECTORS["bodies_read"])
def test_what_was_written_by_other_rules_is_read_and_written_as_it_is(vector: Vector) -> None:
    """Rules become stricter and codes more: neither may take away what is stored."""
    found = READ[vector["kind"]](json.loads(vector["body"]))
    put = policy_put(found) if isinstance(found, KeptPolicy) else rotation_put(found)
    assert canonical.encode(put.body) == vector["body"]


def test_what_is_read_is_held_to_todays_rules_once_somebody_changes_it() -> None:
    zone = next(each for each in VECTORS["bodies_read"] if "time zone" in each["name"])
    kept = policy_from(json.loads(zone["body"]))
    assert kept.changed(NOON, is_deleted=True).is_deleted
    with pytest.raises(InvalidInputError, match="time zone"):
        replace(kept.policy, overlap=1)
    with pytest.raises(InvalidInputError, match="time zone"):
        next_due(kept.policy, key_of(NOON), NOON)


@pytest.mark.parametrize(
    ("heading", "kind"), [("outcome", Outcome), ("pause", PauseCode), ("policy's pause", PolicyPauseCode)]
)
def test_the_page_lists_exactly_the_codes_that_there_are(heading: str, kind: type[Enum]) -> None:
    page = Path("docs/formats/rotation.md").read_text()
    table = page.partition(f"\n| {heading} | what |\n|---|---|\n")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [code.value for code in kind]
