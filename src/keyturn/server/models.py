"""What management calls take and give, as the OpenAPI document shows it. Bounds are checked by `KeySpec`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
)

from keyturn.domain.instants import parse_rfc3339
from keyturn.domain.key import Algorithm, KeyLength, KeyType
from keyturn.domain.lifecycle import KeyState, RevocationReason
from keyturn.domain.scope import KeyScope
from keyturn.server.schemas import (
    EXAMPLE_KEY_ID,
    EXAMPLE_TIME,
    EXAMPLE_TOKEN,
    KEY_ID_PATTERN,
    TIME_PATTERN,
    Cursor,
    FilterText,
    ForeignHash,
    ForeignToken,
    Grants,
    HashName,
    Lifetime,
    Limit,
    Metadata,
    Name,
    Networks,
    NoteText,
    OwnerId,
    PermissionQuery,
    PolicyId,
    Prefix,
    PublishedFor,
    Salt,
    SaltEncoding,
    SaltPosition,
    Start,
    Tags,
    Time,
    shown,
)


def _instant(value: object) -> object:
    # Numbers would be taken for seconds since the epoch; times are RFC 3339 and nothing else.
    return parse_rfc3339(value) if isinstance(value, str) else _refuse_instant()


def _refuse_instant() -> datetime:
    raise ValueError("a time is a string in RFC 3339")


Instant = Annotated[
    AwareDatetime, BeforeValidator(_instant), shown(pattern=TIME_PATTERN, example="2030-01-31T12:00:00Z")
]


def _instant_in_query(value: object) -> object:
    if isinstance(value, str) and " " in value:  # which is what a + becomes in a query
        raise ValueError("not an RFC 3339 time with an offset: write + as %2B in a query, or use Z")
    return _instant(value)


InstantInQuery = Annotated[
    AwareDatetime,
    BeforeValidator(_instant_in_query),
    shown(pattern=TIME_PATTERN, example="2030-01-31T12:00:00Z"),
]

EXAMPLES: Final[dict[str, Any]] = {}
"""An example of each model that has one, by its name: the framework leaves nulls out of what it is given."""


class Body(BaseModel):
    """What a call takes or gives."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        extra = cls.model_config.get("json_schema_extra")
        if isinstance(extra, dict):
            EXAMPLES[cls.__name__] = extra["examples"]


Length = Annotated[
    int,
    shown(
        "Bits, as the type has them: 256 when absent, and 3072 for RSA.",
        enum=[int(bits) for bits in KeyLength],
    ),
]
AlgorithmName = Annotated[
    str,
    shown(
        "How a signing key signs; what suits it when absent.",
        enum=[algorithm.value for algorithm in Algorithm],
    ),
]


class Closed(Body):
    """Unknown members are refused: a restriction that is misspelt must not be lost."""

    model_config = ConfigDict(extra="forbid", strict=True)


_END: Final = "From then on the key does not verify; not together with expires_in."
_BEGINNING: Final = "From then on the key verifies."
_GRANTED: Final = "What the key may do: at most what the caller's own key may."
_POLICY: Final = "The rotation policy that the key follows."
_PROFILE: Final = "What a gateway that calls with this provisioning key always requires."


def example(**members: Any) -> ConfigDict:
    """The settings of a model that has this example."""
    return ConfigDict(json_schema_extra={"examples": [members]})


class ProfileBody(Closed):
    """What a gateway always requires of the keys that it asks about: a scope, a permission query, or both."""

    model_config = example(scope="read", permissions="documents.read AND NOT beta")

    scope: Annotated[KeyScope | None, Field(strict=False)] = None
    permissions: PermissionQuery | None = None


class ImportedTokenBody(Closed):
    """A token that was issued elsewhere, as its holder sends it."""

    model_config = example(token="old_live_8f3a61c09be2d475")

    token: ForeignToken


