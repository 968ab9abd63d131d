"""How far deliveries have come, for whoever watches over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import NamedTuple

from keyturn.domain.notices.deliveries import Deliveries
from keyturn.errors import IntegrityError
from keyturn.measures import Tally
from keyturn.notices.known import Known
from keyturn.ports.notifier import Outcome


class Standing(NamedTuple):
    """How it stood at the last look at all endpoints that this process delivers to.

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
    """Adds up attempts, and looks over what is known of endpoints.

    Attributes:
        attempts: by what became of them: `delivered`, `failed` (and tried again), `dead`.
        standing: after the latest look; None before the first.
    """

    def __init__(self, time_of: Callable[[int], datetime]) -> None:
        self.attempts = Tally()
        self.standing: Standing | None = None
        self._time_of = time_of
        self._known: tuple[int, datetime] | None = None

    def attempted(self, outcome: Outcome, before: Deliveries, after: Deliveries) -> None:
        """One attempt was made."""
        is_dead = len(after.dead) > len(before.dead)
        self.attempts.add("delivered" if outcome.delivered else "dead" if is_dead else "failed")

    def look(self, all_known: Iterable[Known], head: int) -> None:
        """This is what is known of the endpoints, and the log ends at `head`."""
        pending = dead = 0
        oldest = head + 1
        for known in all_known:
            pending, dead = pending + known.pending, dead + known.dead
            oldest = min(oldest, known.read_to + 1, known.oldest or oldest)
        since = None if oldest > head else self._since(oldest)
        self.standing = Standing(pending, dead, head - oldest + 1, since)

    def _since(self, position: int) -> datetime | None:
        if self._known is None or self._known[0] != position:
            try:
                self._known = (position, self._time_of(position))
            except IntegrityError:
                return None
        return self._known[1]
