"""kill -9 in the middle of commits: what was acknowledged stays, and nothing is there by half."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from sqlite3 import connect

import pytest

from tests.contract.ledger_stores import Store
from tests.faults.kill_loop import Acknowledged, kill_writers, problems_of
from tests.faults.wrong_ledgers import Hasty, Torn, Wrong, open_wrong

KILLS = 120


def test_killed_writers_lose_nothing_that_was_acknowledged(sqlite: Store) -> None:
    acknowledged = kill_writers(sqlite.open, kills=KILLS, seed=3)
    assert len(acknowledged) >= KILLS
    ledger = sqlite.open()
    assert problems_of(ledger, acknowledged) == []
    ledger.close()
    with closing(connect(sqlite.url.removeprefix("sqlite:///"))) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("kind", [Hasty, Torn])
def test_a_wrong_ledger_is_found_out(sqlite: Store, kind: type[Wrong]) -> None:
    acknowledged = kill_writers(partial(open_wrong, kind, sqlite), kills=15, seed=4)
    ledger = sqlite.open()
    problems = problems_of(ledger, acknowledged)
    ledger.close()
    assert problems
    if kind is Hasty:
        assert "was acknowledged" in problems[0]


def test_the_checker_misses_no_single_loss(sqlite: Store) -> None:
    acknowledged = kill_writers(sqlite.open, kills=2, seed=5)
    ledger = sqlite.open()
    beyond = ledger.head() + 1
    assert problems_of(ledger, [*acknowledged, Acknowledged(beyond, "9.9")]) == [
        f"9.9 was acknowledged at {beyond} and is not there"
    ]
    ledger.close()
