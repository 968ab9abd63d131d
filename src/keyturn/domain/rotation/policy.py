"""What shall be rotated, when, and how: checked once, when it is written.

    RotationPolicy(policy_id="monthly", frequency=RotationFrequency.MONTHLY, strategy=RotationStrategy.OVERLAPPING)
    RotationPolicy(
        policy_id="partners", frequency=RotationFrequency.CUSTOM, cron="30 3 1 * *", time_zone="Europe/Zurich",
        strategy=RotationStrategy.GRADUAL, keys=KeySelection(tags=("partner",)), overlap=14 * 86_400,
    )

Durations are whole seconds, as everywhere. What is not given is filled in when the policy is made, so that a policy
that is stored says all that it does.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field
from dataclasses import fields as fields_of
from datetime import UTC, datetime, tzinfo
from enum import Enum
from functools import lru_cache
from typing import Final, cast

from keyturn.domain import fields
from keyturn.domain.rotation.blackout import MAX_IN_A_ROW, BlackoutWindow, opening_from
from keyturn.domain.rotation.checks import (
    DAY,
    require_each,
    require_kind,
    require_range,
    require_seconds,
    tuple_of,
)
from keyturn.domain.rotation.cron import parse_cron
from keyturn.domain.rotation.selection import KeySelection
from keyturn.domain.rotation.zones import UTC_NAME, zone_of
from keyturn.domain.spec import MAX_LIFETIME
from keyturn.errors import InvalidInputError

MAX_SECONDS: Final = int(MAX_LIFETIME.total_seconds())
MAX_STAGES: Final = 100
MAX_NOTICES: Final = 16
MAX_BLACKOUTS: Final = 16
SHORTEST_PERIOD: Final = 3_600  # seconds, between two rotations of a key on schedule
WHOLE: Final = 100  # percent

DEFAULT_SHARES: Final = (10, 25, 50, 100)
DEFAULT_NOTICES: Final = (30 * DAY, 7 * DAY, DAY)
DEFAULT_OVERLAP: Final = 7 * DAY
DEFAULT_DWELL: Final = DAY
DEFAULT_ROLLBACK_WINDOW: Final = DAY
DEFAULT_MAX_OVERLAP: Final = 90 * DAY
DEFAULT_PAUSE_ABOVE: Final = 10  # percent

UNSAID: Final = cast(int, None)  # a duration that is filled in when the policy is made


class RotationFrequency(Enum):
    """How often. CUSTOM is by a cron expression; NEVER only when somebody asks, or by a maximum age."""

    NEVER = "never"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    QUARTERLY = "quarterly"
    YEARLY = "yearly"
    CUSTOM = "custom"


class RotationStrategy(Enum):
    """How the new version takes over from the old one."""

    IMMEDIATE = "immediate"
    GRADUAL = "gradual"
    OVERLAPPING = "overlapping"
    BLUE_GREEN = "blue_green"


PERIODS: Final = {
    RotationFrequency.DAILY: DAY,
    RotationFrequency.WEEKLY: 7 * DAY,
    RotationFrequency.MONTHLY: 28 * DAY,
    RotationFrequency.QUARTERLY: 89 * DAY,
    RotationFrequency.YEARLY: 365 * DAY,
}
"""The shortest period of each frequency, in seconds on a wall clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationPolicy:
    """When keys are rotated, and how. InvalidInputError, which names the field, for what is impossible.

    Attributes:
        policy_id: your own name for it: 1 to 64 of letters, digits, `_`, `-` and `.`.
        cron, time_zone: for CUSTOM, when, at most once an hour; the zone says what a day or a month is for the others
            too.
        keys: which keys it is for, beside those that name it; None for only those.
        overlap: seconds for which the old version goes on beside the new one (OVERLAPPING, GRADUAL).
        max_overlap: seconds after which the old version ends at the latest, however long a rotation is paused.
        retire_unused_after: seconds without use after which an old version ends early; None for never (tokens).
        shares, dwell: GRADUAL moves so many percent, and stays so many seconds at each.
        pause_above: GRADUAL stops by itself when more than so many percent of its new versions are not taken up.
        lead: seconds for which a new version is known, and published, before it signs.
        requires_check: whether somebody has to approve of the new version before it takes over (BLUE_GREEN).
        rollback_window: seconds after the switch in which it can be undone (BLUE_GREEN).
        max_age: seconds, an hour at least, after which a version is replaced whatever the frequency says.
        notices: seconds before a rotation at which its coming is announced.
        blackouts: when no rotation begins; one that is due then begins after it.
    """

    policy_id: str
    frequency: RotationFrequency
    strategy: RotationStrategy
    cron: str | None = None
    time_zone: str = UTC_NAME
    keys: KeySelection | None = None
    overlap: int = UNSAID
    max_overlap: int = UNSAID
    retire_unused_after: int | None = None
    shares: tuple[int, ...] = cast(tuple[int, ...], None)
    dwell: int = UNSAID
    pause_above: int = UNSAID
    lead: int = 0
    requires_check: bool = False
    rollback_window: int = UNSAID
    max_age: int | None = None
    notices: tuple[int, ...] = cast(tuple[int, ...], None)
    blackouts: tuple[BlackoutWindow, ...] = field(default=())

    def __post_init__(self) -> None:
        fields.check_policy_id(self.policy_id)
        require_kind("frequency", self.frequency, RotationFrequency)
        require_kind("strategy", self.strategy, RotationStrategy)
        self._take_as_given()
        self._check_when()
        self._fill_in()
        self._check_how()
        self._check_that_it_fits()

    @property
    def period(self) -> int | None:
        """The least number of seconds between two rotations of a key on schedule; None where there is no schedule."""
        by_frequency = (
            _shortest_gap(self.cron) if self.cron is not None else PERIODS.get(self.frequency, None)
        )
        bounds = [bound for bound in (by_frequency, self.max_age) if bound is not None]
        return min(bounds, default=None)

    @property
    def length(self) -> int:
        """How many seconds a rotation takes when nothing holds it up; under GRADUAL that of all cohorts."""
        stages = self.dwell * (len(self.shares) - 1) if self.strategy is RotationStrategy.GRADUAL else 0
        return self.lead + stages + self.overlap + self.rollback_window

    def _take_as_given(self) -> None:
        """Keep lists of any kind as tuples, and take None for what has a value of its own for that value."""
        for name, most in (("shares", MAX_STAGES), ("notices", MAX_NOTICES), ("blackouts", MAX_BLACKOUTS)):
            object.__setattr__(self, name, tuple_of(getattr(self, name), most))
        for each in fields_of(self):
            if getattr(self, each.name) is None and each.default is not MISSING:
                object.__setattr__(self, each.name, each.default)

    def _check_when(self) -> None:
        if (self.cron is not None) is not (self.frequency is RotationFrequency.CUSTOM):
            raise InvalidInputError(
                "a cron expression is for the frequency custom, and that needs one",
                field="cron",
                fix="Set frequency to custom and cron to an expression, or leave cron out.",
            )
        if self.cron is not None:
            self._check_cron()
        if self.max_age is not None:
            require_seconds("max_age", self.max_age, SHORTEST_PERIOD, MAX_SECONDS)
        if not isinstance(self.keys, KeySelection | None):
            raise InvalidInputError("keys is a KeySelection", field="keys")
        zone = zone_of(self.time_zone)
        self._check_blackouts(zone)

    def _check_cron(self) -> None:
        parse_cron(cast(str, self.cron))
        if _shortest_gap(cast(str, self.cron)) < SHORTEST_PERIOD:
            raise InvalidInputError(
                f"the cron expression has times less than {SHORTEST_PERIOD:,} seconds apart",
                field="cron",
                fix="Let it come at most once an hour: one minute in its first field.",
            )

    def _check_blackouts(self, zone: tzinfo) -> None:
        require_each("blackouts", self.blackouts, BlackoutWindow, MAX_BLACKOUTS)
        if opening_from(self.blackouts, zone, _FROM.replace(tzinfo=UTC)) is None:
            raise InvalidInputError(
                f"more than {MAX_IN_A_ROW} blackout windows follow each other without a gap in which one could begin",
                field="blackouts",
                fix="Shorten them, or let them come less often; or write many in a row as one that lasts longer.",
            )

    def _fill_in(self) -> None:
        """Give each parameter that was not said the value that suits the strategy and the period."""
        period = self.period
        fitting = DEFAULT_OVERLAP if period is None else min(DEFAULT_OVERLAP, period // 4)
        overlaps = self.strategy in (RotationStrategy.OVERLAPPING, RotationStrategy.GRADUAL)
        longest = max(DEFAULT_MAX_OVERLAP, self.overlap if type(self.overlap) is int else 0)
        is_gradual = self.strategy is RotationStrategy.GRADUAL
        is_blue_green = self.strategy is RotationStrategy.BLUE_GREEN
        dwell = DEFAULT_DWELL if period is None else min(DEFAULT_DWELL, period // 8)
        window = DEFAULT_ROLLBACK_WINDOW if period is None else min(DEFAULT_ROLLBACK_WINDOW, period // 4)
        notices = tuple(lead for lead in DEFAULT_NOTICES if period is None or lead < period)
        for name, value in (
            ("overlap", fitting if overlaps else 0),
            ("max_overlap", longest if overlaps else 0),
            ("shares", DEFAULT_SHARES if is_gradual else ()),
            ("dwell", dwell if is_gradual else 0),
            ("pause_above", DEFAULT_PAUSE_ABOVE if is_gradual else 0),
            ("rollback_window", window if is_blue_green else 0),
            ("notices", notices if self.frequency is not RotationFrequency.NEVER or self.max_age else ()),
        ):
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)

    def _check_how(self) -> None:
        overlaps = self.strategy in (RotationStrategy.OVERLAPPING, RotationStrategy.GRADUAL)
        require_range("overlap", self.overlap, overlaps, 1, MAX_SECONDS)
        require_range("max_overlap", self.max_overlap, overlaps, 1, MAX_SECONDS)
        if self.max_overlap < self.overlap:
            raise InvalidInputError(
                "max_overlap is shorter than the overlap",
                field="max_overlap",
                fix="Make it at least as long.",
            )
        is_gradual = self.strategy is RotationStrategy.GRADUAL
        require_range("dwell", self.dwell, is_gradual, 1, MAX_SECONDS)
        require_range("pause_above", self.pause_above, is_gradual, 0, WHOLE)
        self._check_shares(is_gradual)
        is_blue_green = self.strategy is RotationStrategy.BLUE_GREEN
        require_range("rollback_window", self.rollback_window, is_blue_green, 1, MAX_SECONDS)
        if type(self.requires_check) is not bool or (self.requires_check and not is_blue_green):
            raise InvalidInputError("requires_check is for blue_green", field="requires_check")
        is_immediate = self.strategy is RotationStrategy.IMMEDIATE
        require_range("lead", self.lead, not is_immediate, 0, MAX_SECONDS)
        if self.retire_unused_after is not None:
            require_range("retire_unused_after", self.retire_unused_after, overlaps, 60, MAX_SECONDS)
        require_each("notices", self.notices, int, MAX_NOTICES)
        for notice in self.notices:
            require_seconds("notices", notice, 60, MAX_SECONDS)

    def _check_shares(self, is_gradual: bool) -> None:
        require_each("shares", self.shares, int, MAX_STAGES)
        rising = all(low < high for low, high in zip((0, *self.shares), self.shares, strict=False))
        if is_gradual is not bool(self.shares) or not rising or self.shares[-1:] not in ((), (WHOLE,)):
            raise InvalidInputError(
                "shares are rising percentages that end with 100, for gradual",
                field="shares",
                fix="Such as 10, 25, 50, 100; leave them out for another strategy.",
            )

    def _check_that_it_fits(self) -> None:
        period = self.period
        if period is None:
            if self.notices:
                raise InvalidInputError(
                    "notices announce a schedule, and this policy has none",
                    field="notices",
                    fix="Leave them out, or choose a frequency or a max_age.",
                )
            return
        if self.length > period:
            raise InvalidInputError(
                f"a rotation takes {self.length} seconds and the next one may be due after {period}",
                field="overlap" if self.overlap else "rollback_window",
                fix="Shorten the overlap, the stages or the window, or rotate less often.",
            )
        if any(notice >= period for notice in self.notices):
            raise InvalidInputError(
                f"a notice lies further ahead than the period of {period} seconds", field="notices"
            )


_GAPS_LOOKED_AT: Final = 400  # between times on a wall clock: a year of an expression that fires daily
_KEPT: Final = 1_024  # expressions
_FROM: Final = datetime(2024, 1, 1)  # noqa: DTZ001 - on the wall


@lru_cache(maxsize=_KEPT)
def _shortest_gap(cron: str) -> int:
    """The least number of seconds between two times of an expression."""
    parsed, at, shortest = parse_cron(cron), _FROM, MAX_SECONDS
    at = parsed.next_after(at)
    for _ in range(_GAPS_LOOKED_AT):
        later = parsed.next_after(at)
        shortest = min(shortest, int((later - at).total_seconds()))
        if shortest <= DAY // 24 or later.year > _FROM.year + 60:
            break
        at = later
    return shortest
