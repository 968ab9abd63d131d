"""When keys are due, whatever clocks on the wall do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.domain.key import KeyType
from keyturn.domain.rotation.blackout import BlackoutWindow
from keyturn.domain.rotation.cron import parse_cron
from keyturn.domain.rotation.policy import RotationFrequency, RotationStrategy
from keyturn.domain.rotation.schedule import (
    cohort,
    cohort_delay,
    counted_from,
    due_at,
    is_open,
    latest_counted_from,
    next_due,
    notices_due,
)
from keyturn.domain.rotation.zones import instant_of, last_time_until, next_time_after, on_the_wall, zone_of
from tests.unit.domain.rotation.samples import DAY, ZONES, instants, key_of, policy

zones = st.sampled_from(ZONES)
crons = st.sampled_from(
    ("30 2 * * *", "0 0 1 * *", "15 1-3 * * SUN", "10 * * * *", "0 12 31 * *", "0 3 29 2 *")
)
plain = st.sampled_from(
    [each for each in RotationFrequency if each not in (RotationFrequency.NEVER, RotationFrequency.CUSTOM)]
)


def at(text: str, zone: str = "UTC") -> datetime:
    """An instant by what a clock on the wall showed, the first time that it did."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


@given(zones, instants, instants)
def test_what_is_later_on_the_wall_is_never_earlier_in_time(
    name: str, one: datetime, other: datetime
) -> None:
    zone = zone_of(name)
    early, late = sorted((one.replace(tzinfo=None), other.replace(tzinfo=None)))
    assert instant_of(early, zone) <= instant_of(late, zone)


@given(zones, instants)
def test_the_wall_shows_the_time_of_an_instant_unless_it_skips_it(name: str, instant: datetime) -> None:
    zone, wall = zone_of(name), instant.replace(tzinfo=None)
    shown = on_the_wall(instant_of(wall, zone), zone)
    assert shown == wall or (
        shown > wall and on_the_wall(instant_of(wall, zone) - timedelta(seconds=1), zone) < wall
    )


@given(zones, crons, instants)
def test_times_of_an_expression_are_found_from_either_side(name: str, text: str, instant: datetime) -> None:
    zone, cron = zone_of(name), parse_cron(text)
    last, following = last_time_until(cron, zone, instant), next_time_after(cron, zone, instant)
    assert last <= instant < following
    assert next_time_after(cron, zone, last) == following
    assert last_time_until(cron, zone, following) == following
    assert last_time_until(cron, zone, following - timedelta(microseconds=1)) == last


@pytest.mark.parametrize(
    ("cron", "after", "due"),
    [
        (
            "30 2 * * *",
            "2026-03-28T12:00",
            "2026-03-29T03:00",
        ),  # 02:30 is skipped: as soon as it would have been over
        ("30 2 * * *", "2026-03-29T03:00", "2026-03-30T02:30"),
        ("30 2 * * *", "2026-10-24T12:00", "2026-10-25T02:30"),  # it comes twice, and counts once
        ("30 2 * * *", "2026-10-25T02:30", "2026-10-26T02:30"),
    ],
)
def test_a_time_that_a_clock_skips_or_repeats_comes_once(cron: str, after: str, due: str) -> None:
    zurich = policy(
        frequency=RotationFrequency.CUSTOM,
        cron=cron,
        time_zone="Europe/Zurich",
        overlap=3_600,
        max_overlap=7_200,
    )
    key = key_of(at(after, "Europe/Zurich"))
    assert due_at(zurich, key) == at(due, "Europe/Zurich")


@pytest.mark.parametrize(
    ("zone", "cron", "last", "set_back"),
    [
        ("Europe/Zurich", "45 2 * * *", "2026-10-25T00:45", "2026-10-25T01:15"),  # 02:15 for the second time
        ("Australia/Lord_Howe", "45 1 * * *", "2026-04-04T14:45", "2026-04-04T15:05"),  # by half an hour
    ],
)
def test_a_time_that_has_come_has_come_though_the_clock_was_set_back_before_it(
    zone: str, cron: str, last: str, set_back: str
) -> None:
    assert last_time_until(parse_cron(cron), zone_of(zone), at(set_back)) == at(last)
    quiet = policy(blackouts=(BlackoutWindow(cron=cron, duration=3_600),), time_zone=zone)
    assert not is_open(quiet, at(set_back))
    assert is_open(quiet, at(last) + timedelta(hours=1))


@pytest.mark.parametrize(
    ("frequency", "created", "due"),
    [
        ("monthly", "2026-01-31T10:00", ["2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"]),
        ("monthly", "2028-01-30T10:00", ["2028-02-29", "2028-03-30", "2028-04-30"]),
        ("monthly", "2026-02-28T10:00", ["2026-03-28", "2026-04-28"]),
        ("quarterly", "2026-11-30T10:00", ["2027-02-28", "2027-05-30", "2027-08-30"]),
        ("yearly", "2028-02-29T10:00", ["2029-02-28", "2030-02-28", "2031-02-28", "2032-02-29"]),
        ("weekly", "2026-03-26T10:00", ["2026-04-02", "2026-04-09"]),
        ("daily", "2026-03-28T10:00", ["2026-03-29", "2026-03-30"]),
    ],
)
def test_a_series_keeps_its_day_and_its_time_of_day(frequency: str, created: str, due: list[str]) -> None:
    zone = "Europe/Zurich"
    regular = policy(frequency=RotationFrequency(frequency), time_zone=zone)
    key = key_of(at(created, zone))
    for day in due:
        found = due_at(regular, key)
        assert found == at(f"{day}T10:00", zone)
        key = key_of(key.created_at, due_from=found)


