"""What happens to a key after its issue: suspend, resume, revoke, destroy; and to all keys of an owner at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final

from keyturn.domain import fields
from keyturn.domain.bodies import key_from, key_put, owner_put, version_put
from keyturn.domain.change import ChangeSet, Event, EventType, Put, Require
from keyturn.domain.instants import to_micros
from keyturn.domain.key import Key, Owner
from keyturn.domain.lifecycle import Act, KeyState, RevocationReason, act_for, next_state
from keyturn.domain.principal import SYSTEM_ACTOR, Principal
from keyturn.domain.rotation.bodies import rotation_from
from keyturn.errors import ConflictError
from keyturn.issuing.conditions import Condition, always
from keyturn.issuing.keys import Keys
from keyturn.issuing.retrying import Retrying
from keyturn.ports.clock import Clock
from keyturn.ports.ledger import Ledger
from keyturn.records.intact import Intact
from keyturn.records.records import Records

_FOLLOWING: Final = 200  # key rows changed in one commit, after their owner was revoked
_VERSIONS_AT_ONCE: Final = 500  # one log entry names them all, and has at most 65,535 bytes
_ENDED: Final = (KeyState.DEACTIVATED, KeyState.COMPROMISED, KeyState.DESTROYED)


class Lifecycle:
    """Changes the state of keys. A refusal holds in this process when the call returns."""

    def __init__(self, *, ledger: Ledger, records: Records, keys: Keys, clock: Clock) -> None:
        self._ledger = ledger
        self._records = records
        self._intact = Intact(records)
        self._keys = keys
        self._clock = clock
        self._retrying = Retrying(turns=keys.turns, clock=clock)

    def suspend(
        self,
        key_id: str,
        by: Principal,
        *,
        reason: RevocationReason | None = None,
        note: str | None = None,
        only_if: Condition = always,
    ) -> Key:
        """Refuse the key until it is resumed; IllegalTransitionError unless it is active. The log keeps the reason."""
        details = _explained(reason, note)
        return self._act(key_id, Act.SUSPEND, EventType.KEY_SUSPENDED, by, details=details, only_if=only_if)

    def resume(
        self,
        key_id: str,
        by: Principal,
        *,
        reason: RevocationReason | None = None,
        note: str | None = None,
        only_if: Condition = always,
    ) -> Key:
        """Accept a suspended key again; IllegalTransitionError for any other. The log keeps the reason.

        ForbiddenError for a key that holds more than the caller: who could not issue it may not bring it back.
        """

        def is_theirs_to_give(key: Key) -> None:
            by.require_grantable(key.permissions, key.scope)
            only_if(key)

        details = _explained(reason, note)
        return self._act(
            key_id, Act.RESUME, EventType.KEY_RESUMED, by, details=details, only_if=is_theirs_to_give
        )

    def revoke(
        self,
        key_id: str,
        by: Principal,
        *,
        reason: RevocationReason = RevocationReason.UNSPECIFIED,
        note: str | None = None,
        only_if: Condition = always,
    ) -> Key:
        """Refuse the key for good. Revoking a revoked key again changes nothing, unless it is now a compromise."""
        act = act_for(reason)

        def has_happened(key: Key) -> bool:
            return key.state in _ENDED and not (key.state is KeyState.DEACTIVATED and act is Act.COMPROMISE)

        return self._act(
            key_id,
            act,
            EventType.KEY_REVOKED,
            by,
            reason=reason,
            details=_explained(reason, note),
            unless=has_happened,
            only_if=only_if,
        )

    def destroy(
        self, key_id: str, by: Principal, *, note: str | None = None, only_if: Condition = always
    ) -> Key:
        """Destroy the material of every version; the metadata and the history stay.

        Of a key with many versions the older ones go first. Should that fail on the way, the key is as it was, and can
        be destroyed again.
        """
        left = self._destroy_older(key_id, by, only_if)

        def versions(key: Key) -> Iterator[Put]:
            yield from self._destroyed(key, sorted(left | self._last_numbers(key)), key.state_changed_at)

        return self._act(
            key_id,
            Act.DESTROY,
            EventType.KEY_DESTROYED,
            by,
            details=_explained(None, note),
            also=versions,
            only_if=only_if,
        )

    def _last_numbers(self, key: Key) -> set[int]:
        """The versions that are destroyed together with the key: the newest, and those that serve, however old."""
        serving = {key.version}
        # A rotation whose row is missing or does not hold must not keep a key's secrets from being destroyed.
        for rotation in self._intact.named([key.rotation] if key.rotation else [], rotation_from):
            serving |= {rotation.old, rotation.new}
        return serving.union(
            range(max(1, key.newest_version - _VERSIONS_AT_ONCE + 1), key.newest_version + 1)
        )

    def _destroy_older(self, key_id: str, by: Principal, only_if: Condition) -> set[int]:
        """Destroy the versions that are too many to be destroyed together with the key; those that are left."""
        key = self._keys.get(by.tenant, key_id)
        left = self._last_numbers(key)
        older = [number for number in range(1, key.newest_version + 1) if number not in left]
        for first in range(0, len(older), _VERSIONS_AT_ONCE):
            numbers = older[first : first + _VERSIONS_AT_ONCE]
            left |= self._retrying.end(key_id, partial(self._destroy_some, key_id, by, numbers, only_if))
        return left

    def _destroy_some(
        self, key_id: str, by: Principal, numbers: Sequence[int], only_if: Condition
    ) -> set[int]:
        """Destroy these but for those that serve by now, which are returned."""
        key, now = self._keys.get(by.tenant, key_id), self._clock.now()
        only_if(key)
        next_state(key.state, Act.DESTROY)
        serving = self._last_numbers(key).intersection(numbers)
        if puts := tuple(self._destroyed(key, [each for each in numbers if each not in serving], now)):
            details = {"versions": f"{numbers[0]} to {numbers[-1]}"}
            event = self._event(
                EventType.KEY_DESTROYED, key, tuple(put.id for put in puts), by.actor, details
            )
            # The key's own row stays: what is destroyed here does not serve.
            only_versions = replace(event, rows=event.rows[1:])
            requires = (Require(key.row_id, key.revision),)
            self._records.commit(ChangeSet(requires=requires, puts=puts, events=(only_versions,)))
        return serving

    def _destroyed(self, key: Key, numbers: Sequence[int], now: datetime) -> Iterator[Put]:
        for version in self._keys.versions(key, numbers):
            if version.state is not KeyState.DESTROYED:
                yield version_put(version.after(Act.DESTROY, now))

    def revoke_owner(
        self,
        owner: str,
        by: Principal,
        *,
        reason: RevocationReason = RevocationReason.UNSPECIFIED,
        note: str | None = None,
    ) -> int:
        """Revoke every key of an owner at once, by one row and one entry; how many key rows then followed.

        When this returns, or fails after the first commit, no key issued to the owner before verifies any more.
        """
        fields.check_owner(owner)
        details = {"owner": owner, **_explained(reason, note)}
        revoked, before = self._retrying.end(
            self._keys.owner_row_id(by.tenant, owner), lambda: self._raise_epoch(owner, by, reason, details)
        )
        return self._follow(revoked, before, by)

    def _raise_epoch(
        self, owner: str, by: Principal, reason: RevocationReason, details: dict[str, str]
    ) -> tuple[Owner, Owner | None]:
        """The owner's row as it is now, and as it was before; None where the owner was never revoked."""
        found = self._keys.owner(by.tenant, owner)
        now = self._clock.now()
        revoked = Owner(
            row_id=self._keys.owner_row_id(by.tenant, owner),
            tenant=by.tenant,
            id=owner,
            revision=1 if found is None else found.revision + 1,
            epoch=1 if found is None else found.epoch + 1,
            revoked_at=now,
            reason=reason,
        )
        event = Event(
            type=EventType.OWNER_REVOKED,
            time=now,
            tenant=by.tenant,
            actor=by.actor,
            subjects=(revoked.row_id,),
            rows=(revoked.row_id,),
            details=details,
        )
        self._records.commit(ChangeSet(puts=(owner_put(revoked),), events=(event,)))
        return revoked, found

    def _follow(self, revoked: Owner, before: Owner | None, by: Principal) -> int:
        """Bring the key rows after their owner's; they are refused already."""
        followed, after = 0, ""
        while rows := self._ledger.list_owned(by.tenant, revoked.id, after, _FOLLOWING):
            after = rows[-1].id
            keys = [key_from(opened.body) for opened in self._records.open_all(rows)]
            # The index column found these rows; the sealed bodies have the last word on whose they are.
            theirs = [key for key in keys if (key.tenant, key.owner) == (revoked.tenant, revoked.id)]
            due = [key for key in theirs if key.state not in _ENDED and key.owner_epoch < revoked.epoch]
            # What a revocation that was cut off has left behind ends for its reason: a compromise stays one.
            late = [key for key in due if before is not None and key.owner_epoch < before.epoch]
            if before is not None:
                followed += self._end_all(late, before.reason, by)
            followed += self._end_all([key for key in due if key not in late], revoked.reason, by)
        return followed

    def _end_all(self, keys: list[Key], reason: RevocationReason, by: Principal) -> int:
        """Revoke these in one commit; one by one where somebody else changes one of them meanwhile."""
        now = self._clock.now()
        ended = [key.after(act_for(reason), now, reason) for key in keys]
        if not self._commit_all(ended, EventType.KEY_REVOKED, by.actor):
            for key in keys:
                self.revoke(key.key_id, by, reason=reason)
        return len(ended)

    def _commit_all(self, ended: list[Key], event_type: EventType, actor: str) -> bool:
        """Put these keys, each with an event of its own, in one commit; False where one of them moved meanwhile."""
        if not ended:
            return True
        puts = tuple(key_put(key) for key in ended)
        events = tuple(self._event(event_type, key, (), actor, {}) for key in ended)
        try:
            self._records.commit(ChangeSet(puts=puts, events=events))
        except ConflictError:
            return False
        return True

    def expire_all(self) -> int:
        """Record each key that has expired since the last time, once; how many were recorded.

        Expired keys are refused from their expiry on, recorded or not.
        """
        recorded, after, now = 0, "", to_micros(self._clock.now())
        while rows := self._ledger.list_expired(now, after, _FOLLOWING):
            after = rows[-1].id
            recorded += self._expire(self._intact.read(rows, key_from))
        return recorded

    def _expire(self, keys: list[Key]) -> int:
        """Record these as expired in one commit; one by one where somebody else changes one of them meanwhile."""
        now = self._clock.now()
        ended = [
            key.after(Act.DEACTIVATE, now)
            for key in keys
            if key.is_expired(now) and key.state is KeyState.ACTIVE
        ]
        if self._commit_all(ended, EventType.KEY_EXPIRED, SYSTEM_ACTOR):
            return len(ended)
        # Whoever was first has recorded or changed it; a change is looked at the next time.
        return sum(self._commit_all([key], EventType.KEY_EXPIRED, SYSTEM_ACTOR) for key in ended)

    def _act(
        self,
        key_id: str,
        act: Act,
        event_type: EventType,
        by: Principal,
        *,
        details: dict[str, str],
        reason: RevocationReason | None = None,
        also: Callable[[Key], Iterator[Put]] = lambda _: iter(()),
        unless: Callable[[Key], bool] = lambda _: False,
        only_if: Condition = always,
    ) -> Key:
        def attempt() -> Key:
            key = self._keys.get(by.tenant, key_id)
            only_if(key)
            if unless(key):
                return key
            changed = key.after(act, self._clock.now(), reason)
            puts = (key_put(changed), *also(changed))
            event = self._event(event_type, changed, tuple(put.id for put in puts[1:]), by.actor, details)
            self._records.commit(ChangeSet(puts=puts, events=(event,)))
            return changed

        again = self._retrying.change if act is Act.RESUME else self._retrying.end
        return again(key_id, attempt)

    def _event(
        self, event_type: EventType, key: Key, rows: tuple[str, ...], actor: str, details: dict[str, str]
    ) -> Event:
        return Event(
            type=event_type,
            time=self._clock.now(),
            tenant=key.tenant,
            actor=actor,
            subjects=(key.key_id,),
            rows=(key.row_id, *rows),
            details=details,
        )


def _explained(reason: RevocationReason | None, note: str | None) -> dict[str, str]:
    noted = {} if note is None else {"note": fields.check_note(note)}
    return noted if reason is None else {**noted, "reason": reason.value}
