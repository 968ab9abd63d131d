"""Rotation policies: writing them down, changing them, and giving keys one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Final, TypeVar

from keyturn.domain.bodies import key_from
from keyturn.domain.change import ChangeSet, Event, EventType, Put
from keyturn.domain.fields import check_policy_id
from keyturn.domain.key import Key
from keyturn.domain.principal import Principal
from keyturn.domain.rotation.kept_policy import KeptPolicy
from keyturn.domain.rotation.policy import UNSAID, RotationPolicy
from keyturn.domain.rotation.policy_bodies import policy_from, policy_put
from keyturn.domain.rotation.reasons import POLICY_PAUSED_BY_SOMEBODY, PolicyPauseCode, Reason
from keyturn.errors import ConflictError, InvalidInputError, shown
from keyturn.issuing.changes import require_changes
from keyturn.issuing.conditions import always
from keyturn.issuing.cursors import DEFAULT_LIMIT, Cursors, check_limit
from keyturn.issuing.keys import Keys
from keyturn.issuing.retrying import Retrying
from keyturn.issuing.updating import Updater
from keyturn.ports.clock import Clock
from keyturn.ports.ledger import Ledger, RowFilter
from keyturn.records.intact import Intact
from keyturn.records.records import Records
from keyturn.rotation.policy_details import change_of, creation_of, details_of
from keyturn.rotation.policy_writers import require_may_write
from keyturn.rotation.selecting import is_selected

CHANGEABLE: Final = frozenset(each.name for each in fields(RotationPolicy)) - {"policy_id"}
# What suits one strategy or frequency is filled in anew for another.
_BY_STRATEGY: Final = (
    "overlap",
    "max_overlap",
    "retire_unused_after",
    "shares",
    "dwell",
    "pause_above",
    "lead",
    "requires_check",
    "rollback_window",
)
_FILLED_IN: Final = ("overlap", "max_overlap", "shares", "dwell", "pause_above", "rollback_window", "notices")
_PAGE: Final = 200
Condition = Callable[[KeptPolicy], None]
"""Given the policy as it is now, raises PreconditionFailedError where the change is not to be made to that."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyPage:
    """Some policies, newest first, and the cursor for those after them; None when there are no more."""

    items: tuple[KeptPolicy, ...]
    next_cursor: str | None


