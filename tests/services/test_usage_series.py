"""Uses by the minute, the hour and the day, in whole periods of UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keyturn.audit.usage import MAX_POINTS, Period, UsageSeries
from keyturn.domain.spec import GeneratedKey
from keyturn.errors import InvalidInputError
from keyturn.ports.ledger import UseCount
from tests.fakes import BEGINNING, Process, Site
from tests.services.samples import on_both

NOON = BEGINNING  # 2026-03-01T12:00:00Z


def at(day: int, hour: int = 0, minute: int = 0, second: int = 0, micros: int = 0) -> datetime:
    """A time of March."""
    return datetime(2026, 3, day, hour, minute, second, micros, tzinfo=UTC)


def record(process: Process, key: GeneratedKey, *uses: tuple[datetime, str, int], **members: Any) -> None:
    process.ledger.inner.record_uses(
        [
            UseCount(
                tenant="default", key_id=key.key_id, version=members.get("version", 1), code=code, count=count,
                minute=int(when.timestamp()) // 60, last_at=int(when.timestamp()) * 1_000_000,
                last_ip=members.get("ip", "203.0.113.9"),
            )
            for when, code, count in uses
        ]
    )  # fmt: skip


def series(
    process: Process,
    key: GeneratedKey,
    period: Period,
    since: datetime | None = None,
    until: datetime | None = None,
) -> UsageSeries:
    return process.node.usage.series(key.key_id, process.clock.now(), period, since, until)


def points(found: UsageSeries) -> list[tuple[datetime, int, dict[str, int]]]:
    return [(point.at, point.count, dict(point.refused)) for point in found.points]


@on_both
def test_uses_are_added_up_by_period(ours: Process) -> None:
    key, other = ours.issue(), ours.issue()
    record(
        ours, key, (at(1, 10, 59), "valid", 1), (at(1, 11, 0), "valid", 2), (at(1, 11, 59), "valid", 4),
        (at(1, 11, 59), "expired", 8), (at(1, 12, 0), "ip_denied", 16), (at(1, 0, 0), "valid", 32),
    )  # fmt: skip
    record(ours, key, (at(1, 11, 59), "valid", 64), version=2, ip="::1")
    record(ours, other, (at(1, 11, 0), "valid", 1_000))
    assert points(series(ours, key, Period.MINUTE, since=at(1, 10, 59))) == [
        (at(1, 10, 59), 1, {}),
        (at(1, 11, 0), 2, {}),
        (at(1, 11, 59), 68, {"expired": 8}),
    ]
    assert points(series(ours, key, Period.HOUR, until=at(1, 12, 30))) == [
        (at(1, 0), 32, {}),
        (at(1, 10), 1, {}),
        (at(1, 11), 70, {"expired": 8}),
        (at(1, 12), 0, {"ip_denied": 16}),
    ]
    by_day = series(ours, key, Period.DAY)
    assert points(by_day) == [(at(1), 103, {"expired": 8, "ip_denied": 16})]
    assert (by_day.last_used_at, by_day.last_used_by_version) == (
        at(1, 11, 59),
        {1: at(1, 11, 59), 2: at(1, 11, 59)},
    )


@pytest.mark.parametrize(
    ("period", "since", "until"),
    [
        (Period.MINUTE, NOON - timedelta(hours=1), NOON),
        (Period.HOUR, NOON - timedelta(days=1), NOON),
        # Whole days, from the one that lies 30 days back to the end of this one.
        (Period.DAY, datetime(2026, 1, 30, tzinfo=UTC), at(2)),
    ],
)
def test_without_bounds_it_is_the_recent_past(
    ours: Process, period: Period, since: datetime, until: datetime
) -> None:
    found = series(ours, ours.issue(), period)
    assert (found.period, found.since, found.until) == (period, since, until)
    assert (points(found), found.last_used_at, found.last_ip) == ([], None, None)


@pytest.mark.parametrize(
    ("since", "until", "covered"),
    [
        (at(1, 10), at(1, 11), (at(1, 10), at(1, 11))),
        (at(1, 10, 59, 59), at(1, 11), (at(1, 10), at(1, 11))),
        (at(1, 10), at(1, 11, 0, 0, 1), (at(1, 10), at(1, 12))),
        (at(1, 10, 30), at(1, 10, 31), (at(1, 10), at(1, 11))),
    ],
)
def test_bounds_are_widened_to_whole_periods_and_the_end_is_not_in(
    ours: Process, since: datetime, until: datetime, covered: tuple[datetime, datetime]
) -> None:
    key = ours.issue()
    record(ours, key, *((at(1, hour, minute), "valid", 1) for hour in (9, 10, 11, 12) for minute in (0, 59)))
    found = series(ours, key, Period.HOUR, since, until)
    assert (found.since, found.until) == covered
    assert sum(point.count for point in found.points) == 2 * ((covered[1] - covered[0]) // timedelta(hours=1))


@pytest.mark.parametrize(
    ("period", "since", "until", "field"),
    [
        (Period.DAY, at(1), at(1), "to"),
        (Period.DAY, at(2), at(1), "to"),
        (Period.DAY, NOON + timedelta(days=1), None, "to"),
        (Period.DAY, at(1) - timedelta(days=400, microseconds=1), at(1), "from"),
        (Period.MINUTE, at(1), at(1) + timedelta(minutes=MAX_POINTS, microseconds=1), "period"),
        (Period.HOUR, at(1), at(1) + timedelta(hours=MAX_POINTS, microseconds=1), "period"),
    ],
)
def test_too_much_at_once_and_nothing_at_all_are_refused(
    ours: Process, period: Period, since: datetime, until: datetime | None, field: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        series(ours, ours.issue(), period, since, until)
    assert caught.value.field == field


@on_both
def test_as_much_as_may_be_is_read_as_so_many_points(site: Site, ours: Process) -> None:
    """400 days of a busy key are half a million minutes in the store, and never in memory."""
    key = ours.issue()
    for day in range(0, 400, 10):
        first = NOON - timedelta(days=day)
        record(ours, key, *((first - timedelta(minutes=7 * number), "valid", 1) for number in range(100)))
    found = series(ours, key, Period.DAY, since=NOON - timedelta(days=400))
    assert 40 <= len(found.points) <= 80
    assert sum(point.count for point in found.points) == 4_000
    minutes = series(ours, key, Period.MINUTE, since=NOON - timedelta(minutes=MAX_POINTS))
    assert len(minutes.points) == 99  # the one at noon is after the end


def test_the_first_of_all_times_has_nothing_before_it(ours: Process) -> None:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    found = series(ours, ours.issue(), Period.DAY, until=epoch + timedelta(seconds=1))
    assert (found.since, found.until) == (epoch, epoch + timedelta(days=1))