class ImportedHashBody(Closed):
    """A hash of a token that was issued elsewhere, as the system it comes from keeps it."""

    model_config = example(
        hash="pbkdf2_sha256$1000$pepper$yNx8wCN0mFKTMdRTBvhtFQqmmW0LaEuX5aLX0zQ4xCE=",
        algorithm="pbkdf2", salt=None, salt_encoding="text", salt_position="before", start="old_live_8f3a",
    )  # fmt: skip

    hash: ForeignHash
    algorithm: HashName = "sha256"
    salt: Salt | None = None
    salt_encoding: SaltEncoding = "text"
    salt_position: SaltPosition = "before"
    start: Start | None = None


def _kind_of_import(value: object) -> str:
    if isinstance(value, dict):
        return "token" if "token" in value else "hash"
    return "token" if isinstance(value, ImportedTokenBody) else "hash"


Import = Annotated[
    Annotated[ImportedTokenBody, Tag("token")] | Annotated[ImportedHashBody, Tag("hash")],
    Discriminator(_kind_of_import),
]
_IMPORT: Final = "Takes in a token that was issued elsewhere, in place of making one; for the type api_token."


class NewKey(Closed):
    """A key to be issued, or to be taken over from another system."""

    model_config = example(
        type="api_token", scope="read_write", name="CI of the web shop", owner="user_42", prefix="acme_live",
        expires_in=2_592_000, permissions=["documents.read"], tags=["production"], metadata={"plan": "pro"},
    )  # fmt: skip

    type: Annotated[KeyType, Field(strict=False)] = KeyType.API_TOKEN
    scope: Annotated[KeyScope, Field(strict=False)] = KeyScope.READ
    length: Length | None = None
    algorithm: AlgorithmName | None = None
    name: Name | None = None
    owner: OwnerId | None = None
    prefix: Prefix | None = None
    expires_in: Lifetime | None = None
    expires_at: Annotated[Instant | None, Field(description=_END)] = None
    not_before: Annotated[Instant | None, Field(description=_BEGINNING)] = None
    permissions: Annotated[Grants, Field(description=_GRANTED)] = []
    allowed_ips: Networks = []
    metadata: Metadata = {}
    tags: Tags = []
    recoverable: Annotated[bool, Field(description="Whether a token's secret may be read back later.")] = (
        False
    )
    profile: Annotated[ProfileBody | None, Field(description=_PROFILE)] = None
    rotation_policy_id: Annotated[PolicyId | None, Field(description=_POLICY)] = None
    published_for: PublishedFor | None = None
    imported: Annotated[Import | None, Field(alias="import", description=_IMPORT)] = None


