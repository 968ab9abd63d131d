"""What a rotation would do, stage by stage, if nothing held it up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from keyturn.domain.key import Key
from keyturn.domain.rotation.plan import Plan
from keyturn.domain.rotation.policy import RotationStrategy
from keyturn.domain.rotation.rotation import Rotation
from keyturn.domain.rotation.stages import Awaited, Cause, Stage
from keyturn.domain.rotation.steps import begin


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """A stage of a rotation that has not begun.

    Attributes:
        at: the earliest time at which it begins.
        share: percent of the signatures that the new version makes, while shifting.
        serving: number of the version that serves.
        verifying: numbers of those that verify.
        awaited: what has to happen before it ends.
        old_ends_at: when a token's old version stops verifying.
    """

    stage: Stage
    at: datetime
    share: int | None
    serving: int
    verifying: tuple[int, ...]
    awaited: tuple[str, ...]
    old_ends_at: datetime | None


def foreseen(
    key: Key, strategy: RotationStrategy, plan: Plan, awaited: frozenset[Awaited], now: datetime
) -> Iterator[Foreseen]:
    """The stages in order. What is awaited is taken to come at once."""
    rotation = begin(
        rotation_id="",
        key=key,
        strategy=strategy,
        plan=plan,
        cause=Cause.REQUESTED,
        now=now,
        awaited=awaited,
    )
    yield _seen(rotation)
    if rotation.awaited:
        rotation = replace(rotation, awaited=frozenset(), next_at=now)
    while rotation.is_running and rotation.next_at is not None:
        if rotation.ends_at is not None:
            rotation = replace(rotation, next_at=rotation.ends_at)  # not ended early
        assert rotation.next_at is not None
        rotation = rotation.advanced(rotation.next_at, key.expires_at)
        yield _seen(rotation)


def _seen(rotation: Rotation) -> Foreseen:
    return Foreseen(
        stage=rotation.stage,
        at=rotation.stage_at,
        share=rotation.share,
        serving=rotation.serving,
        verifying=rotation.verifying,
        awaited=tuple(sorted(each.value for each in rotation.awaited)),
        old_ends_at=rotation.ends_at,
    )
