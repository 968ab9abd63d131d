"""How far deliveries to one endpoint have come: a value, and what makes the next one of it.

Of one lane, which is a key's, only the first pending delivery is attempted, so that each key's notices arrive in order.
Times are microseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from keyturn.domain import canonical
from keyturn.domain.stored import read_as

STATE_VERSION: Final = 1
MAX_PENDING: Final = 500
MAX_DEAD: Final = 1_000  # with which nothing more is taken in; what is pending may still join them
MAX_DELIVERED: Final = 100
MAX_WHY_CHARACTERS: Final = 120
SECOND: Final = 1_000_000
# After the first attempt; then the delivery is dead. Three days in all: an endpoint may fail over a weekend.
DELAYS: Final = (5, 60, 300, 1_800, 7_200, 18_000, 36_000, 36_000, 43_200, 57_600, 57_600)
MAX_QUIET: Final = 300  # seconds for which an endpoint that fails is left alone


class Pending(NamedTuple):
    """A delivery that is to be made: the entry's position, and the lane that it keeps its order in."""

    position: int
    lane: str
    attempts: int = 0
    next_at: int = 0
    why: str = ""


class Dead(NamedTuple):
    """A delivery that was given up at a time, and why."""

    position: int
    lane: str
    attempts: int
    at: int
    why: str


class Delivered(NamedTuple):
    """A delivery that was made at a time."""

    position: int
    lane: str
    attempts: int
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliveries:
    """The state of one endpoint's deliveries.

    Attributes:
        read_to: position up to which entries are delivered or stand in one of the lists.
        held_until: until then one process has it.
        quiet_until: no attempt before.
        failures: how many attempts in a row have failed.
    """

    read_to: int
    held_until: int = 0
    quiet_until: int = 0
    failures: int = 0
    pending: tuple[Pending, ...] = ()
    dead: tuple[Dead, ...] = ()
    delivered: tuple[Delivered, ...] = ()

    @property
    def room(self) -> int:
        """How many more deliveries it takes in."""
        return MAX_PENDING - len(self.pending) if len(self.dead) < MAX_DEAD else 0

    @property
    def stalled(self) -> str | None:
        """Why it takes in nothing more; None where it does."""
        if len(self.dead) >= MAX_DEAD:
            return f"{MAX_DEAD:,} deliveries were given up: have some redelivered, or dismiss them"
        if not self.room:
            return f"{MAX_PENDING} deliveries are pending"
        return None

    def with_read(self, read_to: int, wanted: Iterable[tuple[int, str]]) -> Deliveries:
        """The log was read to a position, and has these positions with their lanes for the endpoint."""
        added = tuple(Pending(position, lane) for position, lane in wanted)
        return replace(self, read_to=read_to, pending=(*self.pending, *added))

    def due(self, now: int) -> Pending | None:
        """What is to be attempted next; None where nothing is, yet."""
        if now < self.quiet_until:
            return None
        lanes: set[str] = set()
        for each in self.pending:
            if each.lane not in lanes and each.next_at <= now:
                return each
            lanes.add(each.lane)
        return None

    def due_from(self) -> int | None:
        """When something is to be attempted next; None where nothing is pending."""
        heads: dict[str, int] = {}
        for each in self.pending:
            heads.setdefault(each.lane, each.next_at)
        return max(self.quiet_until, min(heads.values())) if heads else None

    def after_success(self, done: Pending, now: int) -> Deliveries:
        """It was delivered."""
        made = Delivered(done.position, done.lane, done.attempts + 1, now)
        return replace(
            self,
            pending=self._others(done),
            quiet_until=0,
            failures=0,
            delivered=(*self.delivered, made)[-MAX_DELIVERED:],
        )

    def after_failure(
        self, done: Pending, now: int, why: str, jitter: float, *, wait: int = 0, is_final: bool = False
    ) -> Deliveries:
        """It failed; the next attempt waits at least `wait` seconds, and `jitter` (0 to 1) spreads attempts."""
        why, failures = why[:MAX_WHY_CHARACTERS], self.failures + 1
        quiet = max(min(wait, MAX_QUIET), min(2 ** min(failures, 16), MAX_QUIET))
        failed = replace(self, failures=failures, quiet_until=now + int(quiet * SECOND * (0.5 + jitter / 2)))
        if is_final or done.attempts >= len(DELAYS):
            dead = Dead(done.position, done.lane, done.attempts + 1, now, why)
            return replace(failed, pending=self._others(done), dead=(*self.dead, dead))
        delay = max(wait, DELAYS[done.attempts]) * SECOND
        again = done._replace(
            attempts=done.attempts + 1, next_at=now + delay + int(delay * jitter / 4), why=why
        )
        return replace(failed, pending=tuple(again if each == done else each for each in self.pending))

    def passed_over(self, done: Pending) -> Deliveries:
        """It is not wanted any more."""
        return replace(self, pending=self._others(done))

    def with_redelivery(self, positions: Collection[int]) -> Deliveries:
        """These dead or delivered ones are delivered anew, in their order; their attempts begin again."""
        lanes = self.ended()
        anew = [Pending(position, lanes[position]) for position in positions]
        kept = [each for each in self.pending if each.position not in positions]
        dead = tuple(each for each in self.dead if each.position not in positions)
        return replace(self, quiet_until=0, pending=tuple(sorted([*kept, *anew])), dead=dead)

    def without_dead(self, positions: Collection[int]) -> Deliveries:
        """These dead ones are forgotten."""
        return replace(self, dead=tuple(each for each in self.dead if each.position not in positions))

    def ended(self) -> dict[int, str]:
        """Positions of dead and of delivered ones, with their lanes."""
        found = {each.position: each.lane for each in self.dead}
        return found | {each.position: each.lane for each in self.delivered}

    def _others(self, done: Pending) -> tuple[Pending, ...]:
        return tuple(each for each in self.pending if each != done)

    def encoded(self) -> str:
        """Canonical JSON."""
        return canonical.encode(
            {
                "v": STATE_VERSION,
                "read_to": self.read_to,
                "held_until": self.held_until,
                "quiet_until": self.quiet_until,
                "failures": self.failures,
                "pending": [list(each) for each in self.pending],
                "dead": [list(each) for each in self.dead],
                "delivered": [list(each) for each in self.delivered],
            }
        )

    @classmethod
    def decoded(cls, text: str) -> Deliveries:
        """What `encoded` gave; IntegrityError for anything else."""
        with read_as("a state of deliveries"):
            members: Any = canonical.decode_sealed(text)
            if members.pop("v") != STATE_VERSION:
                raise ValueError("another format")
            return cls(
                pending=tuple(Pending(*_sized(each, 5)) for each in members.pop("pending")),
                dead=tuple(Dead(*_sized(each, 5)) for each in members.pop("dead")),
                delivered=tuple(Delivered(*_sized(each, 4)) for each in members.pop("delivered")),
                **members,
            )


def _sized(parts: Sequence[Any], count: int) -> Sequence[Any]:
    if len(parts) != count:
        raise ValueError("another number of members")
    return parts
