"""What a scheduler did, one thing at a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from keyturn.domain.change import EventType
from keyturn.domain.rotation.rotation import Rotation


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationEvent:
    """One thing that happened to a rotation.

    Attributes:
        type: as in the log, such as ``rotation_started``.
        rotation_id: the rotation; None where one could not begin.
        version: number of the new version; None likewise.
        stage: where the rotation stands now.
        awaited: what has to happen before the new version takes over, such as ``pick_up``.
        code: how it ended, or why it stands still, in a word; None otherwise.
        why: the same for people; empty otherwise.
    """

    type: str
    at: datetime
    tenant: str
    key_id: str
    rotation_id: str | None = None
    policy_id: str | None = None
    version: int | None = None
    stage: str | None = None
    awaited: tuple[str, ...] = ()
    code: str | None = None
    why: str = ""

    @classmethod
    def of(cls, kind: EventType, rotation: Rotation, at: datetime) -> RotationEvent:
        """What became of a rotation."""
        reason = rotation.outcome or (rotation.paused.why if rotation.paused else None)
        return cls(
            type=kind.value,
            at=at,
            tenant=rotation.tenant,
            key_id=rotation.key_id,
            rotation_id=rotation.rotation_id,
            policy_id=rotation.policy_id,
            version=rotation.new,
            stage=rotation.stage.value,
            awaited=tuple(sorted(each.value for each in rotation.awaited)),
            code=None if reason is None else reason.name,
            why="" if reason is None else reason.text,
        )
