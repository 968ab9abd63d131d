"""What instant it is when the clock on the wall of a zone shows a time.

Twice a year a clock skips some times and shows others twice. A time that is skipped counts as the moment of the skip,
one that comes twice as the first: so order on the wall is order in time, and nothing planned is lost or doubled.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from keyturn.domain.rotation.cron import DAYS_AHEAD, Cron
from keyturn.errors import InvalidInputError, shown

UTC_NAME: Final = "UTC"
MAX_ZONE_CHARACTERS: Final = 64
_LONGEST_SHIFT: Final = timedelta(hours=3)  # that any zone was set back by since 1970
_DAYS_AROUND: Final = 3  # that a clock may be off by, and begun ones
_SHORTEST_STEP: Final = timedelta(microseconds=1)
_SECOND: Final = timedelta(seconds=1)
# What these are, or whether they are there, depends on the machine; `right` counts leap seconds besides.
_OF_A_MACHINE: Final = frozenset(("localtime", "posixrules", "factory"))
_TREES_OF_A_MACHINE: Final = ("posix/", "right/")


def zone_of(name: str) -> tzinfo:
    """The zone of that name in the IANA database, such as ``Europe/Zurich``; InvalidInputError for an unknown one."""
    if name == UTC_NAME:
        return UTC
    try:
        if not isinstance(name, str) or not 1 <= len(name) <= MAX_ZONE_CHARACTERS:
            raise ValueError("no name")
        if name.lower() in _OF_A_MACHINE or name.lower().startswith(_TREES_OF_A_MACHINE):
            raise ValueError("not the same everywhere")
        # Here, for it reads how the interpreter was built, and most programs never need it.
        from zoneinfo import ZoneInfo  # noqa: PLC0415

        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise InvalidInputError(
            f"unknown time zone {shown(name)}",
            field="time_zone",
            fix="Use a name such as Europe/Zurich, or UTC. If this is one, install the package tzdata.",
        ) from None


def on_the_wall(instant: datetime, zone: tzinfo) -> datetime:
    """What the clock on the wall shows at an instant, as a naive datetime."""
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def instant_of(wall: datetime, zone: tzinfo) -> datetime:
    """The instant, in UTC, at which the clock on the wall first shows `wall`, or skips it."""
    first = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if on_the_wall(first, zone) == wall:
        return first
    # PEP 495: of a time that is skipped, fold says by which of the two offsets it is read.
    return _skip_between(wall.replace(tzinfo=zone, fold=1).astimezone(UTC), first, wall, zone)


def _skip_between(before: datetime, after: datetime, wall: datetime, zone: tzinfo) -> datetime:
    """The first second between two instants at which the clock shows what is past `wall`."""
    while after - before > _SECOND:
        middle = before + (after - before) // 2
        if on_the_wall(middle, zone) > wall:
            after = middle
        else:
            before = middle
    return after.replace(microsecond=0)


def next_time_after(cron: Cron, zone: tzinfo, instant: datetime) -> datetime:
    """The first instant after `instant` at which an expression's time comes."""
    wall = on_the_wall(instant, zone)
    while True:
        wall = cron.next_after(wall)
        found = instant_of(wall, zone)
        if found > instant:  # not while an hour comes a second time
            return found


def last_time_until(cron: Cron, zone: tzinfo, instant: datetime) -> datetime:
    """The latest instant, `instant` itself or earlier, at which an expression's time came."""
    found = last_time_within(cron, zone, instant, timedelta(days=DAYS_AHEAD))
    assert found is not None, "an expression that never fires is refused when it is parsed"
    return found


def last_time_within(cron: Cron, zone: tzinfo, instant: datetime, ago: timedelta) -> datetime | None:
    """The same where it came less than `ago` before; where it did not, None or what it is."""
    wall, days = _latest_shown(instant, zone), ago.days + _DAYS_AROUND
    while (came := cron.last_until(wall, days)) is not None:
        found = instant_of(came, zone)
        if found <= instant:
            return found
        wall = came - _SHORTEST_STEP
    return None


def _latest_shown(instant: datetime, zone: tzinfo) -> datetime:
    """The latest time that the clock has shown up to an instant: before it was set back, where it just was."""
    unless_set_back = on_the_wall(instant - _LONGEST_SHIFT, zone) + _LONGEST_SHIFT
    return max(on_the_wall(instant, zone), unless_set_back)
