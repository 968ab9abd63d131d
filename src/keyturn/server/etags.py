"""ETags of keys, policies and endpoints, and the conditions that callers put on them (RFC 9110, 8.8.3 and 13.1)."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Any, Final, assert_never

from fastapi import Depends, Header, Request, Response

from keyturn.domain import canonical
from keyturn.domain.bodies import key_put
from keyturn.domain.bytestext import to_base64url
from keyturn.domain.change import Put
from keyturn.domain.key import Key
from keyturn.domain.notices.endpoint import Endpoint, endpoint_put
from keyturn.domain.rotation.kept_policy import KeptPolicy
from keyturn.domain.rotation.policy_bodies import policy_put
from keyturn.errors import PreconditionFailedError
from keyturn.notice_views import endpoint_view
from keyturn.rotation_views import policy_view
from keyturn.server.exchange import RefusedRequestError, fields_of
from keyturn.views import View, key_view

_PATTERN: Final = r'^(?:\*|(?:W/)?"[!#-~]*"(?: *, *(?:W/)?"[!#-~]*")*)$'
SHOWN: Final[dict[str, Any]] = {"format": "etag", "pattern": _PATTERN}
_LIST: Final = re.compile(_PATTERN)
_TAG: Final = re.compile(r'(?:W/)?"[!#-~]*"')
_DIGEST_BYTES: Final = 16
Tagged = Key | KeptPolicy | Endpoint
"""What has an ETag."""
_NAMES: Final[dict[type[Tagged], str]] = {Key: "key", KeptPolicy: "policy", Endpoint: "endpoint"}
_EXAMPLE: Final = '"3-q83vEjRWeJCrze8SNFZ4"'


def etag_of(found: Tagged) -> str:
    """The strong ETag: the revision, and a digest of all that the row says."""
    digest = hashlib.sha256(canonical.encode(_put_of(found).body).encode()).digest()
    return f'"{found.revision}-{to_base64url(digest[:_DIGEST_BYTES])}"'


def _put_of(found: Tagged) -> Put:
    match found:
        case Key():
            return key_put(found)
        case KeptPolicy():
            return policy_put(found)
        case Endpoint():
            return endpoint_put(found)
        case never:
            assert_never(never)


def tags_sent(request: Request, name: str) -> frozenset[str] | None:
    """The tags of a condition, `*` among them for any; None where the caller has set none."""
    fields = fields_of(request.scope, name.lower().encode())
    if not fields:
        return None
    text = b", ".join(fields).decode("latin-1").strip()
    if _LIST.fullmatch(text) is None:
        raise RefusedRequestError(
            400,
            "malformed_header",
            f"{name} is no list of ETags",
            "Send an ETag as it was given, quotes included.",
        )
    return frozenset(("*",)) if text == "*" else frozenset(_TAG.findall(text))


class Seen:
    """What a caller has seen of it, by the ETag of an earlier answer, and the answer that is to carry the next.

    Attributes:
        tags: the ETags that were sent; None where there were none.
    """

    def __init__(self, tags: frozenset[str] | None, response: Response) -> None:
        self.tags = tags
        self._response = response

    def covers(self, found: Tagged) -> bool:
        """Whether the caller has seen it as it is."""
        return self.tags is not None and ("*" in self.tags or etag_of(found) in self.tags)

    def check(self, found: Tagged) -> None:
        """PreconditionFailedError where the caller set a condition that it, as it is, does not meet."""
        if self.tags is not None and not self.covers(found):
            raise PreconditionFailedError(f"the {_NAMES[type(found)]} is no longer as that ETag says")

    def answer(self, found: Tagged) -> View:
        """What the answer shows, which then has its ETag."""
        self._response.headers["ETag"] = etag_of(found)
        match found:
            case Key():
                return key_view(found)
            case KeptPolicy():
                return policy_view(found)
            case Endpoint():
                return endpoint_view(found)
            case never:
                assert_never(never)

    def answer_unless_seen(self, found: Tagged) -> View | Response:
        """The same, or nothing but the ETag for a caller who has seen it as it is."""
        if self.covers(found):
            return Response(status_code=304, headers={"ETag": etag_of(found)})
        return self.answer(found)


async def _if_match(
    request: Request,
    response: Response,
    _: Annotated[
        str | None,
        Header(
            alias="If-Match",
            description="Do it only if it is as an earlier answer showed it: the ETag of that answer.",
            examples=[_EXAMPLE],
            json_schema_extra=SHOWN,
        ),
    ] = None,
) -> Seen:
    # Weak tags never match here (RFC 9110, section 13.1.1), and ours are none.
    return Seen(tags_sent(request, "If-Match"), response)


async def _if_none_match(
    request: Request,
    response: Response,
    _: Annotated[
        str | None,
        Header(
            alias="If-None-Match",
            description="Answer 304 if it is as an earlier answer showed it: the ETag of that answer.",
            examples=[_EXAMPLE],
            json_schema_extra=SHOWN,
        ),
    ] = None,
) -> Seen:
    sent = tags_sent(request, "If-None-Match")
    # Here weak ones count like strong ones.
    return Seen(None if sent is None else frozenset(tag.removeprefix("W/") for tag in sent), response)


IfMatch = Annotated[Seen, Depends(_if_match)]
IfNoneMatch = Annotated[Seen, Depends(_if_none_match)]
