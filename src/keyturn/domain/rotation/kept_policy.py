"""A policy as it is kept: with its tenant and its history."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from keyturn.domain.rotation.policy import RotationPolicy
from keyturn.domain.rotation.reasons import PolicyPauseCode, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPolicy:
    """A policy's row. One that was deleted keeps its row, so that its name cannot come back as an older policy.

    Attributes:
        row_id: a pseudonym of tenant and policy_id.
        paused: why no rotation begins by it for now; None while it works.
    """

    row_id: str
    tenant: str
    revision: int = 1
    policy: RotationPolicy
    created_at: datetime
    updated_at: datetime
    is_deleted: bool = False
    paused: Reason[PolicyPauseCode] | None = None

    def changed(self, now: datetime, **members: object) -> KeptPolicy:
        """The next revision of it, with these members."""
        newer: KeptPolicy = replace(self, revision=self.revision + 1, updated_at=now, **members)  # type: ignore[arg-type]
        return newer
