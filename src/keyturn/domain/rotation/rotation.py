"""One rotation as a value: its stages, what may happen in each, and which versions sign and verify meanwhile.

                        IMMEDIATE     staged ─────────────────────────────> completed
                        OVERLAPPING   staged ──────────────> overlap ─────> completed
                        GRADUAL       staged ──> shifting ─> overlap ─────> completed      (tokens: no shifting)
                        BLUE_GREEN    staged ──────────────> window ──────> completed

    from any stage but the last: pause, resume, roll back (-> rolled_back), complete (-> completed), fail (-> failed)

| stage    | serves | signs                   | verifies                      | the old version is |
|----------|--------|-------------------------|-------------------------------|--------------------|
| staged   | old    | old                     | old                           | active             |
| shifting | old    | both, the new its share | both                          | active             |
| overlap  | new    | new                     | both                          | active up to its end |
| window   | new    | new                     | both; of a token only the new | active; of a token suspended |

A stage ends when its time has come and nothing is awaited any more. There is a way back up to `ends_at`, and none from
then on, whether or not anybody has completed the rotation by then. What a step does to the versions and to the key
says `keyturn.domain.rotation.steps`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final, assert_never

from keyturn.domain.instants import rfc3339
from keyturn.domain.key import KeyType
from keyturn.domain.rotation.plan import Paused, Plan
from keyturn.domain.rotation.policy import WHOLE, RotationStrategy
from keyturn.domain.rotation.reasons import Outcome, PauseCode, Reason
from keyturn.domain.rotation.stages import NEXT, REMINDER, Awaited, Cause, Stage
from keyturn.errors import IllegalTransitionError

_IN_TIME: Final = Reason(Outcome.COMPLETED, "all its stages are over")
_AHEAD_OF_TIME: Final = Reason(Outcome.COMPLETED, "somebody completed it")
_FOUND_WANTING: Final[Mapping[PauseCode | str, Outcome]] = MappingProxyType(
    {
        PauseCode.NOT_VERIFYING: Outcome.NOT_VERIFYING,
        PauseCode.CHECK_REFUSED: Outcome.CHECK_REFUSED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """One rotation of one key.

    Attributes:
        policy_id: the policy that it follows; None for one that somebody asked for without one.
        old, new: numbers of the versions.
        share: percent of the signatures that the new version makes, while shifting.
        awaited: what has yet to happen before the new version takes over.
        next_at: when somebody has to look at it again; None while it is paused, or has ended.
        ends_at: in an overlap or a window, when the old version comes to its end, and with it the way back; else None.
        ceiling: the latest that `ends_at` may be, whatever happens; a pause does not lengthen a window.
        outcome: how it ended; None while it runs.
    """

    rotation_id: str
    tenant: str
    revision: int = 1
    key_id: str
    key_type: KeyType
    policy_id: str | None = None
    strategy: RotationStrategy
    cause: Cause
    plan: Plan
    old: int
    new: int
    stage: Stage
    stage_at: datetime
    started_at: datetime
    share: int | None = None
    awaited: frozenset[Awaited] = frozenset()
    next_at: datetime | None = None
    ends_at: datetime | None = None
    ceiling: datetime | None = None
    paused: Paused | None = None
    finished_at: datetime | None = None
    outcome: Reason[Outcome] | None = None

    @property
    def row_id(self) -> str:
        """Id of the rotation's row."""
        return self.rotation_id

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return not self.stage.is_end

    @property
    def serving(self) -> int:
        """The one version that the key serves with: whose secret is given out, and that signs where only one does."""
        return self.new if self.stage in (Stage.OVERLAP, Stage.WINDOW, Stage.COMPLETED) else self.old

    @property
    def signing(self) -> tuple[tuple[int, int], ...]:
        """Which versions sign, and how many percent of the signatures each makes.

        A new version whose signatures were found not to verify makes none while the rotation stands still for that.
        """
        is_wanting = self.paused is not None and self.paused.why.code is PauseCode.NOT_VERIFYING
        if self.stage is Stage.SHIFTING and self.share is not None and not is_wanting:
            return ((self.new, self.share), (self.old, WHOLE - self.share))
        return ((self.serving, WHOLE),)

    @property
    def verifying(self) -> tuple[int, ...]:
        """Which versions verify what names none, the serving one first."""
        both = (Stage.SHIFTING, Stage.OVERLAP, Stage.WINDOW)
        if self.stage not in both or (self.stage is Stage.WINDOW and self.key_type.is_token):
            return (self.serving,)
        return (self.serving, self.old if self.serving == self.new else self.new)

    def is_due(self, now: datetime) -> bool:
        """Whether its next step is to be taken now."""
        return self.is_running and self.next_at is not None and now >= self.next_at

    @property
    def next_stage(self) -> Stage:
        """The stage after this one."""
        following = NEXT[self.strategy][self.stage]
        if following is Stage.SHIFTING and self.key_type.is_token:
            return Stage.OVERLAP  # tokens move in cohorts of owners, each key as a whole
        return following

    def advanced(self, now: datetime, key_ends_at: datetime | None) -> Rotation:
        """After its next step. `key_ends_at` is the key's own expiry, which no version outlives.

        While something is awaited it only notes when to bring that to mind again. IllegalTransitionError where it is
        paused, or the time has not come.
        """
        self.require_running()
        if self.paused is not None or not self.is_due(now):
            raise IllegalTransitionError(
                "the rotation's next step is not due",
                fix="Resume it if it is paused, or wait until it is due.",
            )
        if self.awaited:
            return self._changed(next_at=now + REMINDER)
        return self._stepped(now, key_ends_at)

    def _stepped(self, now: datetime, key_ends_at: datetime | None) -> Rotation:
        if self.stage is Stage.SHIFTING and self.share is not None and self.share < WHOLE:
            return self._shifting(
                now, next(share for share in self.plan.shares if share > self.share), key_ends_at
            )
        match self.next_stage:
            case Stage.SHIFTING:
                return self._shifting(now, self.plan.shares[0], key_ends_at)
            case Stage.OVERLAP:
                return self._overlapping(now, key_ends_at)
            case Stage.WINDOW:
                window = now + timedelta(seconds=self.plan.rollback_window)
                ends_at = _clamped(window, key_ends_at)
                return self._at(Stage.WINDOW, now, next_at=ends_at, ends_at=ends_at, ceiling=ends_at)
            case Stage.COMPLETED:
                return self._ended(Stage.COMPLETED, now, _IN_TIME)
            case Stage.STAGED | Stage.ROLLED_BACK | Stage.FAILED:
                raise AssertionError("no stage leads there")
            case never:
                assert_never(never)

    def _shifting(self, now: datetime, share: int, key_ends_at: datetime | None) -> Rotation:
        if share == WHOLE:  # the old version has nothing left to sign
            return self._overlapping(now, key_ends_at)
        return self._at(Stage.SHIFTING, now, next_at=now + timedelta(seconds=self.plan.dwell), share=share)

    def _overlapping(self, now: datetime, key_ends_at: datetime | None) -> Rotation:
        ends_at = _clamped(now + timedelta(seconds=self.plan.overlap), key_ends_at)
        ceiling = _clamped(now + timedelta(seconds=self.plan.max_overlap), key_ends_at)
        quiet = self.plan.retire_unused_after
        looked_at = ends_at if quiet is None else min(ends_at, now + timedelta(seconds=quiet))
        return self._at(Stage.OVERLAP, now, next_at=looked_at, ends_at=ends_at, ceiling=ceiling)

    def has_lost_old(self, now: datetime) -> bool:
        """Whether the old version has come to its end already: then there is nothing to go back to."""
        return self.ends_at is not None and now >= self.ends_at

    def completed(self, now: datetime) -> Rotation:
        """Completed ahead of its time; IllegalTransitionError while something is awaited, or the lead is not over."""
        self.require_running()
        if self.awaited:
            names = ", ".join(sorted(each.value for each in self.awaited))
            raise IllegalTransitionError(
                f"the new version cannot take over yet; awaited: {names}",
                fix="Let that happen first, or roll the rotation back.",
            )
        if self.stage is Stage.STAGED and self.plan.lead and now < self._lead_ends:
            raise IllegalTransitionError(
                f"the new version signs nothing before {rfc3339(self._lead_ends)}: until then others get to know it",
                fix="Wait until then; if the old version is in wrong hands, rotate the key as compromised.",
            )
        return self._ended(Stage.COMPLETED, now, _AHEAD_OF_TIME)

    @property
    def _lead_ends(self) -> datetime:
        return self.started_at + timedelta(seconds=self.plan.lead)

    def met(self, condition: Awaited, now: datetime) -> Rotation:
        """With one thing less to wait for; once nothing is left its time counts again, at the earliest from now."""
        self.require_running()
        if condition not in self.awaited:
            raise IllegalTransitionError(
                f"the rotation does not await {condition.value}",
                fix="Look at the rotation: that has happened already, or was never asked for.",
            )
        met = self._changed(awaited=self.awaited - {condition})
        if met.awaited:
            return met
        if self.paused is None:
            return replace(met, next_at=max(now, self._lead_ends))
        next_in = min(max(self._lead_ends - now, timedelta(0)), self.plan.longest(self.stage))
        return replace(met, paused=replace(self.paused, next_in=next_in))

    def paused_at(self, now: datetime, why: Reason[PauseCode]) -> Rotation:
        """Standing still until it is resumed. The old version goes on meanwhile, up to its ceiling."""
        self.require_running()
        if self.paused is not None:
            raise IllegalTransitionError(
                "the rotation is paused already", fix="Leave it so, or resume it first."
            )
        self._require_old(now)
        paused = Paused(
            at=now,
            why=why,
            next_in=None if self.next_at is None else max(self._left(self.next_at, now), timedelta(0)),
            ends_in=None if self.ends_at is None else self._left(self.ends_at, now),
        )
        return self._changed(paused=paused, next_at=None, ends_at=self.ceiling)

    def _left(self, until: datetime, now: datetime) -> timedelta:
        # By a clock that was set back there would be more left than there ever was.
        return min(until - now, REMINDER if self.awaited else self.plan.longest(self.stage))

    def resumed(self, now: datetime) -> Rotation:
        """Going on, with what was left of its times when it was paused."""
        self.require_running()
        if self.paused is None:
            raise IllegalTransitionError(
                "the rotation is not paused", fix="There is nothing to resume: it goes on by itself."
            )
        ends_at = self.ends_at
        if self.paused.ends_in is not None and self.ceiling is not None:
            ends_at = min(now + self.paused.ends_in, self.ceiling)
        next_at = None if self.paused.next_in is None else now + self.paused.next_in
        if next_at is not None and ends_at is not None:
            next_at = min(next_at, ends_at)
        return self._changed(paused=None, next_at=next_at, ends_at=ends_at)

    def rolled_back(self, now: datetime) -> Rotation:
        """Ended with the old version in service; IllegalTransitionError once that has come to its end."""
        self.require_running()
        self._require_old(now)
        return self._ended(Stage.ROLLED_BACK, now, self._cause_of_roll_back())

    def _cause_of_roll_back(self) -> Reason[Outcome]:
        """What the new version was found wanting in, where the rotation stands still for that."""
        if self.paused is not None and self.paused.why.code in _FOUND_WANTING:
            return Reason(_FOUND_WANTING[self.paused.why.code], self.paused.why.text)
        return Reason(Outcome.ROLLED_BACK, "somebody rolled it back")

    def failed(self, now: datetime, why: Reason[Outcome]) -> Rotation:
        """Ended because the key has: it is refused as a whole, or another rotation took over."""
        self.require_running()
        return self._ended(Stage.FAILED, now, why)

    def require_running(self) -> None:
        """IllegalTransitionError where it has ended: no end is ever left."""
        if self.stage.is_end:
            raise IllegalTransitionError(
                f"the rotation is {self.stage.value.replace('_', ' ')}: nothing more happens to it",
                fix="Rotate the key again.",
            )

    def _require_old(self, now: datetime) -> None:
        if self.has_lost_old(now):
            raise IllegalTransitionError(
                f"the {self.stage.value} is over: the old version has come to its end",
                fix="Complete the rotation.",
            )

    def _at(
        self,
        stage: Stage,
        now: datetime,
        *,
        next_at: datetime | None = None,
        ends_at: datetime | None = None,
        ceiling: datetime | None = None,
        share: int | None = None,
    ) -> Rotation:
        return self._changed(
            stage=stage,
            stage_at=now,
            next_at=next_at,
            ends_at=ends_at,
            ceiling=ceiling,
            share=share,
        )

    def _ended(self, stage: Stage, now: datetime, why: Reason[Outcome]) -> Rotation:
        return replace(self._at(stage, now), finished_at=now, outcome=why, paused=None, awaited=frozenset())

    def _changed(self, **members: object) -> Rotation:
        changed: Rotation = replace(self, revision=self.revision + 1, **members)  # type: ignore[arg-type]
        return changed


def _clamped(ends_at: datetime, key_ends_at: datetime | None) -> datetime:
    return ends_at if key_ends_at is None else min(ends_at, key_ends_at)
