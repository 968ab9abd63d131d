"""kill -9 while keys under the keys are changed: the old ones hold or the new ones do, and never neither."""

from __future__ import annotations

import random

import pytest

from tests.contract.ledger_stores import Store
from tests.faults.rekey_loop import KEYS, Rekeyed

KILLS = 60


@pytest.mark.timeout(300)
def test_killed_at_any_moment_it_leaves_a_store_that_opens_and_can_be_finished(bare: Store) -> None:
    rekeyed, moments, between = Rekeyed(bare), random.Random(41), 0
    rekeyed.fill()
    for _ in range(KILLS):
        rekeyed.one_life(moments)
        between += len(rekeyed.check()) > 1
    print(f"{dict(rekeyed.ends)}; {between} of {KILLS} left rows under several data keys")
    assert between >= 5, "some runs should have been cut off between two batches"
    rekeyed.finish()
    rekeyed.check(how_many=KEYS)
