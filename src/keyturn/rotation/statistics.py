"""How rotation goes: how many succeed, how old keys are, and who still uses an old version."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Final

from keyturn.domain.bodies import key_from
from keyturn.domain.instants import from_micros
from keyturn.domain.key import Key
from keyturn.domain.principal import Principal
from keyturn.domain.rotation.policy import RotationPolicy
from keyturn.domain.rotation.rotation import Rotation, Stage
from keyturn.domain.spec import check_instant
from keyturn.ports.clock import Clock
from keyturn.ports.ledger import Ledger, RowFilter
from keyturn.records.records import Records
from keyturn.rotation.history import History
from keyturn.rotation.policies import Policies
from keyturn.rotation.selecting import is_selected

DEFAULT_SINCE: Final = timedelta(days=30)
MAX_STRAGGLERS: Final = 1_000
_PAGE: Final = 500


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


class Statistics:
    """Adds up, a page at a time."""

    def __init__(
        self, *, ledger: Ledger, records: Records, policies: Policies, history: History, clock: Clock
    ) -> None:
        self._ledger = ledger
        self._records = records
        self._policies = policies
        self._history = history
        self._clock = clock

    def of(self, by: Principal, since: datetime | None = None) -> RotationStatistics:
        """Those of the caller's tenant; rotations since a time, 30 days ago when absent."""
        until = self._clock.now()
        if since is not None:
            check_instant("since", since)
        since = until - DEFAULT_SINCE if since is None else since
        by_stage: Counter[str] = Counter()
        by_outcome: Counter[str] = Counter()
        by_pause: Counter[str] = Counter()
        overlapping: list[Rotation] = []
        newest = self._history.newest_first(by.tenant)
        for rotation in takewhile(lambda each: each.started_at >= since, newest):
            by_stage[rotation.stage.value] += 1
            if rotation.outcome is not None:
                by_outcome[rotation.outcome.name] += 1
            if rotation.paused is not None:
                by_pause[rotation.paused.why.name] += 1
            if rotation.stage in (Stage.OVERLAP, Stage.SHIFTING) and len(overlapping) < MAX_STRAGGLERS:
                overlapping.append(rotation)
        succeeded, failed = by_stage[Stage.COMPLETED.value], by_stage[Stage.ROLLED_BACK.value]
        judged = succeeded + failed
        keys, mean_age, past = self._ages(by, until)
        return RotationStatistics(
            since=since,
            until=until,
            by_stage={stage: count for stage, count in by_stage.items() if count},
            by_outcome=dict(by_outcome),
            by_pause=dict(by_pause),
            success_rate=succeeded / judged if judged else None,
            failure_rate=failed / judged if judged else None,
            keys=keys,
            mean_age=mean_age,
            past_max_age=past,
            stragglers=tuple(self._stragglers(overlapping)),
        )

    def _ages(self, by: Principal, now: datetime) -> tuple[int, float | None, int]:
        aging = [policy for policy in self._aging_policies(by.tenant) if policy.max_age is not None]
        count, total, past = 0, timedelta(0), 0
        for key in self._keys_in_service(by.tenant):
            age = now - (key.rotated_at or key.created_at)
            count, total = count + 1, total + age
            past += any(
                policy.max_age is not None
                and age > timedelta(seconds=policy.max_age)
                and is_selected(policy, key)
                for policy in aging
            )
        return count, total.total_seconds() / count if count else None, past

    def _aging_policies(self, tenant: str) -> Iterator[RotationPolicy]:
        return (kept.policy for kept in self._policies.of_all_tenants() if kept.tenant == tenant)

    def _keys_in_service(self, tenant: str) -> Iterator[Key]:
        before = None
        while rows := self._ledger.list_keys(RowFilter(tenant=tenant, before=before, state="active"), _PAGE):
            before = rows[-1].created
            yield from (key_from(opened.body) for opened in self._records.open_all(rows))

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
