"""The next steps of rotations that are under way, and the end of those whose key has ended."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from keyturn.crypto.randomness import random_base62
from keyturn.domain.change import EventType
from keyturn.domain.ids import ID_CHARACTERS, ROTATION, build
from keyturn.domain.instants import to_micros
from keyturn.domain.principal import SYSTEM_ACTOR, Principal
from keyturn.domain.rotation.bodies import rotation_from
from keyturn.domain.rotation.rotation import Rotation
from keyturn.errors import ConflictError, IllegalTransitionError, NotFoundError
from keyturn.ports.clock import Clock
from keyturn.ports.ledger import Ledger, Row
from keyturn.records.intact import Intact, is_of_the_store
from keyturn.rotation.events import RotationEvent
from keyturn.rotation.moving import Mover
from keyturn.rotation.places import START, Place, place_after, said_by

_SWEPT: Final = 500  # rotations, looked at in each run for those that stand still and whose key has ended
_FIRST: Final = f"{ROTATION}_"

Act = Callable[[str, Principal], tuple[EventType, Rotation] | None]


class Advancing:
    """Takes what is due, whoever's it is, in the order in which it came due."""

    def __init__(self, *, ledger: Ledger, intact: Intact, mover: Mover, clock: Clock) -> None:
        self._ledger = ledger
        self._intact = intact
        self._mover = mover
        self._clock = clock
        # Where nobody remembers how far the last run came, each looks at another part.
        self._swept = build(ROTATION, random_base62(ID_CHARACTERS))

    def pages(self, size: int) -> Iterator[Iterator[RotationEvent]]:
        """Pages of up to `size` steps, each taken while it is gone through."""
        now = to_micros(self._clock.now())
        after: Place | None = START
        while after is not None and (rows := self._ledger.list_due_rotations(now, after, size)):
            yield self._done(rows, self._mover.advance)
            after = place_after(rows[-1], after, "next_at")
        yield self._done(
            [row for row in self._next_rows() if said_by(row).get("paused") is not None],
            self._mover.end_with_key,
        )

    def _done(self, rows: Sequence[Row], act: Act) -> Iterator[RotationEvent]:
        rotations = self._intact.read(rows, rotation_from)
        random.shuffle(rotations)  # of several schedulers each begins elsewhere
        for rotation in rotations:
            event = self._acted(rotation, act)
            if event is not None:
                yield event

    def _acted(self, rotation: Rotation, act: Act) -> RotationEvent | None:
        by = Principal(actor=SYSTEM_ACTOR, tenant=rotation.tenant)
        try:
            done = act(rotation.rotation_id, by)
        except (ConflictError, IllegalTransitionError, NotFoundError):
            return None  # somebody else was first
        except Exception as error:
            if is_of_the_store(error):
                raise
            self._intact.leave_out("rotation", rotation.rotation_id, error)
            return None
        return None if done is None else RotationEvent.of(*done, self._clock.now())

    def _next_rows(self) -> list[Row]:
        """The next rotations of every tenant, running or not, in the order of their ids, and from the first again.

        One that is paused has nothing due, so no list of what is due would ever show that its key has ended.
        """
        rows = self._rotations_after(self._swept, _SWEPT)
        if len(rows) < _SWEPT:
            rows += [
                row for row in self._rotations_after(_FIRST, _SWEPT - len(rows)) if row.id <= self._swept
            ]
        self._swept = rows[-1].id if rows else self._swept
        return rows

    def _rotations_after(self, row_id: str, limit: int) -> list[Row]:
        return [row for row in self._ledger.list_rows(row_id, limit) if row.kind == "rotation"]
