"""What a policy may cost: all who share a process pay for it. Work is counted, in calls, and not timed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any, Final

import pytest

from keyturn.domain.rotation.blackout import MAX_IN_A_ROW, BlackoutWindow
from keyturn.domain.rotation.checks import unchecked
from keyturn.domain.rotation.policy import MAX_BLACKOUTS, RotationFrequency, RotationStrategy
from keyturn.domain.rotation.schedule import is_open, next_due
from keyturn.errors import InvalidInputError
from tests.unit.domain.rotation.samples import key_of, policy

HOUR: Final = 3_600
DAY: Final = 86_400
BEGINNING: Final = datetime(2024, 1, 1, tzinfo=UTC)
HOURLY: Final[dict[str, Any]] = {"cron": "0 * * * *", "duration": HOUR}
# As costly as may be: two days without a gap, from hour to hour, beside windows that have not come for a long time.
COSTLY: Final = (
    BlackoutWindow(cron="0 * 1,2 * *", duration=HOUR),
    *(BlackoutWindow(cron=f"{minute} 0 29 2 */6", duration=200 * DAY) for minute in range(MAX_BLACKOUTS - 1)),
)


def calls_of(work: Callable[[], object]) -> int:
    """How many functions were called for it."""
    made = 0

    def count(_: FrameType, event: str, __: object) -> None:
        nonlocal made
        made += event == "call"

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return made


@pytest.mark.parametrize(
    ("blackouts", "says"),
    [
        (lambda: [BlackoutWindow(cron="0,30 0-12 * * *", duration=60)], "24 times a day"),
        (lambda: [BlackoutWindow(cron="1-59,0-1 0-15 * * *", duration=60)], "24 times a day"),
        (lambda: [BlackoutWindow(**{**HOURLY, "cron": f"{i} 0 * * *"}) for i in range(17)], "at most 16"),
        (lambda: [BlackoutWindow(**HOURLY)], "follow each other"),
        (lambda: [BlackoutWindow(cron="0 * 1-3 1 *", duration=HOUR)], "follow each other"),
    ],
)
def test_windows_that_cost_too_much_are_refused_by_name(
    blackouts: Callable[[], list[BlackoutWindow]], says: str
) -> None:
    with pytest.raises(InvalidInputError, match=says) as refused:
        policy(blackouts=blackouts())
    assert refused.value.field == "blackouts"
    assert refused.value.fix


def test_what_people_mean_by_many_windows_is_allowed() -> None:
    every_hour = BlackoutWindow(cron="0 * * * *", duration=600)
    december = BlackoutWindow(cron="0 0 * 12 *", duration=DAY)
    assert policy(blackouts=[every_hour, december]).blackouts == (every_hour, december)


def test_the_costliest_policy_is_made_with_bounded_work() -> None:
    assert calls_of(lambda: policy(blackouts=COSTLY)) < 300_000


def test_whether_it_is_open_takes_one_look_at_each_window() -> None:
    costly = policy(blackouts=COSTLY)
    assert not is_open(costly, BEGINNING)
    assert calls_of(lambda: is_open(costly, BEGINNING)) < MAX_BLACKOUTS * 250


def test_windows_of_a_stored_policy_that_would_be_refused_now_are_looked_at_once_too() -> None:
    windows = tuple(
        unchecked(BlackoutWindow, starts_at=None, ends_at=None, cron=f"{i}-59,0-{i} 0-15 * * *", duration=60)
        for i in range(1, 60)
    )
    stored, now = policy(), BEGINNING + timedelta(hours=3)
    object.__setattr__(stored, "blackouts", windows)
    parsed = calls_of(lambda: is_open(stored, now))
    assert calls_of(lambda: is_open(stored, now)) <= min(parsed, len(windows) * 25)
    assert not is_open(stored, now)


def test_a_row_of_windows_whose_end_is_not_found_has_no_opening() -> None:
    """It is in no notice and no preview then; rotations begin once it is over."""
    nights = policy(blackouts=[BlackoutWindow(cron="0 * 4-7 3 *", duration=HOUR)])
    key = key_of(datetime(2026, 2, 4, tzinfo=UTC))
    assert next_due(nights, key, datetime(2026, 3, 4, 12, tzinfo=UTC)) is None
    after = datetime(2026, 3, 8, tzinfo=UTC)
    assert not is_open(nights, after - timedelta(seconds=1))
    assert is_open(nights, after)
    assert next_due(nights, key, after) == after
    soon = after - timedelta(hours=MAX_IN_A_ROW)
    assert next_due(nights, key, soon) == after


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"max_age": HOUR - 1}, "max_age"),
        ({"frequency": RotationFrequency.CUSTOM, "cron": "0,59 0 * * *"}, "cron"),
        ({"frequency": RotationFrequency.CUSTOM, "cron": "*/30 4 1 1 *"}, "cron"),
        ({"frequency": RotationFrequency.CUSTOM, "cron": "0,30 0,23 * * *"}, "cron"),
    ],
)
def test_nothing_is_rotated_more_than_once_an_hour(members: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInputError, match=r"3,?600") as refused:
        policy(strategy=RotationStrategy.IMMEDIATE, notices=(), **members)
    assert refused.value.field == field
    assert refused.value.fix


@pytest.mark.parametrize(
    "members", [{"max_age": HOUR}, {"frequency": RotationFrequency.CUSTOM, "cron": "59 * * * *"}]
)
def test_once_an_hour_is_allowed(members: dict[str, Any]) -> None:
    assert policy(strategy=RotationStrategy.IMMEDIATE, notices=(), **members).period == HOUR
