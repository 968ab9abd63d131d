"""Whether new versions are taken up: a policy that moves its tokens in cohorts goes on only as fast as they are.

Two samples of the policy's newest rotations tell: those that began within the last stage's time, and those before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from keyturn.domain.bodies import key_from
from keyturn.domain.instants import from_micros, to_micros
from keyturn.domain.rotation.bodies import rotation_from
from keyturn.domain.rotation.kept_policy import KeptPolicy
from keyturn.domain.rotation.policy import WHOLE
from keyturn.domain.rotation.reasons import PolicyPauseCode, Reason
from keyturn.domain.rotation.rotation import Rotation
from keyturn.domain.rotation.schedule import cohort_stage
from keyturn.domain.rotation.stages import Awaited, Cause, Stage
from keyturn.ports.ledger import Ledger, Position, RotationFilter, Row
from keyturn.records.intact import Intact
from keyturn.rotation.places import said_by

_LOOKED_AT: Final = 500  # rotations in each of the two samples
_JUDGED: Final = (Stage.STAGED, Stage.OVERLAP, Stage.COMPLETED)

_Starts = Mapping[int, Sequence[datetime]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Lets keys of later cohorts pass once the earlier ones have had their time, and have taken up their versions.

    Attributes:
        why: why the policy has to stop; None while it need not.
        settled, recent: for each stage of cohorts, when rotations began: a stage's time ago or earlier, and since.
    """

    why: Reason[PolicyPauseCode] | None
    settled: _Starts
    recent: _Starts

    def is_too_early(self, stage: int, due: datetime) -> bool:
        """Whether the stage before has not had its time yet. `due` is when the key would be without its cohort's delay.

        The time counts from the first rotation of that stage since then, not from when it was planned: after a pause,
        or with a policy that is new for old keys, all stages are due at once.
        """
        for earlier in range(stage - 1, -1, -1):
            if any(began >= due for began in self.settled.get(earlier, ())):
                return False
            if any(began >= due for began in self.recent.get(earlier, ())):
                return True
        return False


class TakingUp:
    """Looks at what became of a policy's rotations."""

    def __init__(self, *, ledger: Ledger, intact: Intact) -> None:
        self._ledger = ledger
        self._intact = intact

    def gate(self, kept: KeptPolicy, now: datetime) -> Gate:
        """What has to be known before another token is rotated by the policy."""
        policy = kept.policy
        since = now - timedelta(seconds=policy.dwell)
        settled, recent = self._samples(RotationFilter(tenant=kept.tenant, policy_id=policy.policy_id), since)
        # Resuming or changing a policy takes what was before as known.
        judged = [each for each in settled if each.stage in _JUDGED and each.started_at >= kept.updated_at]
        late, why = self._not_taken_up(judged, since), None
        if late * WHOLE > policy.pause_above * len(judged):
            text = f"{late} of {len(judged)} new versions are not taken up after {policy.dwell} seconds"
            why = Reason(PolicyPauseCode.NOT_TAKEN_UP, text)
        return Gate(why=why, settled=self._starts(kept, settled), recent=self._starts(kept, recent))

    def _samples(self, matching: RotationFilter, since: datetime) -> tuple[list[Rotation], list[Rotation]]:
        """Rotations of tokens that began at `since` or earlier, and later ones: the newest of each."""
        rows = self._ledger.list_rotations(matching, _LOOKED_AT)
        if len(rows) == _LOOKED_AT:
            before = rows[-1].created
            if _began(rows[-1]) > to_micros(since):
                before = self._position_at(matching, since, before)
            rows += self._ledger.list_rotations(replace(matching, before=before), _LOOKED_AT)
        found = [each for each in self._intact.read(rows, rotation_from) if each.key_type.is_token]
        settled = [each for each in found if each.started_at <= since]
        return settled, [each for each in found if each.started_at > since]

    def _position_at(self, matching: RotationFilter, since: datetime, high: Position) -> Position:
        """A position before which rotations began at `since` or earlier, and after which later ones did."""
        low = 0
        while high - low > 1:
            middle = (low + high) // 2
            rows = self._ledger.list_rotations(replace(matching, before=middle), 1)
            if rows and _began(rows[0]) > to_micros(since):
                high = rows[0].created
            else:
                low = middle
        return high

    def _starts(self, kept: KeptPolicy, rotations: Sequence[Rotation]) -> _Starts:
        """When those that began on schedule did, by the stage that their owner's cohort is in."""
        scheduled = [each for each in rotations if each.cause is Cause.SCHEDULED]
        rows = self._ledger.read([each.key_id for each in scheduled])
        keys = self._intact.read([row for row in rows if row is not None], key_from)
        stages = {key.key_id: cohort_stage(kept.policy, key) for key in keys}
        starts: dict[int, list[datetime]] = defaultdict(list)
        for each in scheduled:
            if each.key_id in stages:
                starts[stages[each.key_id]].append(each.started_at)
        return starts

    def _not_taken_up(self, rotations: Sequence[Rotation], since: datetime) -> int:
        """Of how many the new secret was not fetched, or has been there for a stage's time and only the old is used."""
        uses = self._ledger.last_uses([rotation.key_id for rotation in rotations])
        used_at = {(use.key_id, use.version): from_micros(use.at) for use in uses}
        late = 0
        for rotation in rotations:
            last_of_old = used_at.get((rotation.key_id, rotation.old))
            uses_old = last_of_old is not None and last_of_old >= rotation.stage_at
            is_unused = (rotation.key_id, rotation.new) not in used_at
            had_time = rotation.stage is Stage.OVERLAP and rotation.stage_at <= since
            late += Awaited.PICK_UP in rotation.awaited or (had_time and uses_old and is_unused)
        return late


def _began(row: Row) -> int:
    """When a rotation began, as the store says, unchecked."""
    try:
        return int(said_by(row)["started_at"])
    except (ValueError, TypeError, KeyError, OverflowError):
        return 0
