"""The public halves of published keys, for everybody: JSON Web Key Sets (RFC 7517), answered from memory.

What has changed in the log is read before the next answer, once for all who ask meanwhile. While the store does not
answer, the set that is known is given out for as long as a cache might have kept it, with what is left of that time as
`max-age`: so nobody holds a set longer than if it had been fetched just before. After that there is none.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Path, Request, Response
from starlette.responses import JSONResponse

from keyturn.domain.fields import MAX_TENANT_CHARACTERS, check_tenant
from keyturn.domain.ids import DEFAULT_TENANT
from keyturn.domain.publishing import CACHE_SECONDS
from keyturn.errors import IntegrityError, KeyturnError, StaleError
from keyturn.server.etags import SHOWN, tags_sent
from keyturn.server.exchange import with_own_caching
from keyturn.server.models import Body, example
from keyturn.server.openapi import Responses
from keyturn.server.schemas import EXAMPLE_KEY_ID
from keyturn.serving.sharing import SharedWork, TooMuchWorkError
from keyturn.signing.published import KeySet, PublishedKeys

CONTENT_TYPE: Final = "application/jwk-set+json"  # RFC 7517, section 8.5.2
REFRESH_SECONDS: Final = 1.0
MAX_WAITING: Final = 256  # tenants whose sets are being brought up to date at a time
TURN: Final = 100  # keys that are looked at for one tenant before the next one's turn
_FOLLOWING: Final = ""  # no name of a tenant
_ATTEMPTS: Final = 2  # one may have begun before what is asked for was there

router = APIRouter(tags=["signatures"])


class KeySets:
    """Tenants' sets for the requests of one event loop."""

    def __init__(self, published: PublishedKeys, *, max_staleness: float) -> None:
        self._published = published
        self._max_staleness = max_staleness
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="keyturn-jwks")
        self._refreshing = SharedWork(self._thread, most=MAX_WAITING, seconds=REFRESH_SECONDS)

    def close(self) -> None:
        """Let the thread go; it ends within the store's own bounds."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def of(self, tenant: str) -> tuple[KeySet, int]:
        """The tenant's set, and for how many seconds it may be kept.

        StaleError where it is too old to be given out, IntegrityError where the log was found altered.
        """
        await self._refreshed(tenant)
        age = self._published.age(tenant)
        if age >= CACHE_SECONDS:
            raise StaleError("this node has not read the log for so long that it gives out no keys any more")
        found = self._published.of(tenant)
        return found, CACHE_SECONDS - (0 if age <= self._max_staleness else int(age) + 1)

    async def _refreshed(self, tenant: str) -> None:
        """Let what has changed be known, and the tenant's part of it be taken in, a bounded part in each turn.

        There is one thread, which takes the tenants in the order in which they are asked for: one of which much has
        changed waits for its own turns, and no other for more than one of them.
        """
        published = self._published
        for _ in range(_ATTEMPTS):
            if published.is_current(tenant):
                return
            try:
                await self._refreshing.shared(_FOLLOWING, published.follow)
                if published.is_waiting(tenant):
                    await self._refreshing.shared(tenant, partial(published.take_in, tenant, TURN))
            except IntegrityError:
                raise
            except (KeyturnError, TimeoutError, TooMuchWorkError):
                return


class KeySetResponse(JSONResponse):
    """A set that is JSON already."""

    media_type = CONTENT_TYPE

    def render(self, content: bytes) -> bytes:
        """The set as it is."""
        return content


class KeySetBody(Body):
    """A JSON Web Key Set (RFC 7517): public keys, each with the `kid` that tokens name."""

    model_config = example(
        keys=[
            {
                "kty": "OKP", "kid": f"{EXAMPLE_KEY_ID}.1", "use": "sig", "alg": "EdDSA", "crv": "Ed25519",
                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
            }
        ]
    )  # fmt: skip

    keys: list[dict[str, str]]


_FIELDS: Final[dict[str, Any]] = {
    "ETag": {
        "description": "Names exactly this set, for If-None-Match.",
        "schema": {"type": "string", "pattern": '^"[!#-~]+"$'},
        "example": '"q83vEjRWeJCrze8SNFZ4kA"',
    },
    "Cache-Control": {
        "description": f"For how long the set may be kept: {CACHE_SECONDS} seconds.",
        "schema": {"type": "string"},
        "example": f"public, max-age={CACHE_SECONDS}",
    },
}
_RESPONSES: Final[Responses] = {
    200: {
        "description": "The set; an empty one for a tenant that publishes no keys, or does not exist.",
        "headers": _FIELDS,
    },
    304: {"description": "The set is as If-None-Match says.", "headers": _FIELDS},
    400: {},
    503: {},
}
IfNoneMatch = Annotated[
    str | None,
    Header(
        alias="If-None-Match",
        description="Answer 304 if the set is as an earlier answer showed it: the ETag of that answer.",
        examples=['"q83vEjRWeJCrze8SNFZ4kA"'],
        json_schema_extra=SHOWN,
    ),
]


@router.get(
    "/.well-known/jwks.json", response_model=KeySetBody, response_class=KeySetResponse, responses=_RESPONSES
)
async def get_key_set(request: Request, _: IfNoneMatch = None) -> Response:
    """Get the published public keys of the default tenant. No key is needed."""
    return await _answer(request, DEFAULT_TENANT)


@router.get(
    "/v1/tenants/{tenant}/jwks.json",
    response_model=KeySetBody,
    response_class=KeySetResponse,
    responses=_RESPONSES,
)
async def get_tenants_key_set(
    request: Request,
    tenant: Annotated[
        str,
        Path(
            description="A tenant's name.",
            examples=[DEFAULT_TENANT],
            json_schema_extra={"pattern": f"^[a-z0-9][a-z0-9_-]{{0,{MAX_TENANT_CHARACTERS - 1}}}$"},
        ),
    ],
    _: IfNoneMatch = None,
) -> Response:
    """Get the published public keys of a tenant. No key is needed."""
    return await _answer(request, check_tenant(tenant))


async def _answer(request: Request, tenant: str) -> Response:
    sent = tags_sent(request, "If-None-Match") or frozenset()
    key_sets: KeySets = request.app.state.key_sets
    found, seconds = await key_sets.of(tenant)
    with_own_caching(request.scope)
    # Pages in browsers verify tokens as well, and there is nothing here that not everybody may read.
    headers = {
        "ETag": found.etag,
        "Cache-Control": f"public, max-age={seconds}",
        "Access-Control-Allow-Origin": "*",
    }
    if "*" in sent or found.etag in {tag.removeprefix("W/") for tag in sent}:
        return Response(status_code=304, headers=headers)
    return KeySetResponse(found.body, headers=headers)
