"""A step of a rotation as one ChangeSet: the rotation's row, the key's, those of its versions, and what happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from keyturn.domain.bodies import key_put, version_put
from keyturn.domain.change import ChangeSet, Event, EventType, Put, Require
from keyturn.domain.key import Version
from keyturn.domain.rotation.bodies import rotation_put
from keyturn.domain.rotation.rotation import Rotation
from keyturn.domain.rotation.stages import Stage
from keyturn.domain.rotation.steps import Moved
from keyturn.issuing.keys import Together


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one step changes, and what is said of it.

    Attributes:
        types: what happened; the first names the rotation's row, and all others where the key serves as before.
        added: a version that is new with this step.
    """

    types: Sequence[EventType]
    before: Together
    rotation: Rotation
    moved: Moved
    added: Version | None = None
    details: dict[str, object] = field(default_factory=dict)

    @property
    def turns(self) -> bool:
        """Whether the new version begins to serve."""
        return (
            self.moved.key.version != self.before.key.version and self.rotation.stage is not Stage.ROLLED_BACK
        )

    def changes(self, actor: str, now: datetime) -> ChangeSet:
        """The ChangeSet. It requires the owner to be as they were: one who was revoked gets no new secret."""
        others = self._puts_of_key()
        first, *more = self.types
        named = (self.rotation.row_id,) if self.turns else (self.rotation.row_id, *(put.id for put in others))
        events = [self._event(first, named, actor, now, {**described(self.rotation), **self.details})]
        if self.turns:
            events.append(
                self._event(
                    EventType.KEY_ROTATED,
                    tuple(put.id for put in others),
                    actor,
                    now,
                    {"version": self.rotation.new, "old_version": self.rotation.old},
                )
            )
        events += [self._event(each, (), actor, now, described(self.rotation)) for each in more]
        return ChangeSet(
            requires=self._requires(), puts=(rotation_put(self.rotation), *others), events=tuple(events)
        )

    def _puts_of_key(self) -> list[Put]:
        versions = [*self.moved.versions, *(() if self.added is None else (self.added,))]
        keys = [key_put(self.moved.key)] if self.moved.key_has_changed else []
        return [*keys, *(version_put(version) for version in versions)]

    def _requires(self) -> tuple[Require, ...]:
        key, owner = self.before.key, self.before.owner
        requires = []
        if not self.moved.key_has_changed:
            requires.append(Require(key.row_id, key.revision))
        if key.owner_row is not None:
            requires.append(Require(key.owner_row, 0 if owner is None else owner.revision))
        return tuple(requires)

    def _event(
        self, kind: EventType, rows: tuple[str, ...], actor: str, now: datetime, details: dict[str, object]
    ) -> Event:
        return event_of(kind, self.rotation, rows=rows, actor=actor, now=now, details=details)


def event_of(
    kind: EventType,
    rotation: Rotation,
    *,
    rows: tuple[str, ...],
    actor: str,
    now: datetime,
    details: dict[str, object],
) -> Event:
    """What happened to a rotation, and the rows that this explains."""
    return Event(
        type=kind,
        time=now,
        tenant=rotation.tenant,
        actor=actor,
        subjects=(rotation.key_id, rotation.rotation_id),
        rows=rows,
        details=details,
    )


def described(rotation: Rotation) -> dict[str, object]:
    """A rotation as the details of its events have it."""
    details: dict[str, object] = {
        "strategy": rotation.strategy.value,
        "stage": rotation.stage.value,
        "cause": rotation.cause.value,
        "old_version": rotation.old,
        "version": rotation.new,
    }
    for name in ("policy_id", "share"):
        value = getattr(rotation, name)
        if value is not None:
            details[name] = value
    if rotation.outcome is not None:
        details |= {"outcome": rotation.outcome.name, "why": rotation.outcome.text}
    elif rotation.paused is not None:
        details |= {"paused": rotation.paused.why.name, "why": rotation.paused.why.text}
    return details
