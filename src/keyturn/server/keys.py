"""Management calls on keys and owners. Each runs in a thread; who calls was decided on the event loop before."""

from __future__ import annotations

from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Path, Query, Response
from starlette.convertors import StringConvertor, register_url_convertor

from keyturn.domain.fields import MAX_OWNER_CHARACTERS
from keyturn.issuing.reading import KeyFilter
from keyturn.server.access import (
    MayCreate,
    MayDestroy,
    MayRead,
    MayRevoke,
    MayUpdate,
    TheGenerator,
    TheNode,
)
from keyturn.server.etags import IfMatch, IfNoneMatch, etag_of
from keyturn.server.idempotency import Keep, Once
from keyturn.server.importing import made, spec_of
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
from keyturn.server.openapi import CONFLICT, CREATED, NOT_MODIFIED, TAGGED
from keyturn.server.schemas import TEXT_PATTERN, KeyId
from keyturn.views import View, issued_view, key_view


class _KeyIdConvertor(StringConvertor):
    """A segment of a path, but for the names of calls that stand beside the keys: none of them is a key_id."""

    regex = "(?!batch$)[^/]+"


register_url_convertor("key_id", _KeyIdConvertor())

router = APIRouter(prefix="/v1", tags=["keys"])

_CHANGED: Final[dict[int | str, dict[str, Any]]] = {**TAGGED, **CONFLICT}


@router.post("/keys", status_code=201, response_model=IssuedKeyBody, responses={**CREATED, **CONFLICT})
def issue_key(wanted: NewKey, node: TheNode, generator: TheGenerator, by: MayCreate, once: Once) -> Response:
    """Issue a key, or import one. The answer shows its secret, this once, or the public half of a pair.

    What was imported is not repeated.
    """

    def make(keep: Keep) -> None:
        generated = made(wanted, spec_of(wanted, node.clock), generator)
        node.issuer.issue_all(
            (generated,),
            by,
            beside=lambda keys: keep(
                issued_view(keys[0], generated), [keys[0].key_id], etag=etag_of(keys[0])
            ),
        )

    return once.answer(by, make)


@router.get("/keys", response_model=KeyListBody)
def list_keys(asked: Annotated[ListedKeys, Query()], node: TheNode, by: MayRead) -> Response:
    """List keys of the caller's tenant, newest first."""
    matching = KeyFilter(**asked.model_dump(exclude={"limit", "cursor"}))
    page = node.reader.list(by, matching, limit=asked.limit, cursor=asked.cursor)
    view = {"items": [key_view(key) for key in page.items], "next_cursor": page.next_cursor}
    # Written here and not by the framework, which would do it on the event loop: it can be 16 MB.
    return Response(orjson.dumps(view), media_type="application/json")


@router.get("/keys/{key_id:key_id}", response_model=KeyBody, responses={**TAGGED, **NOT_MODIFIED})
def get_key(key_id: KeyId, node: TheNode, by: MayRead, seen: IfNoneMatch) -> Any:
    """Get one key's metadata."""
    return seen.answer_unless_seen(node.reader.get(key_id, by))


@router.patch("/keys/{key_id:key_id}", response_model=KeyBody, responses=_CHANGED)
def update_key(key_id: KeyId, changes: KeyChanges, node: TheNode, by: MayUpdate, seen: IfMatch) -> View:
    """Change a key's policy: what is absent stays, null clears."""
    named = {name: getattr(changes, name) for name in changes.model_fields_set}
    if changes.profile is not None:
        named["profile"] = changes.profile.model_dump()
    return seen.answer(node.updater.update(key_id, by, named, only_if=seen.check))


@router.post("/keys/{key_id}/revoke", response_model=KeyBody, responses=_CHANGED)
def revoke_key(
    key_id: KeyId, node: TheNode, by: MayRevoke, seen: IfMatch, why: Revocation | None = None
) -> View:
    """Refuse a key for good: on this node when the answer comes, on every other within its bound."""
    why = why or Revocation()
    key = node.lifecycle.revoke(key_id, by, reason=why.reason, note=why.note, only_if=seen.check)
    return seen.answer(key)


@router.post("/keys/{key_id}/suspend", response_model=KeyBody, responses=_CHANGED)
def suspend_key(
    key_id: KeyId, node: TheNode, by: MayRevoke, seen: IfMatch, why: Explanation | None = None
) -> View:
    """Refuse a key until it is resumed."""
    why = why or Explanation()
    key = node.lifecycle.suspend(key_id, by, reason=why.reason, note=why.note, only_if=seen.check)
    return seen.answer(key)


@router.post("/keys/{key_id}/resume", response_model=KeyBody, responses=_CHANGED)
def resume_key(
    key_id: KeyId, node: TheNode, by: MayRevoke, seen: IfMatch, why: Explanation | None = None
) -> View:
    """Accept a suspended key again."""
    why = why or Explanation()
    key = node.lifecycle.resume(key_id, by, reason=why.reason, note=why.note, only_if=seen.check)
    return seen.answer(key)


@router.post("/keys/{key_id}/destroy", response_model=KeyBody, responses=_CHANGED)
def destroy_key(key_id: KeyId, node: TheNode, by: MayDestroy, seen: IfMatch, why: Note | None = None) -> View:
    """Destroy a key's material; its metadata and its history stay."""
    key = node.lifecycle.destroy(key_id, by, note=why.note if why else None, only_if=seen.check)
    return seen.answer(key)


_Owner = Annotated[
    str,
    Path(
        description="Your own id for an owner; percent-encoded, slashes too.",
        examples=["user_42"],
        json_schema_extra={"minLength": 1, "maxLength": MAX_OWNER_CHARACTERS, "pattern": TEXT_PATTERN},
    ),
]


# An owner is the caller's own id and may hold slashes, so it takes all of the path up to the last segment.
@router.post("/owners/{owner:path}/revoke", response_model=OwnerRevokedBody, responses=CONFLICT)
def revoke_owner(owner: _Owner, node: TheNode, by: MayRevoke, why: Revocation | None = None) -> View:
    """Revoke every key of an owner, at once, in one commit."""
    why = why or Revocation()
    followed = node.lifecycle.revoke_owner(owner, by, reason=why.reason, note=why.note)
    return {"owner": owner, "revoked": followed}
