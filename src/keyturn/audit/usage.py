"""How often a key was used, when last, and why it was refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from keyturn.domain.instants import MAX_MICROS, from_micros, to_micros
from keyturn.domain.spec import check_instant
from keyturn.domain.verdict import Code
from keyturn.errors import InvalidInputError
from keyturn.ports.ledger import Ledger

DEFAULT_WINDOW: Final = timedelta(days=30)
MAX_WINDOW: Final = timedelta(days=400)
MAX_POINTS: Final = 1_500  # a day of minutes, two months of hours; days run into the window's end first
_MICROS_A_MINUTE: Final = 60_000_000
_EPOCH: Final = from_micros(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageStatistics:
    """Uses of one key within a window.

    Attributes:
        total: valid uses.
        refused: refusals by verification code.
        by_minute: valid uses by the minute (its beginning), without the minutes that had none.
        last_used_at, last_ip: the latest valid use ever; None for a key never used.
        last_used_by_version: the same for each version that was used.
    """

    key_id: str
    since: datetime
    until: datetime
    total: int
    refused: Mapping[str, int]
    by_minute: Mapping[datetime, int]
    last_used_at: datetime | None
    last_ip: str | None
    last_used_by_version: Mapping[int, datetime]


class Period(Enum):
    """Over how long uses are added up, in UTC; the values are part of the API."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"

    @property
    def minutes(self) -> int:
        """How long it is."""
        return _MINUTES[self]

    @property
    def default_window(self) -> timedelta:
        """How far back to look where nobody says."""
        return _WINDOWS[self]


_MINUTES: Final = {Period.MINUTE: 1, Period.HOUR: 60, Period.DAY: 1_440}
_WINDOWS: Final = {
    Period.MINUTE: timedelta(hours=1),
    Period.HOUR: timedelta(days=1),
    Period.DAY: timedelta(days=30),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class UsagePoint:
    """What was counted in the period that begins at `at`: valid uses, and refusals by verification code."""

    at: datetime
    count: int
    refused: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageSeries:
    """Uses of one key by the minute, hour or day.

    Attributes:
        since, until: what the points cover, whole periods; `until` is the end of the last.
        points: oldest first, without the periods that had nothing.
        last_used_at, last_ip: the latest valid use ever; None for a key never used.
    """

    key_id: str
    period: Period
    since: datetime
    until: datetime
    points: tuple[UsagePoint, ...]
    last_used_at: datetime | None
    last_ip: str | None
    last_used_by_version: Mapping[int, datetime]


class Usage:
    """Reads counts of uses. What was counted reaches the ledger within seconds, not at once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def of(self, key_id: str, now: datetime, since: datetime | None = None) -> UsageStatistics:
        """Statistics of one key from `since` (30 days ago when absent) to `now`; at most 400 days."""
        if since is not None:
            check_instant("since", since)
        start = now - DEFAULT_WINDOW if since is None else since
        if not timedelta(0) <= now - start <= MAX_WINDOW:
            raise InvalidInputError(f"since is in the past, at most {MAX_WINDOW.days} days", field="since")
        counts = self._ledger.read_uses(key_id, _minute(start), _minute(now))
        refused: Counter[str] = Counter()
        by_minute: Counter[datetime] = Counter()
        for count in counts:
            if count.code == Code.VALID.value:
                by_minute[_instant(count.minute)] += count.count
            else:
                refused[count.code] += count.count
        last_used_at, last_ip, by_version = self._last(key_id)
        return UsageStatistics(
            key_id=key_id,
            since=start,
            until=now,
            total=by_minute.total(),
            refused=dict(refused),
            by_minute=dict(by_minute),
            last_used_at=last_used_at,
            last_ip=last_ip,
            last_used_by_version=by_version,
        )

    def series(
        self, key_id: str, now: datetime, period: Period, since: datetime | None, until: datetime | None
    ) -> UsageSeries:
        """Uses of one key by periods, from the one that `since` lies in to the one that `until` ends in.

        Without `until` up to now; without `since` an hour of minutes, a day of hours or 30 days before that.
        InvalidInputError for more than 400 days or 1,500 points, and for what ends before it begins.
        """
        end = now if until is None else until
        start = max(end - period.default_window, _EPOCH) if since is None else since
        first, last = _periods(start, end, period)
        points: dict[int, Counter[str]] = {}
        for count in self._ledger.read_uses(key_id, first, last - 1, period=period.minutes):
            points.setdefault(count.minute, Counter())[count.code] += count.count
        last_used_at, last_ip, by_version = self._last(key_id)
        return UsageSeries(
            key_id=key_id,
            period=period,
            since=_instant(first),
            until=_instant(last),
            points=tuple(_point(minute, counts) for minute, counts in sorted(points.items())),
            last_used_at=last_used_at,
            last_ip=last_ip,
            last_used_by_version=by_version,
        )

    def _last(self, key_id: str) -> tuple[datetime | None, str | None, dict[int, datetime]]:
        """The latest valid use of a key, its address, and the latest of each version."""
        # Uses are not sealed: what is no instant was written by somebody else, and is no use.
        stored = (use for use in self._ledger.last_uses((key_id,)) if 0 <= use.at <= MAX_MICROS)
        last = sorted(stored, key=lambda use: use.at)
        by_version = {use.version: from_micros(use.at) for use in last}
        return (from_micros(last[-1].at), last[-1].ip, by_version) if last else (None, None, {})


def _periods(start: datetime, end: datetime, period: Period) -> tuple[int, int]:
    """The first minute of the period that `start` lies in, and the one after the period that `end` ends in."""
    if end <= start:
        raise InvalidInputError("'to' is not after 'from'", field="to", fix="Choose a later end.")
    if end - start > MAX_WINDOW:
        raise InvalidInputError(
            f"at most {MAX_WINDOW.days} days at once", field="from", fix="Choose a later beginning."
        )
    first = _minute(start) // period.minutes * period.minutes
    last = -(-to_micros(end) // (_MICROS_A_MINUTE * period.minutes)) * period.minutes
    points = (last - first) // period.minutes
    if points > MAX_POINTS:
        raise InvalidInputError(
            f"{points:,} points, and at most {MAX_POINTS:,} at once",
            field="period",
            fix="Choose a longer period, or less time.",
        )
    return first, last


def _point(minute: int, counts: Counter[str]) -> UsagePoint:
    valid = counts.pop(Code.VALID.value, 0)
    return UsagePoint(at=_instant(minute), count=valid, refused=dict(sorted(counts.items())))


def _instant(minute: int) -> datetime:
    return from_micros(minute * _MICROS_A_MINUTE)


def _minute(instant: datetime) -> int:
    return to_micros(instant) // _MICROS_A_MINUTE
