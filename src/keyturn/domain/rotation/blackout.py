"""Blackout windows: times in which no rotation begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Final, cast

from keyturn.domain.rotation.checks import DAY, require_seconds
from keyturn.domain.rotation.cron import parse_cron
from keyturn.domain.rotation.zones import last_time_within
from keyturn.domain.spec import check_instant
from keyturn.errors import InvalidInputError

MAX_WINDOW: Final = 366 * DAY  # seconds, of a window that recurs
MAX_TIMES_A_DAY: Final = 24  # that a window may begin
MAX_IN_A_ROW: Final = 64  # windows that follow each other, until they are taken to do so for ever


@dataclass(frozen=True, slots=True, kw_only=True)
class BlackoutWindow:
    """A time in which no rotation begins: once, from `starts_at` up to `ends_at`; or from each time of `cron` on.

    `duration` is in seconds. InvalidInputError for anything that is not one of the two.
    """

    starts_at: datetime | None = None
    ends_at: datetime | None = None
    cron: str | None = None
    duration: int | None = None

    def __post_init__(self) -> None:
        is_once = self.starts_at is not None and self.ends_at is not None
        recurs = self.cron is not None and self.duration is not None
        given = sum(value is not None for value in (self.starts_at, self.ends_at, self.cron, self.duration))
        if is_once is recurs or given != 2:  # noqa: PLR2004 - the two members of one of the two forms
            raise InvalidInputError(
                "a blackout window has starts_at and ends_at, or cron and duration", field="blackouts"
            )
        if recurs:
            if len(parse_cron(cast(str, self.cron)).times) > MAX_TIMES_A_DAY:
                raise InvalidInputError(
                    f"a blackout window begins at most {MAX_TIMES_A_DAY} times a day",
                    field="blackouts",
                    fix="Let it begin less often and last longer: duration says how long.",
                )
            require_seconds("blackouts", self.duration, 60, MAX_WINDOW)
            return
        check_instant("blackouts", cast(datetime, self.starts_at))
        check_instant("blackouts", cast(datetime, self.ends_at))
        if cast(datetime, self.ends_at) <= cast(datetime, self.starts_at):
            raise InvalidInputError("a blackout window ends after it starts", field="blackouts")

    def end_around(self, instant: datetime, zone: tzinfo) -> datetime | None:
        """When the window that the instant lies in ends; None where it lies in none."""
        if self.cron is None:
            starts_at, ends_at = cast(datetime, self.starts_at), cast(datetime, self.ends_at)
        else:
            lasts = timedelta(seconds=cast(int, self.duration))
            found = last_time_within(parse_cron(self.cron), zone, instant, lasts)
            if found is None:
                return None
            starts_at, ends_at = found, found + lasts
        return ends_at if starts_at <= instant < ends_at else None


def opening_from(windows: Sequence[BlackoutWindow], zone: tzinfo, instant: datetime) -> datetime | None:
    """The first instant, `instant` itself or later, that lies in none of the windows; None where they never end.

    That is supposed of more than MAX_IN_A_ROW that follow each other. Each is looked at once after each.
    """
    for _ in range(MAX_IN_A_ROW + 1):
        ends = [end for window in windows if (end := window.end_around(instant, zone)) is not None]
        if not ends:
            return instant
        instant = max(ends)
    return None
