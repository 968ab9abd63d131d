"""Whether new versions are taken up: a policy that moves its tokens in cohorts stops where they are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from keyturn.domain.instants import from_micros
from keyturn.domain.key import Key
from keyturn.domain.rotation.bodies import rotation_from
from keyturn.domain.rotation.kept_policy import KeptPolicy
from keyturn.domain.rotation.policy import WHOLE, RotationStrategy
from keyturn.domain.rotation.reasons import PolicyPauseCode, Reason
from keyturn.domain.rotation.rotation import Awaited, Rotation, Stage
from keyturn.ports.ledger import Ledger, RotationFilter
from keyturn.records.records import Records

_LOOKED_AT: Final = 1_000  # rotations, the newest of the policy


@dataclass(frozen=True, slots=True)
class Gate:
    """Lets keys of later cohorts pass while the earlier ones take up their new versions.

    Attributes:
        why: why it is closed; None while it is open.
    """

    why: Reason[PolicyPauseCode] | None

    def refusal(self, key: Key) -> Reason[PolicyPauseCode] | None:
        """Why this key's rotation must not begin yet; None where it may."""
        return None if not key.type.is_token else self.why


_OPEN: Final = Gate(None)


class TakingUp:
    """Looks at what became of a policy's rotations."""

    def __init__(self, *, ledger: Ledger, records: Records) -> None:
        self._ledger = ledger
        self._records = records

    def gate(self, kept: KeptPolicy, now: datetime) -> Gate:
        """Whether another token may be rotated by the policy."""
        policy = kept.policy
        if policy.strategy is not RotationStrategy.GRADUAL:
            return _OPEN
        matching = RotationFilter(tenant=kept.tenant, policy_id=policy.policy_id)
        rows = self._ledger.list_rotations(matching, _LOOKED_AT)
        dwell = timedelta(seconds=policy.dwell)
        # Those who have had a stage's time to take theirs up; resuming a policy takes what was before as known.
        judged = [
            rotation
            for rotation in (rotation_from(opened.body) for opened in self._records.open_all(rows))
            if rotation.key_type.is_token
            and kept.updated_at <= rotation.started_at <= now - dwell
            and rotation.stage in (Stage.STAGED, Stage.OVERLAP)
        ]
        late = self._not_taken_up(judged)
        if not judged or late * WHOLE <= policy.pause_above * len(judged):
            return _OPEN
        text = f"{late} of {len(judged)} new versions are not taken up after {policy.dwell} seconds"
        return Gate(Reason(PolicyPauseCode.NOT_TAKEN_UP, text))

    def _not_taken_up(self, rotations: Sequence[Rotation]) -> int:
        """Of how many rotations the new secret was not fetched, or only the old one is used."""
        uses = self._ledger.last_uses([rotation.key_id for rotation in rotations])
        used_at = {(use.key_id, use.version): from_micros(use.at) for use in uses}
        late = 0
        for rotation in rotations:
            last_of_old = used_at.get((rotation.key_id, rotation.old))
            uses_old = last_of_old is not None and last_of_old >= rotation.stage_at
            is_unused = (rotation.key_id, rotation.new) not in used_at
            late += Awaited.PICK_UP in rotation.awaited or (uses_old and is_unused)
        return late
