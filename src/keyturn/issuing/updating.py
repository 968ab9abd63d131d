"""Changing a key's policy. What is not mentioned stays as it is; None clears what may be absent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from enum import Enum
from typing import Any, Final

from keyturn.domain.bodies import key_put
from keyturn.domain.change import ChangeSet, Event, EventType
from keyturn.domain.instants import rfc3339
from keyturn.domain.key import Key
from keyturn.domain.lifecycle import KeyState
from keyturn.domain.principal import Principal
from keyturn.domain.publishing import check_may_be_published
from keyturn.domain.requirement import Requirement
from keyturn.domain.scope import KeyScope
from keyturn.domain.spec import check_may_have_profile, check_window, checked_policy, expiry
from keyturn.errors import IllegalTransitionError, InvalidInputError
from keyturn.issuing.changes import require_changes
from keyturn.issuing.conditions import Condition, always
from keyturn.issuing.keys import Keys
from keyturn.issuing.publishing import PublishedRoom
from keyturn.issuing.retrying import Retrying
from keyturn.ports.clock import Clock
from keyturn.records.records import Records

UPDATABLE: Final = frozenset(
    (
        "name",
        "scope",
        "permissions",
        "allowed_ips",
        "metadata",
        "tags",
        "not_before",
        "expires_at",
        "expires_in",
        "profile",
        "rotation_policy_id",
        "published_for",
    )
)
_CLEARED: Final[Mapping[str, Any]] = {"permissions": (), "allowed_ips": (), "metadata": {}, "tags": ()}


class Updater:
    """Changes policies of keys."""

    def __init__(self, *, records: Records, keys: Keys, clock: Clock) -> None:
        self._records = records
        self._keys = keys
        self._clock = clock
        self._retrying = Retrying(turns=keys.turns, clock=clock)

    def update(
        self, key_id: str, by: Principal, changes: Mapping[str, Any], *, only_if: Condition = always
    ) -> Key:
        """The key with these fields changed; names are those of UPDATABLE.

        Two updates at once are both applied, one on top of the other, unless `only_if` refuses the second.
        ForbiddenError when the key holds more than the caller may hand on, before or after: who could not issue it may
        give it a name or tags, and loosen nothing; nor may a key loosen itself. IllegalTransitionError for a key that
        has ended.
        """
        require_changes(changes, UPDATABLE)

        def attempt() -> Key:
            key = self._keys.get(by.tenant, key_id)
            changed = self._changed(key, changes, by)
            only_if(key)
            event = self._event(changed, by, changes)
            self._records.commit(ChangeSet(puts=(key_put(changed),), events=(event,)))
            return changed

        return self._retrying.change(key_id, attempt)

    def _changed(self, key: Key, changes: Mapping[str, Any], by: Principal) -> Key:
        if key.state not in (KeyState.PRE_ACTIVE, KeyState.ACTIVE, KeyState.SUSPENDED):
            raise IllegalTransitionError(f"a key that is {key.state.value} cannot be changed")
        if not changes.keys() <= _HARMLESS:
            by.require_other_than(key.key_id)
            by.require_grantable(key.permissions, key.scope)
        now = self._clock.now()
        if key.is_expired(now):
            # Whether housekeeping has been there yet must make no difference, and it would end the key for good.
            raise IllegalTransitionError("a key that has expired cannot be changed")
        values: dict[str, Any] = {
            name: _CLEARED.get(name) if value is None else value for name, value in changes.items()
        }
        if "expires_in" in values or "expires_at" in values:
            values["expires_at"] = expiry(now, values.pop("expires_in", None), values.get("expires_at"))
        if "scope" in values and not isinstance(values["scope"], KeyScope):
            raise InvalidInputError("a key has a scope", field="scope", fix="Name one, or leave it out.")
        values |= {
            name: value
            for name, value in checked_policy(**{n: v for n, v in values.items() if n in _POLICY}).items()
            if name in values
        }
        if values.get("rotation_policy_id") is not None:
            self._keys.policy(key.tenant, values["rotation_policy_id"])
        if values.get("published_for") is not None:
            self._require_publishable(key, values["published_for"])
        changed = replace(key, **values, revision=key.revision + 1, updated_at=now)
        check_window(changed.not_before, changed.expires_at)
        check_may_have_profile(changed.type, changed.profile)
        # A gateway that asks for less lets others in, so that is not for whoever could not have issued its key.
        if values.keys() & {"permissions", "scope", "profile"}:
            by.require_grantable(changed.permissions, changed.scope)
        return changed

    def _require_publishable(self, key: Key, published_for: int) -> None:
        check_may_be_published(key.type, key.algorithm, published_for)
        if key.published_for is not None and published_for < key.published_for:
            raise InvalidInputError(
                f"published_for is {key.published_for} already, and what was signed may last so long",
                field="published_for",
                fix="Clear it first: the key then leaves the JWKS at once, and what it signed verifies no more.",
            )
        room = PublishedRoom(self._records, self._clock.now())
        room.require_for(replace(key, published_for=published_for))

    def _event(self, key: Key, by: Principal, changes: Mapping[str, Any]) -> Event:
        return Event(
            type=EventType.KEY_UPDATED,
            time=self._clock.now(),
            tenant=key.tenant,
            actor=by.actor,
            subjects=(key.key_id,),
            rows=(key.row_id,),
            details={
                "changed": {name: _shown(getattr(key, _FIELD.get(name, name))) for name in sorted(changes)}
            },
        )


_HARMLESS: Final = frozenset(("name", "tags"))
_POLICY: Final = frozenset(
    (
        "name",
        "permissions",
        "allowed_ips",
        "metadata",
        "tags",
        "profile",
        "rotation_policy_id",
        "published_for",
    )
)
_FIELD: Final = {"expires_in": "expires_at"}


def _shown(value: object) -> object:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Requirement):
        return value.members
    return list(value) if isinstance(value, tuple) else value
