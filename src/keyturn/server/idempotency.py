"""Idempotency keys: a POST that creates does its work once, and whoever sends it again gets the same answer.

@router.post("/things", status_code=201)
def make_thing(wanted: NewThing, node: TheNode, by: MayCreate, once: Once) -> Response:
    def make(keep: Keep) -> None:
        node.things.make(wanted, by, beside=lambda thing: keep(view(thing), [thing.id]))

    return once.answer(by, make)

The service hands what it is about to commit to `beside`, and commits the rows that come back as well. So the answer is
kept in the very commit that makes the thing: of requests that race each other, in this process or in another, one
commits and the others find its answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import orjson
from fastapi import Depends, Header, Request, Response

from keyturn.bootstrap import Node
from keyturn.domain.answer import MAX_IDEMPOTENCY_KEY_CHARACTERS
from keyturn.domain.change import Put
from keyturn.domain.principal import Principal
from keyturn.domain.secret import Secret
from keyturn.errors import ConflictError, IllegalTransitionError
from keyturn.issuing.answers import Asked
from keyturn.server.access import TheNode
from keyturn.server.exchange import RefusedRequestError, field_of
from keyturn.views import View

PATTERN: Final = "^[!-~]+$"  # visible ASCII
REPLAYED: Final = "Idempotent-Replayed"

Keep = Callable[..., tuple[Put, ...]]
"""Takes the answer's JSON and the ids of what it tells of; gives the rows that are to be committed with these.

With `etag`, the answer has that ETag.
"""


class Idempotent:
    """One request to create something, with or without an Idempotency-Key."""

    def __init__(self, node: Node, key: Secret | None, operation: str, body: bytes) -> None:
        self._node = node
        self._key = key
        self._operation = operation
        self._body = body

    def answer(self, by: Principal, make: Callable[[Keep], object], status: int = 201) -> Response:
        """What `make` hands to the `keep` that it is given; or what it was, where it was done before."""
        if self._key is None:
            return self._done(None, make, status)
        asked = Asked(key=self._key, operation=self._operation, body=_parsed(self._body), by=by)
        replayed = self._replay(asked)
        if replayed is not None:
            return replayed
        try:
            return self._done(asked, make, status)
        except (ConflictError, IllegalTransitionError):
            # Perhaps the same request, sent twice at once, has just been done.
            replayed = self._replay(asked)
            if replayed is None:
                raise
            return replayed

    def _done(self, asked: Asked | None, make: Callable[[Keep], object], status: int) -> Response:
        kept: list[Response] = []

        def keep(view: View, subjects: Sequence[str], *, etag: str = "") -> tuple[Put, ...]:
            body = orjson.dumps(view)
            kept[:] = [_response(status, etag, body)]
            if asked is None:
                return ()
            return (self._node.answers.kept(asked, status, etag, body, subjects),)

        make(keep)
        return kept[0]

    def _replay(self, asked: Asked) -> Response | None:
        found = self._node.answers.find(asked)
        if found is None:
            return None
        response = _response(found.status, found.etag, found.body.reveal_bytes())
        response.headers[REPLAYED] = "true"
        return response


def _response(status: int, etag: str, body: bytes) -> Response:
    return Response(body, status, {"ETag": etag} if etag else None, media_type="application/json")


async def _once(
    request: Request,
    node: TheNode,
    _: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description=(
                "Chosen by you for this one request, such as a UUID. Sent again within 24 hours, by the same caller "
                "and with the same body, the request is answered as before and makes nothing new."
            ),
            examples=["5f1c7a52-2a0e-4c55-9d0b-6f4f1f0a7b39"],
            json_schema_extra={
                "minLength": 1,
                "maxLength": MAX_IDEMPOTENCY_KEY_CHARACTERS,
                "pattern": PATTERN,
            },
        ),
    ] = None,
) -> Idempotent:
    sent = field_of(request.scope, "Idempotency-Key")
    if sent is not None and not (
        1 <= len(sent) <= MAX_IDEMPOTENCY_KEY_CHARACTERS
        and all("!" <= character <= "~" for character in sent)
    ):
        raise RefusedRequestError(
            400,
            "malformed_header",
            f"an Idempotency-Key has 1 to {MAX_IDEMPOTENCY_KEY_CHARACTERS} visible ASCII characters",
            "Send a UUID, for example.",
        )
    key = None if sent is None else Secret(sent)
    operation = f"{request.method} {request.scope['path']}"
    return Idempotent(node, key, operation, await request.body())


def _parsed(body: bytes) -> Any:
    """The body's JSON: what does not parse, the framework has refused already."""
    return json.loads(body) if body else None


Once = Annotated[Idempotent, Depends(_once)]
