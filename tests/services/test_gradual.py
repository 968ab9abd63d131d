"""A GRADUAL policy moves its tokens cohort by cohort, and no faster than they take their new versions up."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import pytest

from keyturn.domain.rotation.reasons import PolicyPauseCode
from keyturn.domain.rotation.schedule import cohort_stage
from keyturn.domain.spec import GeneratedKey
from keyturn.key_rotator import (
    KeyRotator,
    RotationEvent,
    RotationFrequency,
    RotationPolicy,
    RotationStrategy,
)
from tests.fakes import BY, Process
from tests.services.rotating import DAY, HOUR, rotator_of

SHARES: Final = (25, 50, 100)
OWNERS: Final = 40


def gradual(**members: Any) -> RotationPolicy:
    given: dict[str, Any] = {
        "policy_id": "p",
        "frequency": RotationFrequency.MONTHLY,
        "strategy": RotationStrategy.GRADUAL,
        "dwell": HOUR,
        "shares": SHARES,
        **members,
    }
    return RotationPolicy(**given)


def issued(process: Process, count: int = OWNERS) -> list[GeneratedKey]:
    return [process.issue(owner=f"owner {number}", rotation_policy_id="p") for number in range(count)]


def stages_of(process: Process, events: list[RotationEvent]) -> set[int]:
    """In which stages the rotations that began are."""
    found = {event.key_id for event in events if event.type == "rotation_started"}
    return {cohort_stage(gradual(), process.node.reader.get(key_id, BY)) for key_id in found}


def taken_up(process: Process, rotator: KeyRotator, events: list[RotationEvent]) -> None:
    """Fetch and use each new token."""
    for event in events:
        if event.awaited:
            assert event.rotation_id is not None
            assert process.ask(rotator.pick_up_secret(event.rotation_id).secret.reveal()).valid
    process.node.recorder.flush()


def test_a_policy_stops_by_itself_where_new_tokens_are_not_taken_up(ours: Process) -> None:
    rotator = rotator_of(ours)
    rotator.create_rotation_policy(gradual())
    keys = issued(ours)
    ours.clock.pass_time(31 * DAY)
    first = rotator.check_rotation_schedules()
    assert stages_of(ours, first) == {0}
    ours.clock.pass_time(HOUR)
    assert rotator.check_rotation_schedules() == []
    (kept,) = rotator.list_rotation_policies().items
    assert kept.paused is not None
    assert kept.paused.code is PolicyPauseCode.NOT_TAKEN_UP
    assert all(ours.ask(key).valid for key in keys)


def test_a_stage_counts_from_when_the_one_before_began_and_not_from_when_it_was_planned(
    ours: Process,
) -> None:
    """After a long downtime, and with a new policy for old keys: every stage is past its planned time."""
    rotator = rotator_of(ours)
    rotator.create_rotation_policy(gradual())
    keys = issued(ours)
    ours.clock.pass_time(60 * DAY)
    begun: list[RotationEvent] = []
    for stage in range(len(SHARES)):
        for _ in range(2):
            found = [e for e in rotator.check_rotation_schedules() if e.type == "rotation_started"]
            begun += found
            assert stages_of(ours, found) <= {stage}
            taken_up(ours, rotator, found)
            ours.clock.pass_time(HOUR / 2 - 1)
        assert rotator.check_rotation_schedules() == []
        ours.clock.pass_time(2)
    assert {event.key_id for event in begun} == {key.key_id for key in keys}
    assert len(begun) == len(keys)


def test_keys_that_come_due_one_after_the_other_do_not_hold_each_other_up(ours: Process) -> None:
    """None waits for long past its own time, though a key of an earlier cohort always just was rotated."""
    rotator, step = rotator_of(ours), HOUR / 6
    rotator.create_rotation_policy(gradual())
    for number in range(40):
        ours.issue(owner=f"owner {number}", rotation_policy_id="p")
        ours.clock.pass_time(step)
    ours.clock.pass_time(31 * DAY - 40 * step)
    late = []
    for _ in range(40 + 3 * 6):
        events = rotator.check_rotation_schedules()
        for event in events:
            key = ours.node.reader.get(event.key_id, BY)
            planned = key.created_at + timedelta(days=31, seconds=HOUR * cohort_stage(gradual(), key))
            late.append((event.at - planned).total_seconds())
        taken_up(ours, rotator, events)
        ours.clock.pass_time(step)
    assert len(late) == 40
    assert 0 <= min(late) <= max(late) <= HOUR


def test_a_few_who_never_fetch_theirs_do_not_stop_the_policy_for_ever(ours: Process) -> None:
    """Those who have completed long since are counted as well."""
    rotator = rotator_of(ours)
    rotator.create_rotation_policy(gradual(pause_above=20))
    issued(ours)
    ours.clock.pass_time(31 * DAY)
    first = rotator.check_rotation_schedules()
    taken_up(ours, rotator, first[1:])
    ours.clock.pass_time(HOUR)
    taken_up(ours, rotator, rotator.check_rotation_schedules())
    ours.clock.pass_time(HOUR)
    taken_up(ours, rotator, rotator.check_rotation_schedules())
    ours.clock.pass_time(8 * DAY)
    done = rotator.check_rotation_schedules()
    assert {event.type for event in done} == {"rotation_completed", "rotation_awaited"}
    ours.clock.pass_time(31 * DAY)
    again = [event for event in rotator.check_rotation_schedules() if event.type == "rotation_started"]
    assert len(again) == len(first) - 1
    assert rotator.list_rotation_policies().items[0].paused is None


def test_who_has_just_fetched_a_token_has_a_stages_time_to_use_it(ours: Process) -> None:
    rotator = rotator_of(ours)
    rotator.create_rotation_policy(gradual(pause_above=0))
    keys = {key.key_id: key for key in issued(ours)}
    ours.clock.pass_time(31 * DAY)
    first = rotator.check_rotation_schedules()
    ours.clock.pass_time(HOUR - 60)
    for event in first:
        assert event.rotation_id is not None
        rotator.pick_up_secret(event.rotation_id)
        ours.clock.pass_time(1)
        assert ours.ask(keys[event.key_id]).valid
    ours.node.recorder.flush()
    ours.clock.pass_time(60)
    assert stages_of(ours, rotator.check_rotation_schedules()) == {1}
    (kept,) = rotator.list_rotation_policies().items
    assert kept.paused is None


@pytest.mark.parametrize("looked_at", [2, 3, 500])
def test_of_many_rotations_those_that_had_their_time_are_found(
    ours: Process, monkeypatch: pytest.MonkeyPatch, looked_at: int
) -> None:
    """The newest alone would all be too young to be judged."""
    monkeypatch.setattr("keyturn.rotation.taking_up._LOOKED_AT", looked_at)
    rotator = rotator_of(ours)
    rotator.create_rotation_policy(gradual(shares=(99, 100)))
    for passes in (HOUR - 60, 120, 0):
        for _ in range(8):
            ours.issue(owner="acme", rotation_policy_id="p")
        ours.clock.pass_time(passes)
    ours.clock.pass_time(31 * DAY - HOUR - 60)
    assert len(rotator.check_rotation_schedules()) == 8
    ours.clock.pass_time(HOUR - 60)
    assert len(rotator.check_rotation_schedules()) == 8
    ours.clock.pass_time(120)
    assert rotator.check_rotation_schedules() == [], "nobody has fetched the first ones"
    assert rotator.list_rotation_policies().items[0].paused is not None