class KeyChanges(Closed):
    """Changes to a key: what is absent stays, null clears."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"permissions": ["documents.read", "documents.list"], "name": None}],
            "minProperties": 1,
        }
    )

    name: Name | None = None
    # A default that the document does not show: only what was sent counts.
    scope: Annotated[KeyScope, Field(strict=False, default_factory=lambda: KeyScope.READ)]
    permissions: Annotated[Grants | None, Field(description=_GRANTED)] = None
    allowed_ips: Networks | None = None
    metadata: Metadata | None = None
    tags: Tags | None = None
    not_before: Annotated[Instant | None, Field(description=_BEGINNING)] = None
    expires_at: Annotated[Instant | None, Field(description=_END)] = None
    expires_in: Lifetime | None = None
    profile: Annotated[ProfileBody | None, Field(description=_PROFILE)] = None
    rotation_policy_id: Annotated[PolicyId | None, Field(description=_POLICY)] = None
    published_for: PublishedFor | None = None


class Note(Closed):
    """Why, for the log; it can be erased there later."""

    model_config = example(note="the owner is on leave")

    note: NoteText | None = None


class Explanation(Note):
    """Why a key is suspended or resumed: a reason of RFC 5280, and a note."""

    model_config = example(reason="cessationOfOperation", note="the owner is on leave")

    reason: Annotated[RevocationReason | None, Field(strict=False)] = None


class Revocation(Note):
    """Why a key is revoked: a reason of RFC 5280, and a note."""

    model_config = example(reason="superseded", note="replaced by another key")

    reason: Annotated[RevocationReason, Field(strict=False)] = RevocationReason.UNSPECIFIED


class ListedKeys(Body):
    """The query of a list of keys."""

    model_config = ConfigDict(extra="forbid")

    limit: Limit = 100
    cursor: Cursor | None = None
    owner: FilterText | None = None
    type: KeyType | None = None
    scope: KeyScope | None = None
    state: KeyState | None = None
    tag: FilterText | None = None
    prefix: FilterText | None = None
    expires_before: InstantInQuery | None = None
    unused_since: InstantInQuery | None = None
    q: Annotated[
        FilterText | None, Field(description="Part of the name, the key_id or the owner, in any case.")
    ] = None


_KEY: Final[dict[str, Any]] = {
    "key_id": EXAMPLE_KEY_ID, "version": 1, "tenant": "default", "type": "api_token", "scope": "read_write",
    "length": 256, "algorithm": None, "state": "active", "state_changed_at": EXAMPLE_TIME, "reason": None,
    "name": "CI of the web shop", "owner": "user_42", "prefix": "acme_live", "permissions": ["documents.read"],
    "allowed_ips": [], "metadata": {"plan": "pro"}, "tags": ["production"], "recoverable": False,
    "created_at": EXAMPLE_TIME, "updated_at": EXAMPLE_TIME, "not_before": None,
    "expires_at": "2026-03-02T12:00:00.000000Z", "profile": None, "rotation_policy_id": "monthly_rotation",
    "published_for": None, "rotation": None, "rotated_at": None,
}  # fmt: skip


class KeyBody(Body):
    """A key's metadata."""

    model_config = example(**_KEY)

    key_id: Annotated[str, shown(pattern=KEY_ID_PATTERN)]
    version: Annotated[int, Field(description="Number of the version that serves.")]
    tenant: str
    type: KeyType
    scope: KeyScope
    length: Annotated[int, Field(description="Size of the secret in bits.")]
    algorithm: Annotated[Algorithm | None, Field(description="How a signing key signs; null for tokens.")]
    state: KeyState
    state_changed_at: Time
    reason: RevocationReason | None
    name: str | None
    owner: str | None
    prefix: str | None
    permissions: list[str]
    allowed_ips: list[str]
    metadata: dict[str, Any]
    tags: list[str]
    recoverable: bool
    created_at: Time
    updated_at: Time
    not_before: Time | None
    expires_at: Time | None
    profile: ProfileBody | None
    rotation_policy_id: Annotated[str | None, Field(description="The rotation policy that it follows.")]
    published_for: Annotated[
        int | None, Field(description="Seconds for which a version stays in the JWKS once it signs no more.")
    ]
    rotation: Annotated[str | None, Field(description="The id of the rotation that is under way.")]
    rotated_at: Annotated[Time | None, Field(description="When the version that serves took over.")]


class IssuedKeyBody(KeyBody):
    """A new key, with its secret: the only time that it is shown. Of a key pair there is the public key instead."""

    model_config = example(**_KEY, key=EXAMPLE_TOKEN, public_key=None)

    key: Annotated[
        str | None,
        Field(
            description="The secret: a whole token, or the material of an HMAC key; null for a key pair and an import."
        ),
    ]
    public_key: Annotated[str | None, Field(description="The public half of a key pair, as PEM.")]


class KeyListBody(Body):
    """Some keys, newest first."""

    model_config = example(items=[_KEY], next_cursor=None)

    items: list[KeyBody]
    next_cursor: Annotated[str | None, Field(description="Leads on to those after them; null at the end.")]


class OwnerRevokedBody(Body):
    """How many of the owner's keys were brought after their owner."""

    model_config = example(owner="user_42", revoked=3)

    owner: str
    revoked: int


class GatewayProblem(Body):
    """Problem details (RFC 9457) of a refusal on a gateway's behalf: the same to the byte each time."""

    type: Annotated[str, Field(examples=["urn:keyturn:problem:not_found"])]
    title: str
    status: int
    detail: Annotated[str, Field(description="What is wrong, for people.")]
    code: Annotated[str, Field(description="What is wrong, for programs.", examples=["not_found"])]
    fix: Annotated[str, Field(description="What to do about it.")]
    field: Annotated[str, Field(description="The part of the request that is wrong, where there is one.")] = (
        ""
    )


class ProblemBody(GatewayProblem):
    """Problem details (RFC 9457)."""

    request_id: Annotated[str, Field(description="As in X-Request-Id, and in the server's log.")]
