"""What the verifier keeps of a credential: everything a decision needs, worked out once, when it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from sys import intern
from types import MappingProxyType
from typing import Final, final

from keyturn.domain.instants import from_micros, to_micros
from keyturn.domain.key import Key, Owner, Version
from keyturn.domain.lifecycle import KeyState, stricter
from keyturn.domain.network import NetworkSet
from keyturn.domain.permissions import Grants
from keyturn.domain.scope import Action, KeyScope
from keyturn.domain.verdict import Code

FOREVER: Final = 1 << 63  # nanoseconds since the epoch: later than any time that a row can hold
_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})
_NANOS: Final = 1_000  # in a microsecond
_SHARED_GRANTS: Final = 10_000  # different sets of grants kept once for all keys that have them

_ACTION_BITS: Final = {action: 1 << index for index, action in enumerate(Action)}

# A token protects something new each time it is presented, so a deactivated one is refused.
_REFUSALS: Final = {
    KeyState.PRE_ACTIVE: Code.NOT_YET_VALID,
    KeyState.ACTIVE: None,
    KeyState.SUSPENDED: Code.SUSPENDED,
    KeyState.DEACTIVATED: Code.REVOKED,
    KeyState.COMPROMISED: Code.REVOKED,
    KeyState.DESTROYED: Code.REVOKED,
}


def scope_bits(scope: KeyScope) -> int:
    """The scope's actions as a set of bits."""
    return sum(_ACTION_BITS[action] for action in scope.actions)


@final
class Standing:
    """Whether what is kept of an owner is still what the log says: shared by all of the owner's keys."""

    __slots__ = ("__weakref__", "is_current")

    def __init__(self) -> None:
        self.is_current = True


NO_OWNER: Final = Standing()


@final
class Entry:
    """One credential, ready to be decided on. `refusal` is what its state says, None for an active one.

    `is_key_current` falls when the log says something new of the key. `begins` and `ends` bound its validity, in
    nanoseconds since the epoch. `uses`, `used_at` and `used_from` are what has been counted since the last flush.
    `rendered` and `passing` are for whoever answers: what is the same in each answer about this entry.
    Of the key it keeps what an answer says and no more: there may be half a million of these.
    """

    __slots__ = (
        "begins",
        "credential_id",
        "digest",
        "ends",
        "grants",
        "is_key_current",
        "key_id",
        "metadata",
        "networks",
        "owner",
        "owner_standing",
        "passing",
        "profile",
        "refusal",
        "rendered",
        "scope",
        "scope_bits",
        "tenant",
        "type",
        "used_at",
        "used_from",
        "uses",
        "version",
    )

    def __init__(self, version: Version, key: Key, owner: Owner | None, owner_standing: Standing) -> None:
        self.credential_id = version.credential_id
        self.digest = version.digest
        self.key_id = key.key_id
        self.version = version.number
        self.tenant = intern(key.tenant)
        self.type = key.type
        self.owner = key.owner
        self.scope = key.scope
        self.scope_bits = scope_bits(key.scope)
        # Shared among keys that have the same: a decision then touches memory that is in the processor's cache.
        self.grants = _grants(key.permissions)
        self.metadata: Mapping[str, object] = key.metadata or _NOTHING
        self.profile = key.profile
        self.refusal = _refusal(version, key, owner)
        self.begins = 0 if key.not_before is None else to_micros(key.not_before) * _NANOS
        ends = [to_micros(end) * _NANOS for end in (key.expires_at, version.expires_at) if end is not None]
        self.ends = min(ends, default=FOREVER)
        self.networks = NetworkSet(key.allowed_ips) if key.allowed_ips else None
        self.is_key_current = True
        self.owner_standing = owner_standing
        self.uses = 0
        self.used_at = 0
        self.used_from: str | None = None
        self.rendered: bytes | None = None
        self.passing: bytes | None = None

    @property
    def permissions(self) -> tuple[str, ...]:
        """What the key grants."""
        return self.grants.texts

    @property
    def expires_at(self) -> datetime | None:
        """When it stops verifying; None for never."""
        return None if self.ends == FOREVER else from_micros(self.ends // _NANOS)

    @property
    def is_current(self) -> bool:
        """Whether the log has said nothing new of it since it was loaded."""
        return self.is_key_current and self.owner_standing.is_current


@lru_cache(maxsize=_SHARED_GRANTS)
def _grants(permissions: tuple[str, ...]) -> Grants:
    return Grants(permissions)


def _refusal(version: Version, key: Key, owner: Owner | None) -> Code | None:
    refusal = _REFUSALS[stricter(key.state, version.state)]
    if refusal is not Code.REVOKED and _is_owner_revoked(key, owner):
        return Code.REVOKED
    if key.has_run_out and version.state is not KeyState.DESTROYED:
        return Code.EXPIRED
    return refusal


def _is_owner_revoked(key: Key, owner: Owner | None) -> bool:
    return key.owner is not None and owner is not None and owner.epoch != key.owner_epoch
