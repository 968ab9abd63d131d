"""What somebody asks for when a key is made: checked once, here, whoever asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, cast

from keyturn.domain import fields
from keyturn.domain.algorithms import chosen
from keyturn.domain.instants import to_micros
from keyturn.domain.key import Algorithm, KeyLength, KeyType
from keyturn.domain.publishing import check_may_be_published, check_published_for
from keyturn.domain.requirement import Requirement, check_profile
from keyturn.domain.scope import KeyScope
from keyturn.domain.secret import Secret
from keyturn.domain.token import DEFAULT_PREFIX
from keyturn.errors import InvalidInputError

UNSAID: Final = cast(KeyLength, None)  # a length that is filled in when the specification is made
MAX_LIFETIME: Final = timedelta(days=36_525)  # a century: longer is a mistyped unit


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySpec:
    """A key to be made: its policy, without identity or material.

    `length` is the size of the secret in bits, `algorithm` how a signing key signs; what is not given is filled in.
    `prefix` is for tokens, `kt` when not given; `profile` is for a gateway's provisioning key. InvalidInputError, which
    names the field, for anything out of bounds.
    """

    type: KeyType
    scope: KeyScope
    length: KeyLength = UNSAID
    algorithm: Algorithm | None = None
    is_imported: bool = False
    name: str | None = None
    owner: str | None = None
    prefix: str | None = None
    permissions: tuple[str, ...] = ()
    allowed_ips: tuple[str, ...] = ()
    metadata: Mapping[str, object] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    recoverable: bool = False
    not_before: datetime | None = None
    expires_at: datetime | None = None
    profile: Requirement | None = None
    rotation_policy_id: str | None = None
    published_for: int | None = None

    def __post_init__(self) -> None:
        length, algorithm = chosen(self.type, self.length, self.algorithm, is_import=self.is_imported)
        object.__setattr__(self, "length", length)
        object.__setattr__(self, "algorithm", algorithm)
        checked = checked_policy(
            name=self.name,
            owner=self.owner,
            permissions=self.permissions,
            allowed_ips=self.allowed_ips,
            metadata=self.metadata,
            tags=self.tags,
            profile=self.profile,
            rotation_policy_id=self.rotation_policy_id,
            published_for=self.published_for,
        )
        check_may_have_profile(self.type, self.profile)
        check_may_be_published(self.type, self.algorithm, self.published_for)
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if self.type.is_token and self.is_imported:
            self._check_imported_token()
        elif self.type.is_token:
            object.__setattr__(
                self, "prefix", fields.check_prefix(DEFAULT_PREFIX if self.prefix is None else self.prefix)
            )
        elif self.prefix is not None:
            raise InvalidInputError(
                f"a key of type {self.type.value} has no prefix", field="prefix", fix="Leave it out."
            )
        if type(self.recoverable) is not bool:
            raise InvalidInputError("recoverable is true or false", field="recoverable")
        if not self.type.is_token and self.recoverable:
            raise InvalidInputError(
                "recoverable is for tokens",
                field="recoverable",
                fix=f"Leave it out: {self.type.value} material always comes back.",
            )
        check_window(self.not_before, self.expires_at)

    def _check_imported_token(self) -> None:
        check_imported_type(self.type)
        if self.prefix is not None:
            raise InvalidInputError(
                "an imported token has no prefix: it stays as it is", field="prefix", fix="Leave it out."
            )


def check_imported_type(key_type: KeyType) -> None:
    """InvalidInputError for the type of a key that no token from elsewhere can have."""
    if key_type is not KeyType.API_TOKEN:
        raise InvalidInputError(
            "only tokens of type api_token are imported", field="type", fix="Issue another key here instead."
        )


def checked_policy(
    *,
    name: str | None = None,
    owner: str | None = None,
    permissions: tuple[str, ...] = (),
    allowed_ips: tuple[str, ...] = (),
    metadata: Mapping[str, object] | None = None,
    tags: tuple[str, ...] = (),
    profile: Requirement | Mapping[str, object] | None = None,
    rotation_policy_id: str | None = None,
    published_for: int | None = None,
) -> dict[str, object]:
    """The same fields in their canonical form; InvalidInputError for the first that is out of bounds."""
    return {
        "name": None if name is None else fields.check_name(name),
        "owner": None if owner is None else fields.check_owner(owner),
        "permissions": fields.check_permissions(permissions),
        "allowed_ips": fields.check_networks(allowed_ips),
        "metadata": fields.check_metadata({} if metadata is None else metadata),
        "tags": fields.check_tags(tags),
        "profile": None if profile is None else check_profile(profile),
        "rotation_policy_id": None
        if rotation_policy_id is None
        else fields.check_policy_id(rotation_policy_id),
        "published_for": None if published_for is None else check_published_for(published_for),
    }


def check_may_have_profile(key_type: KeyType, profile: object) -> None:
    """InvalidInputError for a profile of a key that no gateway can call with."""
    if profile is not None and key_type is not KeyType.PROVISIONING:
        raise InvalidInputError(
            f"a key of type {key_type.value} has no profile",
            field="profile",
            fix="Leave it out: a profile is for the provisioning key of a gateway.",
        )


def check_window(not_before: datetime | None, expires_at: datetime | None) -> None:
    """InvalidInputError for a time without a zone, or a window that ends before it begins."""
    for name, instant in (("not_before", not_before), ("expires_at", expires_at)):
        if instant is not None:
            check_instant(name, instant)
    if not_before is not None and expires_at is not None and expires_at <= not_before:
        raise InvalidInputError(
            "expires_at is not after not_before", field="expires_at", fix="Choose a later expiry."
        )


def check_instant(name: str, instant: datetime) -> None:
    """InvalidInputError, which names the field, for what is no time with a zone that can be stored."""
    if not isinstance(instant, datetime):
        raise InvalidInputError(f"{name} is no datetime", field=name, fix="Use an aware datetime, in UTC.")
    if instant.tzinfo is None:
        raise InvalidInputError(f"{name} has no time zone", field=name, fix="Use an aware datetime, in UTC.")
    try:
        to_micros(instant)
    except InvalidInputError as error:
        raise InvalidInputError(f"{name}: {error}", field=name, fix="Leave it out to set no bound.") from None


def expiry(now: datetime, expires_in: int | None, expires_at: datetime | None) -> datetime | None:
    """The expiry from either form; InvalidInputError for both at once, or for one that is past or over a century away.

    `expires_in` is in seconds.
    """
    if expires_in is not None:
        if expires_at is not None:
            raise InvalidInputError("expires_in and expires_at exclude each other", field="expires_in")
        if type(expires_in) is not int or not 1 <= expires_in <= MAX_LIFETIME.total_seconds():
            raise InvalidInputError(
                "expires_in is a whole number of seconds from 1 to a century",
                field="expires_in",
                fix="Leave it out for a key that does not expire.",
            )
        return now + timedelta(seconds=expires_in)
    if expires_at is not None:
        check_window(None, expires_at)
        if expires_at <= now:
            raise InvalidInputError(
                "expires_at is in the past", field="expires_at", fix="Choose a later time."
            )
        if expires_at - now > MAX_LIFETIME:
            raise InvalidInputError("expires_at is more than a century away", field="expires_at")
    return expires_at


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedKey:
    """A key that was made and is not stored yet; its secret is here and nowhere else.

    Attributes:
        key_id: what it is called, for good.
        secret: the token; for a signing key its bytes as unpadded base64url, or its private key as PEM (PKCS #8).
        credential_id, digest: the handle inside the token and the token's SHA-256; None for signing keys.
        public_key: of a key pair, as DER (SubjectPublicKeyInfo).
    """

    key_id: str
    spec: KeySpec
    secret: Secret
    credential_id: str | None
    digest: bytes | None
    public_key: bytes | None = None
    created_at: datetime

    @property
    def type(self) -> KeyType:
        """What the key is for."""
        return self.spec.type

    @property
    def scope(self) -> KeyScope:
        """Which actions it covers."""
        return self.spec.scope

    @property
    def expires_at(self) -> datetime | None:
        """When it stops verifying."""
        return self.spec.expires_at
