"""What a row says, as JSON: the one place where domain values become row bodies and come back.

A body that has an unknown member is refused, not read around: a program that ignored a restriction which a newer one
wrote would let someone in. Optional members are absent rather than null. `docs/formats/row.md` specifies it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, TypeVar

from keyturn.domain.bytestext import from_base64url, to_base64url
from keyturn.domain.change import Put
from keyturn.domain.instants import from_micros, to_micros
from keyturn.domain.key import Key, KeyLength, KeyType, Owner, Version
from keyturn.domain.lifecycle import KeyState, RevocationReason
from keyturn.domain.scope import KeyScope
from keyturn.errors import IntegrityError

BODY_VERSION: Final = 1
KEY: Final = "key"
VERSION: Final = "version"
OWNER: Final = "owner"
_NO_OWNER: Final[dict[str, Any]] = {"id": None, "row": None, "epoch": 0}

Body = dict[str, object]
_T = TypeVar("_T")


def _without_absent(body: Body) -> Body:
    return {name: value for name, value in body.items() if value is not None}


def _micros(instant: datetime | None) -> int | None:
    return None if instant is None else to_micros(instant)


def _owner_member(key: Key) -> Body | None:
    return None if key.owner is None else {"id": key.owner, "row": key.owner_row, "epoch": key.owner_epoch}


def key_put(key: Key) -> Put:
    """The row of a key."""
    body: Body = {
        "v": BODY_VERSION,
        "kind": KEY,
        "id": key.row_id,
        "tenant": key.tenant,
        "revision": key.revision,
        "type": key.type.value,
        "scope": key.scope.value,
        "length": int(key.length),
        "state": key.state.value,
        "state_changed_at": to_micros(key.state_changed_at),
        "reason": key.reason.value if key.reason else None,
        "name": key.name,
        "owner": _owner_member(key),
        "prefix": key.prefix,
        "permissions": list(key.permissions),
        "allowed_ips": list(key.allowed_ips),
        "metadata": dict(key.metadata),
        "tags": list(key.tags),
        "recoverable": key.recoverable,
        "version": key.version,
        "created_at": to_micros(key.created_at),
        "updated_at": to_micros(key.updated_at),
        "not_before": _micros(key.not_before),
        "expires_at": _micros(key.expires_at),
    }
    return Put(id=key.row_id, kind=KEY, tenant=key.tenant, revision=key.revision, body=_without_absent(body))


def version_put(version: Version) -> Put:
    """The row of a version, with its sealed material."""
    body: Body = {
        "v": BODY_VERSION,
        "kind": VERSION,
        "id": version.row_id,
        "key": version.key_id,
        "tenant": version.tenant,
        "number": version.number,
        "revision": version.revision,
        "type": version.type.value,
        "state": version.state.value,
        "state_changed_at": to_micros(version.state_changed_at),
        "credential_id": version.credential_id,
        "digest": to_base64url(version.digest) if version.digest is not None else None,
        "custody": version.custody,
        "created_at": to_micros(version.created_at),
        "expires_at": _micros(version.expires_at),
    }
    return Put(
        id=version.row_id,
        kind=VERSION,
        tenant=version.tenant,
        revision=version.revision,
        body=_without_absent(body),
        material=version.material,
    )


def owner_put(owner: Owner) -> Put:
    """The row of a revoked owner."""
    body: Body = {
        "v": BODY_VERSION,
        "kind": OWNER,
        "id": owner.row_id,
        "tenant": owner.tenant,
        "owner": owner.id,
        "revision": owner.revision,
        "epoch": owner.epoch,
        "revoked_at": to_micros(owner.revoked_at),
        "reason": owner.reason.value,
    }
    return Put(id=owner.row_id, kind=OWNER, tenant=owner.tenant, revision=owner.revision, body=body)


class _Members:
    """Takes members out of a body and, at the end, refuses what nobody took."""

    def __init__(self, body: Mapping[str, object], kind: str) -> None:
        self._left = dict(body)
        if self.take("v") != BODY_VERSION or self.take("kind") != kind:
            raise IntegrityError(f"not a {kind} row of format {BODY_VERSION}")

    def take(self, name: str) -> Any:
        """A member that must be there; its type is checked by what it is converted to."""
        return self._left.pop(name)

    def optional(self, name: str, convert: Callable[[Any], _T]) -> _T | None:
        return convert(self._left.pop(name)) if name in self._left else None

    def finish(self) -> None:
        if self._left:
            raise IntegrityError(
                f"a row has members this program does not know: {', '.join(sorted(self._left))}",
                fix="A newer program wrote this row: upgrade this one.",
            )


def _guarded(decode: Callable[[Mapping[str, object]], _T]) -> Callable[[Mapping[str, object]], _T]:
    """Turn what a malformed body provokes into IntegrityError."""

    def decoded(body: Mapping[str, object]) -> _T:
        try:
            return decode(body)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise IntegrityError(f"a row's body is malformed: {type(error).__name__}") from None

    return decoded


@_guarded
def key_from(body: Mapping[str, object]) -> Key:
    """The key that a body says; IntegrityError for anything that this program did not write."""
    m = _Members(body, KEY)
    owner = m.optional("owner", dict) or _NO_OWNER
    key = Key(
        key_id=m.take("id"),
        tenant=m.take("tenant"),
        revision=m.take("revision"),
        type=KeyType(m.take("type")),
        scope=KeyScope(m.take("scope")),
        length=KeyLength(m.take("length")),
        state=KeyState(m.take("state")),
        state_changed_at=from_micros(m.take("state_changed_at")),
        reason=m.optional("reason", RevocationReason),
        name=m.optional("name", str),
        owner=owner["id"],
        owner_row=owner["row"],
        owner_epoch=owner["epoch"],
        prefix=m.optional("prefix", str),
        permissions=tuple(m.take("permissions")),
        allowed_ips=tuple(m.take("allowed_ips")),
        metadata=m.take("metadata"),
        tags=tuple(m.take("tags")),
        recoverable=m.take("recoverable"),
        version=m.take("version"),
        created_at=from_micros(m.take("created_at")),
        updated_at=from_micros(m.take("updated_at")),
        not_before=m.optional("not_before", from_micros),
        expires_at=m.optional("expires_at", from_micros),
    )
    m.finish()
    return key


def version_from(body: Mapping[str, object], material: bytes | None) -> Version:
    """The version that a body says, with the material beside it."""
    return _version_from({**body, "material": material})


@_guarded
def _version_from(body: Mapping[str, object]) -> Version:
    m = _Members(body, VERSION)
    m.take("id")
    version = Version(
        key_id=m.take("key"),
        tenant=m.take("tenant"),
        number=m.take("number"),
        revision=m.take("revision"),
        type=KeyType(m.take("type")),
        state=KeyState(m.take("state")),
        state_changed_at=from_micros(m.take("state_changed_at")),
        credential_id=m.optional("credential_id", str),
        digest=m.optional("digest", from_base64url),
        custody=m.optional("custody", str),
        created_at=from_micros(m.take("created_at")),
        expires_at=m.optional("expires_at", from_micros),
        material=m.take("material"),
    )
    m.finish()
    return version


@_guarded
def owner_from(body: Mapping[str, object]) -> Owner:
    """The revoked owner that a body says."""
    m = _Members(body, OWNER)
    owner = Owner(
        row_id=m.take("id"),
        tenant=m.take("tenant"),
        id=m.take("owner"),
        revision=m.take("revision"),
        epoch=m.take("epoch"),
        revoked_at=from_micros(m.take("revoked_at")),
        reason=RevocationReason(m.take("reason")),
    )
    m.finish()
    return owner
