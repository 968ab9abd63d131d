"""Times by a cron expression: `minute hour day-of-month month day-of-week`, as crontab(5) has it.

    parse_cron("30 3 1 * *").next_after(datetime(2026, 1, 31, 12))      # 2026-02-01 03:30
    parse_cron("0 9 * * MON-FRI")

Each field is `*`, a number, a range, or a list of these with commas; `/n` after a range or `*` takes every n-th. Months
and days of the week may be named by three letters, and 7 is Sunday too. Where both day fields say something, a day
needs to meet one of the two. Times are naive: what a clock on the wall shows (`keyturn.domain.rotation.zones`).
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Final

from keyturn.errors import InvalidInputError

MAX_CRON_CHARACTERS: Final = 256
_LEAP_YEAR: Final = 2024
# 29 February comes on the same day of the week every 28 years, and 40 years where 2100 lies between.
DAYS_AHEAD: Final = 41 * 366
_KEPT: Final = 1_024  # parsed expressions
_DAY: Final = timedelta(days=1)

_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_PART: Final = re.compile(r"(\*|([0-9]{1,2}|[A-Z]{3})(?:-([0-9]{1,2}|[A-Z]{3}))?)(?:/([0-9]{1,2}))?")
_FIX: Final = "Write five fields: minute hour day-of-month month day-of-week, such as '30 3 1 * *'."


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    lowest: int
    highest: int
    names: Sequence[str] = ()


_FIELDS: Final = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day-of-month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day-of-week", 0, 7, _WEEKDAYS),
)


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression; `times` are those of a day, in order. Weekdays count from 0, a Sunday."""

    times: tuple[time, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    is_either_day: bool

    def includes(self, day: date) -> bool:
        """Whether it has times on that day."""
        if day.month not in self.months:
            return False
        by_day, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_day or by_weekday if self.is_either_day else by_day and by_weekday

    def next_after(self, wall: datetime) -> datetime:
        """The first time later than `wall`."""
        day, found = wall.date(), bisect_right(self.times, wall.time())
        if self.includes(day) and found < len(self.times):
            return datetime.combine(day, self.times[found])
        for _ in range(DAYS_AHEAD):
            day += _DAY
            if self.includes(day):
                return datetime.combine(day, self.times[0])
        raise AssertionError("an expression that never fires is refused when it is parsed")

    def last_until(self, wall: datetime, days: int) -> datetime | None:
        """The latest time that is `wall` or earlier; None where that day and so many before it have none."""
        day, found = wall.date(), bisect_left(self.times, wall.time())
        if found < len(self.times) and self.times[found] == wall.time():
            found += 1
        if self.includes(day) and found:
            return datetime.combine(day, self.times[found - 1])
        for _ in range(days):
            day -= _DAY
            if self.includes(day):
                return datetime.combine(day, self.times[-1])
        return None


def parse_cron(text: str) -> Cron:
    """The expression; InvalidInputError, which says what is wrong, for one that is none or can never fire."""
    is_text = isinstance(text, str) and len(text) <= MAX_CRON_CHARACTERS
    return _parsed(text if is_text else "")


@lru_cache(maxsize=_KEPT)
def _parsed(text: str) -> Cron:
    parts = text.upper().split()
    if len(parts) != len(_FIELDS):
        raise InvalidInputError("a cron expression has five fields", field="cron", fix=_FIX)
    minutes, hours, days, months, weekdays = (
        _values(part, field) for part, field in zip(parts, _FIELDS, strict=True)
    )
    cron = Cron(
        times=tuple(time(hour, minute) for hour in sorted(hours) for minute in sorted(minutes)),
        days=days,
        months=months,
        weekdays=frozenset(day % 7 for day in weekdays),
        is_either_day=not parts[2].startswith("*") and not parts[4].startswith("*"),
    )
    if not cron.is_either_day and not any(min(days) <= monthrange(_LEAP_YEAR, month)[1] for month in months):
        raise InvalidInputError(
            "the cron expression never fires: none of its months has such a day", field="cron", fix=_FIX
        )
    return cron


def _values(text: str, field: _Field) -> frozenset[int]:
    values: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise _refused(field)
        whole, first, last, step = match.groups()
        low = field.lowest if whole == "*" else _number(first, field)
        high = field.highest if whole == "*" or (step and last is None) else _number(last or first, field)
        every = 1 if step is None else int(step)
        if low > high or every < 1:
            raise _refused(field)
        values.update(range(low, high + 1, every))
    return frozenset(values)


def _number(text: str, field: _Field) -> int:
    if text in field.names:
        return field.names.index(text) + field.lowest
    if not text.isdecimal() or not field.lowest <= int(text) <= field.highest:
        raise _refused(field)
    return int(text)


def _refused(field: _Field) -> InvalidInputError:
    return InvalidInputError(
        f"the {field.name} of a cron expression is '*', or {field.lowest} to {field.highest}, as lists, ranges, steps",
        field="cron",
        fix=_FIX,
    )