class Policies:
    """Keeps policies."""

    def __init__(
        self, *, ledger: Ledger, records: Records, keys: Keys, updater: Updater, clock: Clock
    ) -> None:
        self._ledger = ledger
        self._records = records
        self._intact = Intact(records)
        self._keys = keys
        self._updater = updater
        self._clock = clock
        self._retrying = Retrying(turns=keys.turns, clock=clock)

    def create(
        self,
        policy: RotationPolicy,
        by: Principal,
        *,
        may_select_none: bool = False,
        beside: Callable[[KeptPolicy], tuple[Put, ...]] = lambda _: (),
    ) -> KeptPolicy:
        """Keep a policy, with the rows that `beside` gives in the same commit.

        ConflictError where there is one of that name already; InvalidInputError for a selection that no key of the
        tenant meets, unless `may_select_none`. ForbiddenError for who could not issue every key.
        """
        require_may_write(by)
        if not isinstance(policy, RotationPolicy):
            raise InvalidInputError("a policy is a RotationPolicy", field="policy")
        if not may_select_none:
            self._require_keys(policy, by)
        now = self._clock.now()
        before = self._keys.kept_policy(by.tenant, policy.policy_id)
        if before is not None and not before.is_deleted:
            raise ConflictError(
                f"there is a policy {shown(policy.policy_id)} already",
                fix="Choose another policy_id, or update that one.",
            )
        kept = (
            KeptPolicy(
                row_id=self._keys.policy_row_id(by.tenant, policy.policy_id),
                tenant=by.tenant,
                policy=policy,
                created_at=now,
                updated_at=now,
            )
            if before is None
            else before.changed(now, policy=policy, created_at=now, is_deleted=False, paused=None)
        )
        return self._committed(
            EventType.POLICY_CREATED, kept, by, now, details=creation_of(kept), beside=beside(kept)
        )

    def get(self, policy_id: str, by: Principal) -> KeptPolicy:
        """A policy; NotFoundError for one that there is not, or not any more."""
        return self._keys.policy(by.tenant, policy_id)

    def update(
        self,
        policy_id: str,
        by: Principal,
        changes: Mapping[str, Any],
        *,
        may_select_none: bool = False,
        only_if: Condition = always,
    ) -> KeptPolicy:
        """The policy with these fields changed. Rotations that have begun go on as they were planned.

        With another strategy or frequency, what is not named beside it is filled in anew. ForbiddenError as for
        `create`.
        """
        require_may_write(by)
        require_changes(changes, CHANGEABLE)

        def attempt() -> KeptPolicy:
            kept, now = self.get(policy_id, by), self._clock.now()
            policy = replace(kept.policy, **_filled_in_anew(kept.policy, changes), **changes)
            if "keys" in changes and not may_select_none:
                self._require_keys(policy, by)
            changed = kept.changed(now, policy=policy)
            only_if(kept)
            details = change_of(kept, changed, changes)
            return self._committed(EventType.POLICY_UPDATED, changed, by, now, details=details)

        return self._retrying.change(self._keys.policy_row_id(by.tenant, policy_id), attempt)

    def delete(self, policy_id: str, by: Principal, *, only_if: Condition = always) -> None:
        """Let a policy be none. Keys that name it are not rotated by it; what has begun goes on."""
        check_policy_id(policy_id)

        def attempt() -> None:
            kept, now = self.get(policy_id, by), self._clock.now()
            only_if(kept)
            self._committed(EventType.POLICY_DELETED, kept.changed(now, is_deleted=True), by, now)

        self._retrying.change(self._keys.policy_row_id(by.tenant, policy_id), attempt)

    def pause(
        self,
        policy_id: str,
        by: Principal,
        why: Reason[PolicyPauseCode] = POLICY_PAUSED_BY_SOMEBODY,
        *,
        only_if: Condition = always,
    ) -> KeptPolicy:
        """Let no rotation begin by a policy until it is resumed; one that is paused stays as it is."""

        def attempt() -> KeptPolicy:
            kept, now = self.get(policy_id, by), self._clock.now()
            only_if(kept)
            if kept.paused is not None:
                return kept
            return self._committed(EventType.POLICY_PAUSED, kept.changed(now, paused=why), by, now)

        return self._retrying.change(self._keys.policy_row_id(by.tenant, policy_id), attempt)

    def resume(self, policy_id: str, by: Principal, *, only_if: Condition = always) -> KeptPolicy:
        """Let rotations begin by a policy again. ForbiddenError as for `create`: to stop it takes less."""
        require_may_write(by)

        def attempt() -> KeptPolicy:
            kept, now = self.get(policy_id, by), self._clock.now()
            only_if(kept)
            if kept.paused is None:
                return kept
            return self._committed(EventType.POLICY_RESUMED, kept.changed(now, paused=None), by, now)

        return self._retrying.change(self._keys.policy_row_id(by.tenant, policy_id), attempt)

    def assign(self, key_id: str, policy_id: str | None, by: Principal) -> Key:
        """Let a key follow a policy, or none, whatever others select; errors as for updating it."""
        return self._updater.update(key_id, by, {"rotation_policy_id": policy_id}, only_if=always)

    def list(self, by: Principal, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> PolicyPage:
        """Policies of the caller's tenant, newest first; `limit` is 1 to 1,000.

        One whose row does not hold is left out, and the program's log says so.
        """
        check_limit(limit)
        cursors = Cursors(self._records, by.tenant, "rotation policies")
        found = self._ledger.list_policies(by.tenant, cursors.read(cursor), limit + 1)
        items = tuple(
            kept
            for kept in self._intact.read(found[:limit], policy_from)
            if kept.tenant == by.tenant and not kept.is_deleted
        )
        return PolicyPage(items=items, next_cursor=cursors.after(found, limit))

    def _require_keys(self, policy: RotationPolicy, by: Principal) -> None:
        if policy.keys is None:
            return
        if not any(is_selected(policy, key) for key in self._keys_of(policy, by.tenant)):
            raise InvalidInputError(
                "the policy selects no key that there is",
                field="keys",
                fix="Look at the selection; or allow it to select none yet.",
            )

    def _keys_of(self, policy: RotationPolicy, tenant: str) -> Iterator[Key]:
        """Keys among which those of the selection are, newest first."""
        selection = policy.keys
        assert selection is not None
        if selection.key_ids:
            found = self._records.get_many(selection.key_ids)
            yield from (
                key_from(opened.body)
                for opened in found
                if opened is not None and opened.body["tenant"] == tenant
            )
            return
        before = None
        owner, tag, key_type = _only(selection.owners), _only(selection.tags), _only(selection.types)
        narrow = RowFilter(
            tenant=tenant, owner=owner, tag=tag, type=None if key_type is None else key_type.value
        )
        while rows := self._ledger.list_keys(replace(narrow, before=before), _PAGE):
            before = rows[-1].created
            yield from (key_from(opened.body) for opened in self._records.open_all(rows))

    def _committed(
        self,
        kind: EventType,
        kept: KeptPolicy,
        by: Principal,
        now: datetime,
        *,
        details: dict[str, object] | None = None,
        beside: tuple[Put, ...] = (),
    ) -> KeptPolicy:
        event = Event(
            type=kind,
            time=now,
            tenant=kept.tenant,
            actor=by.actor,
            subjects=(kept.row_id,),
            rows=(kept.row_id,),
            details=details_of(kept) if details is None else details,
        )
        changed = ChangeSet(puts=(policy_put(kept),), events=(event,))
        self._records.commit(changed.with_rows(beside))
        return kept


def _only(values: Sequence[_T]) -> _T | None:
    return values[0] if len(values) == 1 else None


def _filled_in_anew(policy: RotationPolicy, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a change of strategy or frequency leaves to be filled in, or that it leaves without a meaning."""
    anew: dict[str, Any] = {}
    if changes.get("strategy", policy.strategy) is not policy.strategy:
        cleared = {"retire_unused_after": None, "lead": 0, "requires_check": False}
        anew |= {name: cleared.get(name, UNSAID) for name in _BY_STRATEGY}
    if {"frequency", "cron", "max_age"} & changes.keys():
        anew |= dict.fromkeys(_FILLED_IN, UNSAID)
        if "frequency" in changes and changes["frequency"] is not policy.frequency:
            anew["cron"] = None
    return {name: value for name, value in anew.items() if name not in changes}
