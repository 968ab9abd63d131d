"""What management calls take and give, as the OpenAPI document shows it. Bounds are checked by `KeySpec`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from keyturn.domain.instants import parse_rfc3339
from keyturn.domain.key import KeyType
from keyturn.domain.lifecycle import KeyState, RevocationReason
from keyturn.domain.scope import KeyScope


def _instant(value: object) -> object:
    # Numbers would be taken for seconds since the epoch; times are RFC 3339 and nothing else.
    return parse_rfc3339(value) if isinstance(value, str) else _refuse_instant()


def _refuse_instant() -> datetime:
    raise ValueError("a time is a string in RFC 3339")


Instant = Annotated[AwareDatetime, BeforeValidator(_instant)]


def _instant_in_query(value: object) -> object:
    if isinstance(value, str) and " " in value:  # which is what a + becomes in a query
        raise ValueError("not an RFC 3339 time with an offset: write + as %2B in a query, or use Z")
    return _instant(value)


InstantInQuery = Annotated[AwareDatetime, BeforeValidator(_instant_in_query)]


class Closed(BaseModel):
    """Unknown members are refused: a restriction that is misspelt must not be lost."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ProfileBody(Closed):
    """What a gateway always requires of the keys that it asks about: a scope, a permission query, or both."""

    scope: Annotated[KeyScope | None, Field(strict=False, examples=["read"])] = None
    permissions: Annotated[str | None, Field(examples=["documents.read AND NOT beta"])] = None


class NewKey(Closed):
    """A key to be issued."""

    type: Annotated[KeyType, Field(strict=False, examples=["api_token"])] = KeyType.API_TOKEN
    scope: Annotated[KeyScope, Field(strict=False, examples=["read_write"])] = KeyScope.READ
    length: Annotated[
        int | None,
        Field(description="Bits: 256 when absent, and 3072 for RSA.", examples=[256]),
    ] = None
    algorithm: Annotated[
        str | None,
        Field(description="How a signing key signs; what suits it when absent.", examples=[None]),
    ] = None
    name: str | None = None
    owner: Annotated[str | None, Field(description="Your own id for who holds the key.")] = None
    prefix: Annotated[str | None, Field(examples=["acme_live"])] = None
    expires_in: Annotated[int | None, Field(description="Lifetime in seconds.", examples=[2_592_000])] = None
    expires_at: Instant | None = None
    not_before: Instant | None = None
    permissions: Annotated[list[str], Field(examples=[["documents.read"]])] = []
    allowed_ips: Annotated[list[str], Field(examples=[["203.0.113.0/24"]])] = []
    metadata: dict[str, Any] = {}
    tags: list[str] = []
    recoverable: bool = False
    profile: Annotated[ProfileBody | None, Field(description="For the provisioning key of a gateway.")] = None


class KeyChanges(Closed):
    """Changes to a key: what is absent stays, null clears."""

    name: str | None = None
    scope: Annotated[KeyScope | None, Field(strict=False)] = None
    permissions: list[str] | None = None
    allowed_ips: list[str] | None = None
    metadata: dict[str, Any] | None = None
    tags: list[str] | None = None
    not_before: Instant | None = None
    expires_at: Instant | None = None
    expires_in: int | None = None
    profile: ProfileBody | None = None


class Note(Closed):
    """Why, for the log; it can be erased there later."""

    note: str | None = None


class Explanation(Note):
    """Why a key is suspended or resumed: a reason of RFC 5280, and a note."""

    reason: Annotated[RevocationReason | None, Field(strict=False)] = None


class Revocation(Note):
    """Why a key is revoked: a reason of RFC 5280, and a note."""

    reason: Annotated[RevocationReason, Field(strict=False)] = RevocationReason.UNSPECIFIED


class ListedKeys(BaseModel):
    """The query of a list of keys."""

    model_config = ConfigDict(extra="forbid")

    limit: int = 100
    cursor: str | None = None
    owner: str | None = None
    type: KeyType | None = None
    scope: KeyScope | None = None
    state: KeyState | None = None
    tag: str | None = None
    prefix: str | None = None
    expires_before: InstantInQuery | None = None
    unused_since: InstantInQuery | None = None
    q: str | None = None


class KeyBody(BaseModel):
    """A key's metadata."""

    key_id: str
    version: int
    tenant: str
    type: str
    scope: str
    length: int
    algorithm: str | None
    state: str
    state_changed_at: str
    reason: str | None
    name: str | None
    owner: str | None
    prefix: str | None
    permissions: list[str]
    allowed_ips: list[str]
    metadata: dict[str, Any]
    tags: list[str]
    recoverable: bool
    created_at: str
    updated_at: str
    not_before: str | None
    expires_at: str | None
    profile: ProfileBody | None


class IssuedKeyBody(KeyBody):
    """A new key, with its secret: the only time that it is shown. Of a key pair there is the public key instead."""

    key: str | None
    public_key: Annotated[str | None, Field(description="PEM.")]


class KeyListBody(BaseModel):
    """Some keys, newest first."""

    items: list[KeyBody]
    next_cursor: str | None


class OwnerRevokedBody(BaseModel):
    """How many of the owner's keys were brought after their owner."""

    owner: str
    revoked: int


class ProblemBody(BaseModel):
    """Problem details (RFC 9457)."""

    type: Annotated[str, Field(examples=["urn:keyturn:problem:not_found"])]
    title: str
    status: int
    detail: str
    code: Annotated[str, Field(examples=["not_found"])]
    fix: str
    request_id: Annotated[str, Field(description="As in X-Request-Id, and in the server's log.")]
    field: str | None = None
