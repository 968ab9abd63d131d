"""kill -9 while keys are rotated, and many who rotate them at once: each key once, and nobody locked out."""

from __future__ import annotations

import random

from tests.contract.ledger_stores import Store
from tests.faults.rotation_loop import KEYS, Fleet

KILLS = 8


def test_schedulers_that_are_killed_leave_what_any_other_goes_on_from(bare: Store) -> None:
    fleet, moments = Fleet(bare), random.Random(7)
    fleet.fill()
    for _ in range(KILLS):
        fleet.one_life(moments)
    fleet.finish(schedulers=1)
    fleet.check()


def test_schedulers_that_work_at_once_rotate_each_key_once(bare: Store) -> None:
    fleet = Fleet(bare)
    fleet.fill()
    fleet.finish(schedulers=3)
    assert len(fleet.started) == KEYS, "each rotation is told by the one that began it"
    fleet.check()
