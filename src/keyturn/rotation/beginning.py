"""New rotations: of the keys that are due under a policy, policy by policy in turn, a page of keys each."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from keyturn.domain.bodies import key_from
from keyturn.domain.change import EventType, Require
from keyturn.domain.ids import POLICY
from keyturn.domain.instants import to_micros
from keyturn.domain.key import Key
from keyturn.domain.lifecycle import KeyState
from keyturn.domain.principal import SYSTEM_ACTOR, Principal
from keyturn.domain.rotation.kept_policy import KeptPolicy
from keyturn.domain.rotation.policy import RotationPolicy
from keyturn.domain.rotation.policy_bodies import policy_from
from keyturn.domain.rotation.schedule import (
    cohort_delay,
    cohort_stage,
    counted_from,
    is_open,
    latest_counted_from,
    unstaggered_due,
)
from keyturn.domain.rotation.stages import Cause
from keyturn.errors import ConflictError, IllegalTransitionError, KeysUnavailableError, NotFoundError
from keyturn.issuing.keys import Keys
from keyturn.ports.clock import Clock
from keyturn.ports.ledger import Ledger, Position, Row
from keyturn.records.intact import Intact, is_of_the_store
from keyturn.records.records import Records
from keyturn.rotation.events import RotationEvent
from keyturn.rotation.listing import listings_of
from keyturn.rotation.places import START, Place, place_after
from keyturn.rotation.policies import Policies
from keyturn.rotation.refusals import Refusals
from keyturn.rotation.selecting import is_selected
from keyturn.rotation.starting import Starter
from keyturn.rotation.taking_up import TakingUp
from keyturn.rotation.terms import Terms

_POLICIES: Final = 50  # read at a time


class _Due(NamedTuple):
    """A key that is due: since when, since when it would be in the first cohort, and the stage of its own."""

    key: Key
    at: datetime
    unstaggered: datetime
    stage: int


@dataclass(slots=True)
class _Round:
    """How far a policy's keys were gone through in this run.

    Attributes:
        created: the position at which the policy was created.
        stage: the cohorts whose keys begin now; a policy's keys are gone through once for each that has any due, for a
            later one looks at when the earlier ones began.
        later: the next of those that have.
    """

    kept: KeptPolicy
    created: Position
    listing: int = 0
    after: Place = START
    stage: int = 0
    later: int | None = None
    has_begun: bool = False
    is_over: bool = False

    def go_on(self, after: Place | None) -> None:
        """Go on after a place in the list, or else with the next list; after the last, with the next stage."""
        if after is not None:
            self.after = after
            return
        self.listing, self.after = self.listing + 1, START
        if self.listing == len(listings_of(self.kept.policy)):
            self.is_over = self.later is None
            self.listing, self.stage, self.later = 0, self.later or 0, None

    def put_off(self, stage: int) -> None:
        """There is a key due in another stage."""
        if stage > self.stage:
            self.later = stage if self.later is None else min(stage, self.later)


class Beginning:
    """Begins what is due. The policy of which it was last the turn is remembered, for runs that are cut short."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        records: Records,
        intact: Intact,
        keys: Keys,
        policies: Policies,
        starter: Starter,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._records = records
        self._intact = intact
        self._keys = keys
        self._policies = policies
        self._starter = starter
        self._clock = clock
        self._taking_up = TakingUp(ledger=ledger, intact=intact)
        self._refusals = Refusals(records=records, clock=clock)
        self._last: Position | None = None

    def pages(self, size: int) -> Iterator[Iterator[RotationEvent]]:
        """Pages of up to `size` keys, of one policy after the other. Rotations begin as their page is gone through."""
        waiting: deque[_Round] = deque()
        for each in self._rounds():
            yield self._on_its_own(each, size)
            if not each.is_over:
                waiting.append(each)
        while waiting:
            each = waiting.popleft()
            yield self._on_its_own(each, size)
            if not each.is_over:
                waiting.append(each)

    def _rounds(self) -> Iterator[_Round]:
        """One for each policy of every tenant, beginning after the one of which it was last the turn."""
        last, seen = self._last, set[str]()
        yield from self._listed(last, 0, seen)
        if last is not None:
            yield from self._listed(None, last, seen)
        # What lists them is an index, and that is not sealed.
        for opened in self._records.open_left_out(f"{POLICY}_", seen):
            for kept in self._intact.read([opened.row], policy_from):
                yield _Round(kept, opened.row.created)

    def _listed(self, before: Position | None, until: Position, seen: set[str]) -> Iterator[_Round]:
        while rows := self._ledger.list_policies(None, before, _POLICIES):
            before = rows[-1].created
            seen.update(row.id for row in rows)
            created = {row.id: row.created for row in rows if row.created >= until}
            for kept in self._intact.read([row for row in rows if row.id in created], policy_from):
                yield _Round(kept, created[kept.row_id])
            if len(created) < len(rows):
                return

    def _on_its_own(self, each: _Round, size: int) -> Iterator[RotationEvent]:
        """A page; whatever the policy provokes, such as a time zone that is unknown here, ends its own turn only."""
        self._last = each.created
        try:
            if each.has_begun and not self._is_current(each.kept):
                each.is_over = True
            each.has_begun = True
            yield from self._page(each, size)
        except Exception as error:
            if is_of_the_store(error):
                raise
            each.is_over = True
            self._intact.leave_out("policy", each.kept.row_id, error)

    def _is_current(self, kept: KeptPolicy) -> bool:
        """Whether the policy is as it was; one that was changed has its next turn in the next run."""
        found = self._keys.kept_policy(kept.tenant, kept.policy.policy_id)
        return found is not None and found.revision == kept.revision

    def _page(self, each: _Round, size: int) -> Iterator[RotationEvent]:
        kept, now = each.kept, self._clock.now()
        bound = latest_counted_from(kept.policy, now)
        if kept.is_deleted or kept.paused is not None or bound is None or not is_open(kept.policy, now):
            each.is_over = True
            return
        rows: list[Row] = []
        while not each.is_over and not rows:
            listing = listings_of(kept.policy)[each.listing]
            rows = self._ledger.list_due_keys(kept.tenant, to_micros(bound), each.after, size, **listing)
            if not rows:
                each.go_on(None)
        if not each.is_over:
            yield from self._begin_all(each, self._due_now(each, rows, now), now)
        if not each.is_over:
            is_last = len(rows) < size
            each.go_on(None if is_last else place_after(rows[-1], each.after, "due_from", "created_at"))

    def _due_now(self, each: _Round, rows: Sequence[Row], now: datetime) -> list[_Due]:
        """Those of the keys that are due in the present stage; that there are others in a later one is noted."""
        found = []
        for key in self._intact.read(rows, key_from):
            due = _due(each.kept.policy, key, now)
            if due is not None and due.stage == each.stage:
                found.append(due)
            elif due is not None:
                each.put_off(due.stage)
        random.shuffle(found)  # of several schedulers each begins elsewhere
        return found

    def _begin_all(self, each: _Round, keys: Sequence[_Due], now: datetime) -> Iterator[RotationEvent]:
        kept, gate = each.kept, None
        for due in keys:
            if kept.policy.shares and due.key.type.is_token:
                gate = gate or self._taking_up.gate(kept, now)
                if gate.why is not None:
                    by = Principal(actor=SYSTEM_ACTOR, tenant=kept.tenant)
                    self._policies.pause(kept.policy.policy_id, by, gate.why)
                    each.is_over = True
                    return
                if gate.is_too_early(due.stage, due.unstaggered):
                    continue
            try:
                event = self._begun(kept, due)
            except ConflictError:  # somebody else was first, with the key or with the policy
                if not self._is_current(kept):
                    each.is_over = True
                    return
                continue
            if event is not None:
                yield event

    def _begun(self, kept: KeptPolicy, due: _Due) -> RotationEvent | None:
        """The rotation that has begun, or that it could not; None where nothing is to be said of that."""
        key, policy = due.key, kept.policy
        try:
            started = self._starter.start(
                key.key_id,
                Principal(actor=SYSTEM_ACTOR, tenant=key.tenant),
                Terms.of(policy, Cause.SCHEDULED),
                keeps_secret=True,
                due_from=counted_from(policy, key, self._clock.now()),
                only_at=key.revision,
                requires=(Require(kept.row_id, kept.revision),),
            )
        except ConflictError:
            raise
        except Exception as error:
            if is_of_the_store(error):
                raise
            if self._has_moved(key, error):
                return None
            self._intact.leave_out("key", key.key_id, error)
            is_ours = isinstance(error, KeysUnavailableError)  # another process may be able to
            return None if is_ours else self._refusals.noted(kept, key, due.at, error)
        return RotationEvent.of(EventType.ROTATION_STARTED, started.rotation, self._clock.now())

    def _has_moved(self, key: Key, error: Exception) -> bool:
        """Whether a refusal says nothing of the policy: the key has changed since, or its owner was revoked."""
        if isinstance(error, NotFoundError):
            return True
        if not isinstance(error, IllegalTransitionError):
            return False
        found = self._keys.together(key.tenant, key.key_id)
        return found.key.revision != key.revision or found.is_owner_revoked


def _due(policy: RotationPolicy, key: Key, now: datetime) -> _Due | None:
    """The key if it is due."""
    is_in_service = key.state is KeyState.ACTIVE and not key.is_expired(now)
    if key.rotation is not None or not is_in_service or not is_selected(policy, key):
        return None
    unstaggered = unstaggered_due(policy, key)
    if unstaggered is None or (at := unstaggered + cohort_delay(policy, key)) > now:
        return None
    return _Due(key, at, unstaggered, cohort_stage(policy, key))
