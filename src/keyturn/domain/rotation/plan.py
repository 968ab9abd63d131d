"""What a rotation carries with it: its plan, and what was left of its times when it was paused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from keyturn.domain.rotation.policy import RotationPolicy
from keyturn.domain.rotation.reasons import PauseCode, Reason
from keyturn.domain.rotation.stages import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a rotation takes from its policy when it begins, and keeps: durations in seconds, shares in percent."""

    lead: int = 0
    overlap: int = 0
    max_overlap: int = 0
    shares: tuple[int, ...] = ()
    dwell: int = 0
    rollback_window: int = 0
    retire_unused_after: int | None = None

    @classmethod
    def of(cls, policy: RotationPolicy) -> Plan:
        """The plan that a policy has for each of its keys."""
        return cls(
            lead=policy.lead,
            overlap=policy.overlap,
            max_overlap=policy.max_overlap,
            shares=policy.shares,
            dwell=policy.dwell,
            rollback_window=policy.rollback_window,
            retire_unused_after=policy.retire_unused_after,
        )

    def longest(self, stage: Stage) -> timedelta:
        """For how long a stage lasts, or a step of it, where no pause comes in between; none for an end."""
        match stage:
            case Stage.STAGED:
                seconds = self.lead
            case Stage.SHIFTING:
                seconds = self.dwell
            case Stage.OVERLAP:
                seconds = self.overlap
            case Stage.WINDOW:
                seconds = self.rollback_window
            case Stage.COMPLETED | Stage.ROLLED_BACK | Stage.FAILED:
                seconds = 0
            case never:
                assert_never(never)
        return timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """A rotation that stands still: since when, why, and what was left of its times."""

    at: datetime
    why: Reason[PauseCode]
    next_in: timedelta | None
    ends_in: timedelta | None
