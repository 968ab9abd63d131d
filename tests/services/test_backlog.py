"""What rotation has left undone is counted: steps and beginnings, and what of it is overdue."""

from __future__ import annotations

from keyturn import RotationFrequency, RotationPolicy, RotationStrategy
from keyturn.domain.rotation.selection import KeySelection
from tests.fakes import Process
from tests.services.rotating import DAY, HOUR, rotator_of
from tests.services.samples import on_both


@on_both
def test_rotations_that_should_have_begun_are_due_and_then_overdue(ours: Process) -> None:
    ours.issue(tags=("partner",))
    ours.issue()
    rotator = rotator_of(ours)
    rotator.create_rotation_policy(
        RotationPolicy(
            policy_id="daily",
            frequency=RotationFrequency.DAILY,
            strategy=RotationStrategy.IMMEDIATE,
            keys=KeySelection(tags=("partner",)),
        )
    )
    backlog = ours.node.backlog
    assert backlog.latest is None
    for seconds, expected in ((0, (0, 0)), (DAY - 1, (0, 0)), (1, (1, 0)), (HOUR, (1, 1))):
        ours.clock.pass_time(seconds)
        assert backlog.look() == expected
    rotator.pause_rotation_policy("daily")
    assert backlog.look() == (0, 0)
    rotator.resume_rotation_policy("daily")
    rotator.check_rotation_schedules()
    assert backlog.look() == backlog.latest == (0, 0)


@on_both
def test_steps_that_nobody_took_are_due_and_then_overdue(ours: Process) -> None:
    rotator = rotator_of(ours)
    rotator.rotate_key(ours.issue().key_id, overlap=HOUR)
    rotator.rotate_key(ours.issue().key_id, overlap=10 * HOUR, retire_unused_after=HOUR)
    for seconds, expected in ((HOUR - 1, (0, 0)), (1, (1, 0)), (HOUR + 1, (1, 1))):
        ours.clock.pass_time(seconds)
        assert ours.node.backlog.look() == expected
    rotator.check_rotation_schedules()
    assert ours.node.backlog.look() == (0, 0)
