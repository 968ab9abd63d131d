"""`/v1/authorize` in the OpenAPI document: every method of two paths. Nothing is routed here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Path, Query, Response, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from keyturn.domain.scope import KeyScope
from keyturn.server.authorizing import AUTHORIZE
from keyturn.server.models import GatewayProblem, ProblemBody
from keyturn.server.requiring import MAX_TEXT

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")

_GATEWAY: Final = Security(
    APIKeyHeader(
        name="Keyturn-Gateway-Key",
        scheme_name="GatewayKey",
        description="The gateway's provisioning key, which holds keys.verify.",
        auto_error=False,
    )
)
_CLIENT: Final = (
    Security(HTTPBearer(scheme_name="ClientBearer", description="The client's key.", auto_error=False)),
    Security(
        APIKeyHeader(
            name="X-API-Key", scheme_name="ClientKey", description="The client's key.", auto_error=False
        )
    ),
)


def _field(says: str, example: str) -> dict[str, Any]:
    return {"description": says, "schema": {"type": "string"}, "example": example}


_FIELDS: Final = {
    "X-Keyturn-Valid": _field("Whether the request may pass.", "true"),
    "X-Keyturn-Code": _field(
        "A verification code; one that begins with gateway_ is about the gateway.", "valid"
    ),
    "X-Keyturn-As-Of": _field("How far this node had read the log: log_id:position.", "0123456789ABCDEF:42"),
    "X-Keyturn-Key-Id": _field("The key, where it is known.", "key_0123456789ABCDEFGHIJKL"),
    "X-Keyturn-Version": _field("The key's version, where it is known.", "1"),
}
_GRANTED: Final = {
    "X-Keyturn-Owner": _field("Who holds the key; percent-encoded but for visible ASCII.", "acme"),
    "X-Keyturn-Scope": _field("The key's scope.", "read_write"),
    "X-Keyturn-Permissions": _field("Its grants with spaces between; absent where they are long.", "a.b c.*"),
}
_CHALLENGE: Final = {"WWW-Authenticate": _field("RFC 6750.", 'Bearer realm="keyturn", error="invalid_token"')}
_AGAIN: Final = {"Retry-After": _field("Seconds.", "1")}


def _refusal(says: str, more: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"model": GatewayProblem, "description": says, "headers": {**_FIELDS, **(more or {})}}


_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The request may pass.", "headers": {**_FIELDS, **_GRANTED}},
    400: _refusal("Two different keys, a field twice, or a requirement that is not understood."),
    401: _refusal("No valid key, of the client or of the gateway.", _CHALLENGE),
    403: _refusal("The key is valid, and not for this.", _CHALLENGE),
    413: {"model": ProblemBody, "description": "A body, which is not needed, of more than 1 MiB."},
    429: _refusal("Too many keys from this address were refused.", _AGAIN),
    503: _refusal("This node cannot decide now.", _AGAIN),
}
# Both callers are known by keys of their own; the client's is in either of two fields.
_SECURITY: Final[list[dict[str, list[str]]]] = [
    {"GatewayKey": [], "ClientBearer": []},
    {"GatewayKey": [], "ClientKey": []},
]

Require = Annotated[
    str | None,
    Header(
        alias="Keyturn-Require",
        max_length=MAX_TEXT,
        description="What the gateway requires, beside its key's profile. Gateways overwrite a client's own.",
        examples=['scope=read; permissions="documents.read"; cost=1'],
    ),
]
Scope = Annotated[KeyScope | None, Query(description="The client key's scope must cover it.")]
Permissions = Annotated[
    str | None,
    Query(
        description="A query that its grants must meet.",
        max_length=1_024,
        examples=["documents.read AND NOT beta"],
    ),
]
Cost = Annotated[int | None, Query(description="Without effect in this version.", ge=1, le=999_999_999)]
Rest = Annotated[str, Path(description="The client's own path; what it says makes no difference.")]

described_gateway: Final = APIRouter(tags=["gateways"], dependencies=[_GATEWAY, *_CLIENT])


def authorize(
    require: Require = None, scope: Scope = None, permissions: Permissions = None, cost: Cost = None
) -> None:
    """Say whether a request may pass a gateway: 200, or why not. What header and query require adds up."""


def authorize_path(rest: Rest, require: Require = None) -> None:
    """Say whether a request may pass. The client's path stands behind; its query is the client's, and not looked at."""


_CALLS: Final[dict[str, Callable[..., None]]] = {
    AUTHORIZE: authorize,
    f"{AUTHORIZE}/{{rest}}": authorize_path,
}
for _path, _call in _CALLS.items():
    for _method in METHODS:
        described_gateway.add_api_route(
            _path,
            _call,
            methods=[_method],
            operation_id=f"{_call.__name__}_by_{_method.lower()}",
            response_class=Response,
            responses=_RESPONSES,
        )


def name_callers(paths: dict[str, dict[str, Any]]) -> None:
    """Say in a document's paths that these calls need two keys together; the framework says: any one of them."""
    for path in _CALLS:
        for operation in paths[path].values():
            operation["security"] = _SECURITY
