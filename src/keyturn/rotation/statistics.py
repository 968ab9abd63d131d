"""How rotation goes: how many succeed, how old keys are, and who still uses an old version."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Final, TypeVar

from keyturn.domain.bodies import key_from
from keyturn.domain.instants import from_micros
from keyturn.domain.key import Key
from keyturn.domain.principal import Principal
from keyturn.domain.rotation.rotation import Rotation
from keyturn.domain.rotation.stages import Stage
from keyturn.domain.spec import check_instant
from keyturn.ports.clock import Clock
from keyturn.ports.ledger import Ledger, RowFilter
from keyturn.records.intact import Intact
from keyturn.rotation.history import History
from keyturn.rotation.listing import policies_of
from keyturn.rotation.selecting import is_selected

DEFAULT_SINCE: Final = timedelta(days=30)
MAX_STRAGGLERS: Final = 1_000
MAX_SCANNED: Final = 20_000  # rotations, and as many keys: some seconds
_PAGE: Final = 500
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Straggler:
    """A rotation whose old version was used since the new one began to serve.

    Attributes:
        last_used_at, last_ip: of the old version's latest use, and from where where that is known.
        ends_at: when the old version stops verifying; None where that is not by time.
    """

    rotation_id: str
    key_id: str
    old_version: int
    last_used_at: datetime
    last_ip: str | None
    ends_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationStatistics:
    """Of one tenant.

    Attributes:
        since, until: rotations that began in this time are counted.
        by_stage: how many stand where.
        by_outcome: of those that ended, how many did so in which way, by the codes of `Outcome`.
        by_pause: of those that stand still now, how many do so why, by the codes of `PauseCode`.
        success_rate, failure_rate: completed and rolled back, of those that were either, from 0 to 1; None where there
            are none. One whose key ended, or that another one took over from, says nothing of either.
        mean_age: mean seconds since the versions of keys in service began to serve, or were made for those that came
            back; whatever schedules count from. None without keys.
        past_max_age: how many keys are older than a policy that is for them allows.
        stragglers: at most 1,000.
        is_partial: whether only the newest 20,000 rotations or keys were counted, for there are more.
    """

    since: datetime
    until: datetime
    by_stage: Mapping[str, int]
    by_outcome: Mapping[str, int]
    by_pause: Mapping[str, int]
    success_rate: float | None
    failure_rate: float | None
    keys: int
    mean_age: float | None
    past_max_age: int
    stragglers: tuple[Straggler, ...]
    is_partial: bool


class _Bounded(Iterator[_T]):
    """The first of what there is, and whether there was more."""

    def __init__(self, source: Iterator[_T]) -> None:
        self._source = source
        self._left = MAX_SCANNED
        self.was_cut = False

    def __next__(self) -> _T:
        found = next(self._source)
        if not self._left:
            self.was_cut = True
            raise StopIteration
        self._left -= 1
        return found


@dataclass(slots=True)
class _Counted:
    """Rotations by where they stand and why, and some of those whose old version may be in use."""

    by_stage: Counter[str] = field(default_factory=Counter)
    by_outcome: Counter[str] = field(default_factory=Counter)
    by_pause: Counter[str] = field(default_factory=Counter)
    overlapping: list[Rotation] = field(default_factory=list)

    def add(self, rotation: Rotation) -> None:
        self.by_stage[rotation.stage.value] += 1
        if rotation.outcome is not None:
            self.by_outcome[rotation.outcome.name] += 1
        if rotation.paused is not None:
            self.by_pause[rotation.paused.why.name] += 1
        if rotation.stage in (Stage.OVERLAP, Stage.SHIFTING) and len(self.overlapping) < MAX_STRAGGLERS:
            self.overlapping.append(rotation)


class Statistics:
    """Adds up, a page at a time."""

    def __init__(self, *, ledger: Ledger, intact: Intact, history: History, clock: Clock) -> None:
        self._ledger = ledger
        self._intact = intact
        self._history = history
        self._clock = clock

    def of(self, by: Principal, since: datetime | None = None) -> RotationStatistics:
        """Those of the caller's tenant; rotations since a time, 30 days ago when absent."""
        until = self._clock.now()
        if since is not None:
            check_instant("since", since)
        since = until - DEFAULT_SINCE if since is None else since
        counted, newest = _Counted(), _Bounded(self._history.newest_first(by.tenant))
        for rotation in takewhile(lambda each: each.started_at >= since, newest):
            counted.add(rotation)
        succeeded = counted.by_stage[Stage.COMPLETED.value]
        failed = counted.by_stage[Stage.ROLLED_BACK.value]
        judged = succeeded + failed
        in_service = _Bounded(self._keys_in_service(by.tenant))
        keys, mean_age, past = self._ages(by, in_service, until)
        return RotationStatistics(
            since=since,
            until=until,
            by_stage=dict(counted.by_stage),
            by_outcome=dict(counted.by_outcome),
            by_pause=dict(counted.by_pause),
            success_rate=succeeded / judged if judged else None,
            failure_rate=failed / judged if judged else None,
            keys=keys,
            mean_age=mean_age,
            past_max_age=past,
            stragglers=tuple(self._stragglers(counted.overlapping)),
            is_partial=newest.was_cut or in_service.was_cut,
        )

    def _ages(self, by: Principal, keys: Iterator[Key], now: datetime) -> tuple[int, float | None, int]:
        policies = (kept.policy for kept in policies_of(self._ledger, self._intact, by.tenant))
        aging = [policy for policy in policies if policy.max_age is not None]
        count, total, past = 0, timedelta(0), 0
        for key in keys:
            age = now - (key.rotated_at or key.created_at)
            count, total = count + 1, total + age
            past += any(
                policy.max_age is not None
                and age > timedelta(seconds=policy.max_age)
                and is_selected(policy, key)
                for policy in aging
            )
        return count, total.total_seconds() / count if count else None, past

    def _keys_in_service(self, tenant: str) -> Iterator[Key]:
        before = None
        while rows := self._ledger.list_keys(RowFilter(tenant=tenant, before=before, state="active"), _PAGE):
            before = rows[-1].created
            yield from self._intact.read(rows, key_from)

    def _stragglers(self, rotations: list[Rotation]) -> Iterator[Straggler]:
        uses = self._ledger.last_uses([rotation.key_id for rotation in rotations]) if rotations else []
        last = {(use.key_id, use.version): use for use in uses}
        for rotation in rotations:
            use = last.get((rotation.key_id, rotation.old))
            if use is not None and from_micros(use.at) >= rotation.stage_at:
                yield Straggler(
                    rotation_id=rotation.rotation_id,
                    key_id=rotation.key_id,
                    old_version=rotation.old,
                    last_used_at=from_micros(use.at),
                    last_ip=use.ip,
                    ends_at=rotation.ends_at,
                )
