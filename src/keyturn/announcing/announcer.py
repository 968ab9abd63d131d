"""The sweep over all keys that announces what is due. Any number of processes may do it.

    for count in announcer.sweep(Terms()):     # a page of keys at a time; stop taking, and the next one goes on
        ...

Each commit puts the sweep's next row, which only follows the one that was read, together with what it announces: of
two processes one loses and leaves it to the other, and wherever one is killed, nothing is told twice or left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from keyturn.announcing.policies import AnnouncingPolicies
from keyturn.domain.bodies import key_from
from keyturn.domain.change import ChangeSet, Event, EventType
from keyturn.domain.ids import SYSTEM_TENANT
from keyturn.domain.instants import MAX_MICROS, from_micros, to_micros
from keyturn.domain.key import Key
from keyturn.domain.notices.announcements import (
    Announcement,
    LastUse,
    Span,
    Terms,
    expiring,
    scheduled,
    straggling,
    unused,
)
from keyturn.domain.notices.sweep import BEGINNING, SWEEP_ROW, Sweep, begun, sweep_from, sweep_put
from keyturn.domain.principal import SYSTEM_ACTOR
from keyturn.domain.rotation.bodies import rotation_from
from keyturn.domain.rotation.rotation import Rotation
from keyturn.domain.verdict import Code
from keyturn.errors import ConflictError
from keyturn.ports.clock import Clock
from keyturn.ports.ledger import Ledger
from keyturn.records.intact import Intact
from keyturn.records.records import Records

_PAGE: Final = 200  # rows: each key has at most four announcements, and a commit at most 1,000 events
_KEY: Final = "key"
_MICROS_A_MINUTE: Final = 60_000_000
_DAY: Final = 1_440  # minutes

Uses = dict[tuple[str, int], LastUse]


class Announcer:
    """Announces for every tenant."""

    def __init__(self, *, ledger: Ledger, records: Records, clock: Clock) -> None:
        self._ledger = ledger
        self._records = records
        self._intact = Intact(records)
        self._clock = clock

    def sweep(self, terms: Terms) -> Iterator[int]:
        """Announce what came due since the last time, an hour ago or more, and give after each page how much that was.

        Nothing where it is too early, or another process is at it. StorageError where the store does not answer.
        """
        opened = self._records.get(SWEEP_ROW)
        sweep = begun(None if opened is None else sweep_from(opened.body), self._clock.now())
        if sweep is None or sweep.until is None:
            return
        span = Span(sweep.since, sweep.until, self._clock.now())
        policies = AnnouncingPolicies(ledger=self._ledger, intact=self._intact)
        try:
            while rows := self._ledger.list_rows(sweep.after, _PAGE):
                rows = [row for row in rows if row.id.startswith(BEGINNING)]
                if not rows:
                    break
                keys = self._intact.read([row for row in rows if row.kind == _KEY], key_from)
                found = list(self._found(keys, policies, terms, span))
                sweep = sweep.passed(rows[-1].id)
                if found:  # a page without any may well be looked at again
                    sweep = self._committed(sweep, found)
                yield len(found)
            self._committed(sweep.ended(), ())
        except ConflictError:
            return  # another process goes on

    def _found(
        self, keys: Sequence[Key], policies: AnnouncingPolicies, terms: Terms, span: Span
    ) -> Iterator[tuple[Key, Announcement]]:
        rotations = self._rotations(keys)
        uses = self._uses(keys) if terms.unused is not None or rotations else {}
        last: dict[str, datetime] = {}
        for (key_id, _), use in uses.items():
            last[key_id] = max(use.at, last.get(key_id, use.at))
        for key in keys:
            each = (
                scheduled(key, policies.of(key), span),
                expiring(key, terms, span),
                unused(key, last.get(key.key_id), terms, span),
                self._straggling(key, rotations.get(key.rotation or ""), uses, span),
            )
            for announcement in each:
                if announcement is not None:
                    yield key, announcement

    def _straggling(self, key: Key, rotation: Rotation | None, uses: Uses, span: Span) -> Announcement | None:
        if rotation is None:
            return None
        found = straggling(key, rotation, uses.get((key.key_id, rotation.old)), span)
        if found is None:
            return None
        return found._replace(details={**found.details, "uses": self._count(rotation, span.now)})

    def _count(self, rotation: Rotation, now: datetime) -> int:
        """How often the old version was used since the new one serves."""
        first, last = (to_micros(each) // _MICROS_A_MINUTE for each in (rotation.stage_at, now))
        counts = self._ledger.read_uses(rotation.key_id, first, last, period=_DAY)
        return sum(
            each.count for each in counts if each.version == rotation.old and each.code == Code.VALID.value
        )

    def _rotations(self, keys: Sequence[Key]) -> dict[str, Rotation]:
        ids = [key.rotation for key in keys if key.rotation is not None]
        if not ids:
            return {}
        return {each.rotation_id: each for each in self._intact.named(ids, rotation_from)}

    def _uses(self, keys: Sequence[Key]) -> Uses:
        if not keys:
            return {}
        # Uses are not sealed: what is no instant was written by somebody else, and is no use.
        return {
            (use.key_id, use.version): LastUse(from_micros(use.at), use.ip)
            for use in self._ledger.last_uses([key.key_id for key in keys])
            if 0 <= use.at <= MAX_MICROS
        }

    def _committed(self, sweep: Sweep, found: Sequence[tuple[Key, Announcement]]) -> Sweep:
        """Write down how far it has come, together with what is announced."""
        written, now = replace(sweep, revision=sweep.revision + 1), self._clock.now()
        came = Event(
            type=EventType.KEYS_SWEPT,
            time=now,
            tenant=SYSTEM_TENANT,
            actor=SYSTEM_ACTOR,
            subjects=(SWEEP_ROW,),
            rows=(SWEEP_ROW,),
        )
        told = [
            Event(
                type=announcement.type,
                time=now,
                tenant=key.tenant,
                actor=SYSTEM_ACTOR,
                subjects=announcement.subjects,
                details=announcement.details,
            )
            for key, announcement in found
        ]
        self._records.commit(ChangeSet(puts=(sweep_put(written),), events=(*told, came)))
        return written
