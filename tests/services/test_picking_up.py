"""A secret that waits is handed out once, whatever else is awaited, be the rotation paused or the clock set back."""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from typing import Any, Final

import pytest

from keyturn.errors import IllegalTransitionError
from keyturn.key_rotator import RotationStrategy
from tests.fakes import BY, Process
from tests.services.rotating import HOUR, rotator_of
from tests.services.samples import events

TERMS: Final[dict[str, dict[str, Any]]] = {
    "overlapping": {"strategy": RotationStrategy.OVERLAPPING},
    "gradual": {"strategy": RotationStrategy.GRADUAL},
    "blue_green": {"strategy": RotationStrategy.BLUE_GREEN},
    "blue_green, checked": {"strategy": RotationStrategy.BLUE_GREEN, "requires_check": True},
}


MEANWHILE: Final = ((), ("paused",), ("clock back",), ("paused", "clock back"))


@pytest.mark.parametrize(("terms", "meanwhile", "way"), list(product(TERMS, MEANWHILE, ("code", "request"))))
def test_a_secret_that_waits_is_handed_out_once_and_kept_nowhere_afterwards(
    ours: Process, theirs: Process, terms: str, meanwhile: tuple[str, ...], way: str
) -> None:
    key, rotator = ours.issue(), rotator_of(ours)
    rotation_id = rotator.rotate_key(key.key_id, keep_secret=True, **TERMS[terms]).rotation.rotation_id
    code = rotator.offer_pick_up(rotation_id, lifetime=2 * HOUR).code
    if "paused" in meanwhile:
        rotator.pause_rotation(rotation_id)
    if "clock back" in meanwhile:
        ours.clock.step_wall(timedelta(hours=-1))
    picked = rotator.redeem_pick_up(code) if way == "code" else rotator.pick_up_secret(rotation_id)

    theirs.catch_up()
    for process in (ours, theirs):
        versions = process.node.versions.list(key.key_id, BY).items
        assert all((each.version.material, each.version.custody) == (None, None) for each in versions)
        again = rotator_of(process)
        with pytest.raises(IllegalTransitionError, match="does not await pick_up"):
            again.pick_up_secret(rotation_id)
        with pytest.raises(
            IllegalTransitionError, match="used before" if way == "code" else "without this code"
        ):
            again.redeem_pick_up(code)
        with pytest.raises(IllegalTransitionError):
            again.offer_pick_up(rotation_id)
    assert [event.type for event in events(ours)].count("pick_up_repeated") == 1

    new = picked.secret.reveal()
    if "paused" in meanwhile:
        rotator.resume_rotation(rotation_id)
    if "blue_green" in terms:
        rotator.prove_rotation(rotation_id, new)
    if "checked" in terms:
        rotator.approve_rotation(rotation_id)
    ours.clock.pass_time(2 * HOUR)
    rotator.check_rotation_schedules()
    for process in (ours, theirs):
        assert process.ask(new).valid
