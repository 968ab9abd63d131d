"""What rotation has due and has not done: nothing, or next to it, where a scheduler works."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, NamedTuple

from keyturn.domain.bodies import key_from
from keyturn.domain.instants import to_micros
from keyturn.domain.key import Key
from keyturn.domain.rotation.bodies import rotation_from
from keyturn.domain.rotation.kept_policy import KeptPolicy
from keyturn.domain.rotation.rotation import Rotation
from keyturn.domain.rotation.schedule import latest_counted_from, next_due
from keyturn.domain.rotation.stages import Stage
from keyturn.errors import InvalidInputError
from keyturn.ports.clock import Clock
from keyturn.ports.ledger import Ledger
from keyturn.records.intact import Intact
from keyturn.records.records import Records
from keyturn.rotation.listing import listings_of, policies_of
from keyturn.rotation.places import START
from keyturn.rotation.selecting import is_selected

OVERDUE: Final = timedelta(hours=1)
MAX_LOOKED_AT: Final = 1_000  # rotations, and as many keys


class Due(NamedTuple):
    """How much is due: steps of rotations, and rotations to begin; and how much of it for more than an hour."""

    due: int
    overdue: int


class Backlog:
    """Counts, of every tenant together, among the first 1,000 rotations and keys that may be due.

    Attributes:
        latest: what was found last; None before the first look.
    """

    def __init__(self, *, ledger: Ledger, records: Records, clock: Clock) -> None:
        self._ledger = ledger
        self._intact = Intact(records)
        self._clock = clock
        self.latest: Due | None = None

    def look(self) -> Due:
        """Count anew; StorageError where the store does not answer."""
        now = self._clock.now()
        found = [*self._steps(now), *self._starts(now)]
        self.latest = Due(len(found), sum(found))
        return self.latest

    def _steps(self, now: datetime) -> Iterator[bool]:
        """For each step that is due, whether it is overdue."""
        rows = self._ledger.list_due_rotations(to_micros(now), START, MAX_LOOKED_AT)
        for rotation in self._intact.read(rows, rotation_from):
            since = _due_since(rotation)
            if since is not None and since <= now:
                yield now - since > OVERDUE

    def _starts(self, now: datetime) -> Iterator[bool]:
        """For each rotation that may begin, likewise."""
        for kept, key in islice(self._candidates(now), MAX_LOOKED_AT):
            if key.rotation is None and is_selected(kept.policy, key) and _is_due(kept, key, now):
                yield _is_due(kept, key, now - OVERDUE)

    def _candidates(self, now: datetime) -> Iterator[tuple[KeptPolicy, Key]]:
        for kept in policies_of(self._ledger, self._intact, None):
            if kept.paused is None:
                yield from ((kept, key) for key in self._keys(kept, now))

    def _keys(self, kept: KeptPolicy, now: datetime) -> Iterator[Key]:
        try:
            bound = latest_counted_from(kept.policy, now)
        except InvalidInputError:  # its time zone is not known here; the scheduler says so
            return
        if bound is None:
            return
        for each in listings_of(kept.policy):
            rows = self._ledger.list_due_keys(kept.tenant, to_micros(bound), START, MAX_LOOKED_AT, **each)
            yield from self._intact.read(rows, key_from)


def _due_since(rotation: Rotation) -> datetime | None:
    """Since when a rotation's step is due; None while it only waits for its old version to fall silent."""
    if rotation.stage is Stage.OVERLAP and rotation.plan.retire_unused_after is not None:
        return rotation.ends_at
    return rotation.next_at


def _is_due(kept: KeptPolicy, key: Key, at: datetime) -> bool:
    due = None if key.is_expired(at) else next_due(kept.policy, key, at)
    return due is not None and due <= at
