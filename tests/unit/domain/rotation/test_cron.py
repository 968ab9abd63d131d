"""Cron expressions on a wall clock, beside a program that has done the same for years."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice

import pytest
from cronsim import CronSim, CronSimError
from hypothesis import assume, example, given
from hypothesis import strategies as st

from keyturn.domain.rotation.cron import DAYS_AHEAD, parse_cron
from keyturn.errors import InvalidInputError

walls = st.datetimes(min_value=datetime(2024, 1, 1), max_value=datetime(2060, 12, 31))


def fields(low: int, high: int) -> st.SearchStrategy[str]:
    """A field of an expression; one that is a star alone comes often."""
    number = st.integers(low, high)
    # Of a span of one number for a day of the week the other program makes every day.
    span = st.tuples(st.integers(low, high - 1), number).map(
        lambda pair: f"{pair[0]}-{max(pair[0] + 1, pair[1])}"
    )
    step = st.integers(1, high)
    stepped = st.builds(
        lambda part, every: f"{part}/{every}", st.one_of(st.just("*"), span, number.map(str)), step
    )
    part = st.one_of(number.map(str), span, stepped)
    return st.one_of(st.just("*"), st.lists(part, min_size=1, max_size=3).map(",".join))


expressions = st.tuples(fields(0, 59), fields(0, 23), fields(1, 31), fields(1, 12), fields(0, 7)).map(
    " ".join
)


@given(expressions, walls)
@example("0 0 29 2 *", datetime(2096, 3, 1))
@example("0 0 31 * *", datetime(2026, 1, 31))
@example("0 0 1 * 1", datetime(2026, 1, 31))
@example("5/20 * * * *", datetime(2026, 1, 31))
def test_the_times_are_those_of_crontab(text: str, wall: datetime) -> None:
    try:
        expected = list(islice(CronSim(text, wall), 3))
    except CronSimError:
        assume(False)
    assume(len(expected) == 3)  # it looks fifty years ahead
    found = [wall]
    for _ in range(3):
        found.append(parse_cron(text).next_after(found[-1]))
    assert found[1:] == expected


@given(expressions, walls)
def test_the_last_time_is_the_one_after_which_the_next_is_later(text: str, wall: datetime) -> None:
    try:
        cron = parse_cron(text)
    except InvalidInputError:
        assume(False)
    last = cron.last_until(wall, DAYS_AHEAD)
    assert last is not None
    assert last <= wall < cron.next_after(last)
    assert cron.last_until(last, DAYS_AHEAD) == last
    assert cron.next_after(last - timedelta(microseconds=1)) == last


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("* * * * * *", "five fields"),
        ("@daily", "five fields"),
        ("60 * * * *", "minute"),
        ("* 24 * * *", "hour"),
        ("* * 0 * *", "day-of-month"),
        ("* * 32 * *", "day-of-month"),
        ("* * * 13 *", "month"),
        ("* * * * 8", "day-of-week"),
        ("* * * * MO", "day-of-week"),
        ("*/0 * * * *", "minute"),
        ("9-5 * * * *", "minute"),
        ("1,,2 * * * *", "minute"),
        ("-1 * * * *", "minute"),
        ("٣ * * * *", "minute"),
        ("0 0 30 2 *", "never fires"),
        ("0 0 31 2,4,6,9,11 *", "never fires"),
        ("0 0 L * *", "day-of-month"),
        ("*" * 300, "five fields"),
    ],
)
def test_what_is_no_expression_or_never_fires_is_refused_by_name(text: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says) as refused:
        parse_cron(text)
    assert refused.value.field == "cron"


def test_names_of_months_and_days_are_taken_in_any_case() -> None:
    assert parse_cron("0 9 * jan-Mar MON-fri") == parse_cron("0 9 * 1-3 1-5")
    assert parse_cron("0 9 * * 7") == parse_cron("0 9 * * SUN")
