"""What the log says of policies, and how large they may be."""

from __future__ import annotations

from typing import Any

import pytest

from keyturn.domain.rotation.cron import MAX_CRON_CHARACTERS
from keyturn.domain.rotation.policy import MAX_BLACKOUTS
from keyturn.errors import InvalidInputError
from keyturn.key_rotator import (
    BlackoutWindow,
    KeySelection,
    RotationFrequency,
    RotationPolicy,
    RotationStrategy,
)
from keyturn.rotation.policy_details import LISTED
from tests.fakes import Process
from tests.services.rotating import DAY, rotator_of
from tests.services.samples import events, on_both

GRADUAL = RotationStrategy.GRADUAL


def detail(process: Process, kind: str) -> Any:
    found = [event for event in events(process) if event.type == kind][-1]
    return found.details


def test_the_log_has_a_policy_as_its_row_has_it(ours: Process) -> None:
    rotator = rotator_of(ours)
    rotator.create_rotation_policy(
        RotationPolicy(
            policy_id="p",
            frequency=RotationFrequency.MONTHLY,
            strategy=RotationStrategy.OVERLAPPING,
            keys=KeySelection(tags=("a",)),
        ),
        may_select_none=True,
    )
    made = detail(ours, "policy_created")
    assert (made["policy_id"], made["policy"]["frequency"], made["policy"]["overlap"]) == (
        "p",
        "monthly",
        7 * DAY,
    )
    assert made["policy"]["keys"]["tags"] == ["a"]
    rotator.update_rotation_policy("p", strategy=GRADUAL, keys=None)
    changed = detail(ours, "policy_updated")["changed"]
    assert (changed["strategy"], changed["keys"]) == ("gradual", None)
    assert changed["shares"] == [10, 25, 50, 100], "what changed with it"
    assert "frequency" not in changed
    rotator.pause_rotation_policy("p")
    assert detail(ours, "policy_paused")["paused"] == "requested"


def test_a_long_selection_is_cut_in_the_log_which_says_so(ours: Process) -> None:
    owners = tuple(f"owner {number}" for number in range(LISTED + 8))
    rotator_of(ours).create_rotation_policy(
        RotationPolicy(
            policy_id="p",
            frequency=RotationFrequency.MONTHLY,
            strategy=RotationStrategy.OVERLAPPING,
            keys=KeySelection(owners=owners),
        ),
        may_select_none=True,
    )
    made = detail(ours, "policy_created")
    assert made["policy"]["keys"]["owners"] == list(owners[:LISTED])
    assert made["not_listed"] == {"owners": 8}
    (kept,) = rotator_of(ours).list_rotation_policies().items
    assert kept.policy.keys is not None
    assert kept.policy.keys.owners == owners


@on_both
def test_the_largest_policy_that_may_be_made_is_kept(ours: Process) -> None:
    rotator = rotator_of(ours)
    owners = tuple(f"{number:03}".ljust(124, "x") for number in range(256))
    with pytest.raises(InvalidInputError, match="32,768 bytes at most") as refused:
        KeySelection(owners=owners, tags=tuple(f"{n:03}".ljust(64, "y") for n in range(9)))
    assert refused.value.field == "keys"
    minutes = ",".join(str(minute) for minute in range(24))
    cron = f"{minutes} 0 {','.join(str(day) for day in range(1, 32))} * MON"
    policy = RotationPolicy(
        policy_id="p" * 64,
        frequency=RotationFrequency.YEARLY,
        strategy=GRADUAL,
        keys=KeySelection(owners=owners),
        shares=tuple(range(1, 101)),
        blackouts=tuple(
            BlackoutWindow(cron=cron + " " * (MAX_CRON_CHARACTERS - len(cron)), duration=60 + number)
            for number in range(MAX_BLACKOUTS)
        ),
    )
    rotator.create_rotation_policy(policy, may_select_none=True)
    (kept,) = rotator.list_rotation_policies().items
    assert kept.policy == policy
