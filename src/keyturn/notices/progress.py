"""How far deliveries have come, for whoever watches over them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from keyturn.domain.notices.deliveries import Deliveries
from keyturn.measures import Tally
from keyturn.ports.notifier import Outcome


class Standing(NamedTuple):
    """How it stood at the end of a round over all endpoints that this process delivers to.

    Attributes:
        pending, dead: deliveries, of all endpoints together.
        entries: from the oldest that the slowest endpoint has yet to be told, to the end of the log.
        since: the time of that entry; None where there is none.
    """

    pending: int
    dead: int
    entries: int
    since: datetime | None


class Progress:
    """Adds up a round after the other.

    Attributes:
        attempts: by what became of them: `delivered`, `failed` (and tried again), `dead`.
        standing: after the latest round; None before the first.
    """

    def __init__(self, time_of: Callable[[int], datetime]) -> None:
        self.attempts = Tally()
        self.standing: Standing | None = None
        self._time_of = time_of
        self._known: tuple[int, datetime] | None = None
        self._pending = self._dead = 0
        self._oldest: int | None = None

    def attempted(self, outcome: Outcome, before: Deliveries, after: Deliveries) -> None:
        """One attempt was made."""
        is_dead = len(after.dead) > len(before.dead)
        self.attempts.add("delivered" if outcome.delivered else "dead" if is_dead else "failed")

    def saw(self, state: Deliveries) -> None:
        """This is how an endpoint stands after its turn."""
        self._pending += len(state.pending)
        self._dead += len(state.dead)
        oldest = min([state.read_to + 1, *(each.position for each in state.pending)])
        self._oldest = oldest if self._oldest is None else min(self._oldest, oldest)

    def end(self, head: int) -> None:
        """All endpoints had their turn; the log ended at `head`."""
        oldest = self._oldest if self._oldest is not None and self._oldest <= head else None
        entries = 0 if oldest is None else head - oldest + 1
        since = None if oldest is None else self._since(oldest)
        self.standing = Standing(self._pending, self._dead, entries, since)

    def begin(self) -> None:
        """A round begins; one that was broken off counts for nothing."""
        self._pending = self._dead = 0
        self._oldest = None

    def _since(self, position: int) -> datetime:
        if self._known is None or self._known[0] != position:
            self._known = (position, self._time_of(position))
        return self._known[1]
