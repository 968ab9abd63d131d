"""Management calls on keys and owners. Each runs in a thread; who calls was decided on the event loop before."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from keyturn.domain.algorithms import parse_algorithm, parse_length
from keyturn.domain.requirement import check_profile
from keyturn.domain.spec import UNSAID, KeySpec, expiry
from keyturn.issuing.reading import KeyFilter
from keyturn.ports.clock import Clock
from keyturn.server.access import (
    MayCreate,
    MayDestroy,
    MayRead,
    MayRevoke,
    MayUpdate,
    TheGenerator,
    TheNode,
)
from keyturn.server.models import (
    Explanation,
    IssuedKeyBody,
    KeyBody,
    KeyChanges,
    KeyListBody,
    ListedKeys,
    NewKey,
    Note,
    OwnerRevokedBody,
    Revocation,
)
from keyturn.views import View, issued_view, key_view

router = APIRouter(prefix="/v1", tags=["keys"])


@router.post("/keys", status_code=201, response_model=IssuedKeyBody)
def issue_key(wanted: NewKey, node: TheNode, generator: TheGenerator, by: MayCreate) -> View:
    """Issue a key. The answer shows its secret, this once."""
    generated = generator.generate(_spec(wanted, node.clock))
    return issued_view(node.issuer.issue(generated, by), generated)


@router.get("/keys", response_model=KeyListBody)
def list_keys(asked: Annotated[ListedKeys, Query()], node: TheNode, by: MayRead) -> View:
    """Keys of the caller's tenant, newest first."""
    matching = KeyFilter(**asked.model_dump(exclude={"limit", "cursor"}))
    page = node.reader.list(by, matching, limit=asked.limit, cursor=asked.cursor)
    return {"items": [key_view(key) for key in page.items], "next_cursor": page.next_cursor}


@router.get("/keys/{key_id}", response_model=KeyBody)
def show_key(key_id: str, node: TheNode, by: MayRead) -> View:
    """One key's metadata."""
    return key_view(node.reader.get(key_id, by))


@router.patch("/keys/{key_id}", response_model=KeyBody)
def update_key(key_id: str, changes: KeyChanges, node: TheNode, by: MayUpdate) -> View:
    """Change a key's policy: what is absent stays, null clears."""
    named = {name: getattr(changes, name) for name in changes.model_fields_set}
    if changes.profile is not None:
        named["profile"] = changes.profile.model_dump()
    return key_view(node.updater.update(key_id, by, named))


@router.post("/keys/{key_id}/revoke", response_model=KeyBody)
def revoke_key(key_id: str, node: TheNode, by: MayRevoke, why: Revocation | None = None) -> View:
    """Refuse a key for good: on this node when the answer comes, on every other within its bound."""
    why = why or Revocation()
    return key_view(node.lifecycle.revoke(key_id, by, reason=why.reason, note=why.note))


@router.post("/keys/{key_id}/suspend", response_model=KeyBody)
def suspend_key(key_id: str, node: TheNode, by: MayRevoke, why: Explanation | None = None) -> View:
    """Refuse a key until it is resumed."""
    why = why or Explanation()
    return key_view(node.lifecycle.suspend(key_id, by, reason=why.reason, note=why.note))


@router.post("/keys/{key_id}/resume", response_model=KeyBody)
def resume_key(key_id: str, node: TheNode, by: MayRevoke, why: Explanation | None = None) -> View:
    """Accept a suspended key again."""
    why = why or Explanation()
    return key_view(node.lifecycle.resume(key_id, by, reason=why.reason, note=why.note))


@router.post("/keys/{key_id}/destroy", response_model=KeyBody)
def destroy_key(key_id: str, node: TheNode, by: MayDestroy, why: Note | None = None) -> View:
    """Destroy a key's material; its metadata and its history stay."""
    return key_view(node.lifecycle.destroy(key_id, by, note=why.note if why else None))


# An owner is the caller's own id and may hold slashes, so it takes all of the path up to the last segment.
@router.post("/owners/{owner:path}/revoke", response_model=OwnerRevokedBody)
def revoke_owner(owner: str, node: TheNode, by: MayRevoke, why: Revocation | None = None) -> View:
    """Revoke every key of an owner, at once, in one commit."""
    why = why or Revocation()
    followed = node.lifecycle.revoke_owner(owner, by, reason=why.reason, note=why.note)
    return {"owner": owner, "revoked": followed}


def _spec(wanted: NewKey, clock: Clock) -> KeySpec:
    return KeySpec(
        type=wanted.type,
        scope=wanted.scope,
        length=UNSAID if wanted.length is None else parse_length(wanted.length),
        algorithm=None if wanted.algorithm is None else parse_algorithm(wanted.algorithm),
        name=wanted.name,
        owner=wanted.owner,
        prefix=wanted.prefix,
        permissions=tuple(wanted.permissions),
        allowed_ips=tuple(wanted.allowed_ips),
        metadata=wanted.metadata,
        tags=tuple(wanted.tags),
        recoverable=wanted.recoverable,
        not_before=wanted.not_before,
        expires_at=expiry(clock.now(), wanted.expires_in, wanted.expires_at),
        profile=None if wanted.profile is None else check_profile(wanted.profile.model_dump()),
    )
