"""On which terms a key is rotated: by a policy, or as somebody asks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from keyturn.domain.key import Key
from keyturn.domain.rotation.plan import Plan
from keyturn.domain.rotation.policy import (
    RotationFrequency,
    RotationPolicy,
    RotationStrategy,
)
from keyturn.domain.rotation.stages import Awaited, Cause

_UNNAMED: Final = "requested"  # a policy that only lends its checks and defaults
MAY_BE_SAID: Final = frozenset(
    (
        "overlap",
        "max_overlap",
        "retire_unused_after",
        "shares",
        "dwell",
        "lead",
        "requires_check",
        "rollback_window",
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How one rotation goes."""

    strategy: RotationStrategy
    plan: Plan
    cause: Cause
    policy_id: str | None = None
    requires_check: bool = False

    @classmethod
    def of(cls, policy: RotationPolicy, cause: Cause) -> Terms:
        """Those of a policy."""
        return cls(
            strategy=policy.strategy,
            plan=Plan.of(policy),
            cause=cause,
            policy_id=policy.policy_id,
            requires_check=policy.requires_check,
        )

    @classmethod
    def asked(cls, strategy: RotationStrategy, said: dict[str, Any]) -> Terms:
        """Those of a request without a policy, or other than its policy's; InvalidInputError as for a policy."""
        lent = RotationPolicy(
            policy_id=_UNNAMED, frequency=RotationFrequency.NEVER, strategy=strategy, **said
        )
        return replace(cls.of(lent, Cause.REQUESTED), policy_id=None)

    @classmethod
    def after_compromise(cls) -> Terms:
        """Without any grace: the old version is in wrong hands."""
        return cls(strategy=RotationStrategy.IMMEDIATE, plan=Plan(), cause=Cause.COMPROMISED)

    def awaited(self, key: Key, *, is_picked_up: bool) -> frozenset[Awaited]:
        """What has to happen before the new version takes over. `is_picked_up`: its secret waits for its holder."""
        is_blue_green = self.strategy is RotationStrategy.BLUE_GREEN
        wanted = {
            Awaited.PICK_UP: is_picked_up,
            Awaited.PROOF: is_blue_green and key.type.is_token,
            Awaited.CHECK: self.requires_check,
        }
        return frozenset(each for each, is_wanted in wanted.items() if is_wanted)
