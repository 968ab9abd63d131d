"""What a row says, as JSON: the one place where domain values become row bodies and come back.

A body that has an unknown member is refused, not read around: a program that ignored a restriction which a newer one
wrote would let someone in. Optional members are absent rather than null. `docs/formats/row.md` specifies it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from keyturn.domain.answer import KeptAnswer
from keyturn.domain.body_parts import BODY_VERSION, Body, Members, guarded, micros_of, without_absent
from keyturn.domain.bytestext import from_base64url, to_base64url
from keyturn.domain.change import Put
from keyturn.domain.instants import to_micros
from keyturn.domain.key import HANDLE_MARK, Algorithm, Hashed, Key, KeyLength, KeyType, Owner, Version
from keyturn.domain.lifecycle import KeyState, RevocationReason
from keyturn.domain.publishing import check_may_be_published, check_published_for
from keyturn.domain.requirement import Requirement
from keyturn.domain.scope import KeyScope

KEY: Final = "key"
VERSION: Final = "version"
OWNER: Final = "owner"
ANSWER: Final = "answer"
_DIGEST_BYTES: Final = 32  # SHA-256


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
        "algorithm": None if key.algorithm is None else key.algorithm.value,
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
        "newest": key.newest,
        "rotation_policy_id": key.rotation_policy_id,
        "published_for": key.published_for,
        "rotation": key.rotation,
        "rotated_at": micros_of(key.rotated_at),
        "due_from": micros_of(key.due_from),
        "created_at": to_micros(key.created_at),
        "updated_at": to_micros(key.updated_at),
        "not_before": micros_of(key.not_before),
        "expires_at": micros_of(key.expires_at),
        "profile": None if key.profile is None else key.profile.members,
    }
    return Put(id=key.row_id, kind=KEY, tenant=key.tenant, revision=key.revision, body=without_absent(body))


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
        "hashed": None if version.hashed is None else version.hashed.value,
        "custody": version.custody,
        "algorithm": None if version.algorithm is None else version.algorithm.value,
        "public_key": None if version.public_key is None else to_base64url(version.public_key),
        "created_at": to_micros(version.created_at),
        "expires_at": micros_of(version.expires_at),
    }
    return Put(
        id=version.row_id,
        kind=VERSION,
        tenant=version.tenant,
        revision=version.revision,
        body=without_absent(body),
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


def answer_put(kept: KeptAnswer) -> Put:
    """The row of a kept answer, with the sealed answer. There is one revision of it."""
    body: Body = {
        "v": BODY_VERSION,
        "kind": ANSWER,
        "id": kept.row_id,
        "tenant": kept.tenant,
        "revision": 1,
        "subjects": list(kept.subjects),
        "created_at": to_micros(kept.created_at),
        "expires_at": to_micros(kept.expires_at),
    }
    return Put(id=kept.row_id, kind=ANSWER, tenant=kept.tenant, revision=1, body=body, material=kept.material)


@guarded
def key_from(body: Mapping[str, object]) -> Key:
    """The key that a body says; IntegrityError for anything that this program did not write."""
    m = Members(body, KEY)
    owner = m.optional("owner", dict)
    owner_id, owner_row, owner_epoch = (None, None, 0) if owner is None else _owner_of(owner)
    reason = m.optional("reason", str)
    key_type = KeyType(m.take("type", str))
    profile = m.optional("profile", dict)
    algorithm = _algorithm(key_type, m.optional("algorithm", str))
    key = Key(
        key_id=m.take("id", str),
        tenant=m.take("tenant", str),
        revision=m.take("revision", int),
        type=key_type,
        scope=KeyScope(m.take("scope", str)),
        length=KeyLength(m.take("length", int)),
        algorithm=algorithm,
        state=KeyState(m.take("state", str)),
        state_changed_at=m.time("state_changed_at"),
        reason=None if reason is None else RevocationReason(reason),
        name=m.optional("name", str),
        owner=owner_id,
        owner_row=owner_row,
        owner_epoch=owner_epoch,
        prefix=m.optional("prefix", str),
        permissions=m.texts("permissions"),
        allowed_ips=m.texts("allowed_ips"),
        metadata=m.take("metadata", dict),
        tags=m.texts("tags"),
        recoverable=m.take("recoverable", bool),
        version=m.take("version", int),
        newest=m.optional("newest", int),
        rotation_policy_id=m.optional("rotation_policy_id", str),
        published_for=_published_for(key_type, algorithm, m.optional("published_for", int)),
        rotation=m.optional("rotation", str),
        rotated_at=m.optional_time("rotated_at"),
        due_from=m.optional_time("due_from"),
        created_at=m.time("created_at"),
        updated_at=m.time("updated_at"),
        not_before=m.optional_time("not_before"),
        expires_at=m.optional_time("expires_at"),
        profile=None if profile is None else _profile_of(profile),
    )
    m.finish()
    return key


def _algorithm(key_type: KeyType, name: str | None) -> Algorithm | None:
    """HMAC keys had one algorithm before there were several, and did not name it."""
    if name is None:
        return Algorithm.HS256 if key_type is KeyType.HMAC else None
    return Algorithm(name)


def _published_for(key_type: KeyType, algorithm: Algorithm | None, seconds: int | None) -> int | None:
    check_may_be_published(key_type, algorithm, seconds)
    return None if seconds is None else check_published_for(seconds)


def _owner_of(member: Mapping[str, object]) -> tuple[str, str, int]:
    m = Members(member)
    owner = m.take("id", str), m.take("row", str), m.take("epoch", int)
    m.finish()
    return owner


def _profile_of(member: Mapping[str, object]) -> Requirement:
    m = Members(member)
    scope, permissions = m.optional("scope", str), m.optional("permissions", str)
    m.finish()
    return Requirement(scope=None if scope is None else KeyScope(scope), permissions=permissions)


@guarded
def version_from(body: Mapping[str, object], material: bytes | None) -> Version:
    """The version that a body says, with the material beside it; IntegrityError as for a key."""
    m = Members(body, VERSION)
    row_id = m.take("id", str)
    digest, public_key = m.optional("digest", str), m.optional("public_key", str)
    hashed = m.optional("hashed", str)
    key_type = KeyType(m.take("type", str))
    version = Version(
        key_id=m.take("key", str),
        tenant=m.take("tenant", str),
        number=m.take("number", int),
        revision=m.take("revision", int),
        type=key_type,
        state=KeyState(m.take("state", str)),
        state_changed_at=m.time("state_changed_at"),
        credential_id=m.optional("credential_id", str),
        digest=None if digest is None else from_base64url(digest),
        hashed=None if hashed is None else Hashed(hashed),
        custody=m.optional("custody", str),
        algorithm=_algorithm(key_type, m.optional("algorithm", str)),
        public_key=None if public_key is None else from_base64url(public_key),
        created_at=m.time("created_at"),
        expires_at=m.optional_time("expires_at"),
        material=material,
    )
    m.finish()
    if version.row_id != row_id or (version.digest is not None and len(version.digest) != _DIGEST_BYTES):
        raise ValueError("a version's id or digest is none")
    if not _is_found_as_kept(version):
        raise ValueError("a version's handle and digest are not those of one kind of token")
    return version


def _is_found_as_kept(version: Version) -> bool:
    """Whether the handle is of the kind that goes with how the token is kept."""
    is_marked = (version.credential_id or "").startswith(HANDLE_MARK)
    if version.hashed is None:
        return not is_marked
    return (
        is_marked
        and version.type is KeyType.API_TOKEN
        and version.hashed.is_keyed == (version.digest is not None)
        and (version.hashed.is_keyed or version.custody is not None or version.state is KeyState.DESTROYED)
    )


@guarded
def owner_from(body: Mapping[str, object]) -> Owner:
    """The revoked owner that a body says; IntegrityError as for a key."""
    m = Members(body, OWNER)
    owner = Owner(
        row_id=m.take("id", str),
        tenant=m.take("tenant", str),
        id=m.take("owner", str),
        revision=m.take("revision", int),
        epoch=m.take("epoch", int),
        revoked_at=m.time("revoked_at"),
        reason=RevocationReason(m.take("reason", str)),
    )
    m.finish()
    return owner


@guarded
def answer_from(body: Mapping[str, object], material: bytes | None) -> KeptAnswer:
    """The kept answer that a body says, with the sealed answer beside it; IntegrityError as for a key."""
    m = Members(body, ANSWER)
    kept = KeptAnswer(
        row_id=m.take("id", str),
        tenant=m.take("tenant", str),
        subjects=m.texts("subjects"),
        created_at=m.time("created_at"),
        expires_at=m.time("expires_at"),
        material=material,
    )
    if m.take("revision", int) != 1:
        raise ValueError("an answer is never changed")
    m.finish()
    return kept