@given(plain, zones, instants, st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=800)))
def test_a_key_is_due_at_most_once_for_all_the_times_that_were_missed(
    frequency: RotationFrequency, zone: str, created: datetime, later: timedelta
) -> None:
    regular, now = policy(frequency=frequency, time_zone=zone), created + later
    key = key_of(created)
    due = next_due(regular, key, now)
    assert due is not None
    assert due >= now
    if due > now:
        assert due == due_at(regular, key)
        return
    rotated = key_of(created, due_from=counted_from(regular, key, now))
    assert created < rotated.counted_from <= now
    again = next_due(regular, rotated, now)
    assert again is not None
    assert again > now
    bound = latest_counted_from(regular, now)
    assert bound is not None
    assert key.counted_from <= bound


@given(crons, zones, instants, st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=400)))
def test_a_cron_key_is_due_once_too(text: str, zone: str, created: datetime, later: timedelta) -> None:
    custom = policy(
        frequency=RotationFrequency.CUSTOM, cron=text, time_zone=zone,
        strategy=RotationStrategy.IMMEDIATE, notices=(),
    )  # fmt: skip
    key, now = key_of(created), created + later
    due = due_at(custom, key)
    bound = latest_counted_from(custom, now)
    assert due is not None
    assert bound is not None
    assert (due <= now) is (key.counted_from < bound)
    if due <= now:
        again = due_at(custom, key_of(created, due_from=counted_from(custom, key, now)))
        assert again is not None
        assert again > now


def test_a_policy_that_never_rotates_is_never_due() -> None:
    never = policy(frequency=RotationFrequency.NEVER)
    assert next_due(never, key_of(at("2026-01-01T00:00")), at("2050-01-01T00:00")) is None
    assert latest_counted_from(never, at("2050-01-01T00:00")) is None


def test_a_maximum_age_comes_before_a_longer_period_and_without_one() -> None:
    created = at("2026-01-01T00:00")
    for frequency in (RotationFrequency.NEVER, RotationFrequency.YEARLY):
        aged = policy(frequency=frequency, max_age=30 * 86_400)
        assert due_at(aged, key_of(created)) == created + 30 * DAY
        late = created + 31 * DAY
        assert counted_from(aged, key_of(created), late) == late


def test_what_is_due_in_a_blackout_begins_when_that_ends() -> None:
    sale = BlackoutWindow(starts_at=at("2026-01-30T00:00"), ends_at=at("2026-02-05T00:00"))
    nights = BlackoutWindow(cron="0 18 * * *", duration=14 * 3_600)
    quiet = policy(blackouts=(sale, nights), time_zone="Europe/Zurich")
    key = key_of(at("2026-01-01T10:00"))
    assert next_due(quiet, key, at("2026-01-15T00:00")) == at("2026-02-05T07:00")  # 8 o'clock in Zurich
    assert next_due(quiet, key, at("2026-02-04T12:00")) == at("2026-02-05T07:00")
    assert next_due(quiet, key, at("2026-02-05T07:00")) == at("2026-02-05T07:00")
    assert next_due(quiet, key, at("2026-02-05T16:59")) == at("2026-02-05T16:59")
    assert next_due(quiet, key, at("2026-02-05T17:00")) == at("2026-02-06T07:00")


@given(instants, st.integers(0, 500), st.lists(st.integers(1, 30), min_size=1, max_size=5, unique=True))
def test_no_due_time_lies_in_a_blackout(created: datetime, days: int, hours: list[int]) -> None:
    windows = tuple(
        BlackoutWindow(cron=f"{hour} {hour % 24} * * {hour % 7}", duration=hour * 3_600) for hour in hours
    )
    quiet, now = policy(blackouts=windows), created + days * DAY
    due = next_due(quiet, key_of(created), now)
    assert due is not None
    assert due >= now
    assert all(window.end_around(due, UTC) is None for window in windows)


def test_an_owner_is_in_one_cohort_for_good() -> None:
    gradual = policy(strategy=RotationStrategy.GRADUAL)
    keys = [key_of(at("2026-01-01T10:00"), owner=f"owner {number}") for number in range(2_000)]
    assert cohort(key_of(at("2026-01-01T10:00"), owner="acme")) == 10  # whichever program works it out
    stages = [round(cohort_delay(gradual, key) / DAY) for key in keys]
    shares = [stages.count(stage) / len(keys) for stage in range(4)]
    assert all(
        abs(share - wanted) < 0.04 for share, wanted in zip(shares, (0.10, 0.15, 0.25, 0.50), strict=True)
    )
    for key in keys[:50]:
        due = due_at(gradual, key)
        assert due is not None
        assert due == at("2026-02-01T10:00") + cohort_delay(gradual, key)
        assert counted_from(gradual, key, due) == at("2026-02-01T10:00")
    signing = key_of(at("2026-01-01T10:00"), type=KeyType.JWT)
    assert cohort_delay(gradual, signing) == timedelta(0)  # its signatures move, not its owner


def test_each_notice_comes_due_once_and_none_after_the_rotation() -> None:
    noisy = policy(notices=(7 * 86_400, 86_400))
    key = key_of(at("2026-01-01T10:00"))
    seen, moment = [], key.created_at
    while moment < at("2026-03-01T00:00"):
        seen += [(moment, lead // 86_400) for lead in notices_due(noisy, key, moment, moment + DAY)]
        moment += DAY
    assert [(day.day, lead) for day, lead in seen] == [(24, 7), (30, 1)]
