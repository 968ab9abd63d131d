"""Keys, their versions, and their owners: the values that rows hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum, IntEnum
from typing import Final

from keyturn.domain.lifecycle import Act, KeyState, RevocationReason, next_state
from keyturn.domain.requirement import Requirement
from keyturn.domain.scope import KeyScope

HANDLE_MARK: Final = "~"  # before the handle of an imported token: no base62 digit, and after all of them


class KeyType(Enum):
    """What a key is for. One key, one purpose (OWASP Key Management, Key Usage)."""

    HMAC = "hmac"
    RSA = "rsa"
    ECDSA = "ecdsa"
    JWT = "jwt"
    API_TOKEN = "api_token"
    PROVISIONING = "provisioning"

    @property
    def is_token(self) -> bool:
        """Whether its holder presents it: tokens are stored as digests, the others as sealed material."""
        return self in (KeyType.API_TOKEN, KeyType.PROVISIONING)


class KeyLength(IntEnum):
    """Size of the secret in bits; which sizes a type has is decided where it is generated."""

    BITS_128 = 128
    BITS_256 = 256
    BITS_384 = 384
    BITS_521 = 521
    BITS_2048 = 2048
    BITS_3072 = 3072
    BITS_4096 = 4096
    BITS_8192 = 8192


class Algorithm(Enum):
    """How a key signs, by its name in JOSE (RFC 7518, RFC 8037)."""

    HS256 = "HS256"
    HS512 = "HS512"
    PS256 = "PS256"
    PS384 = "PS384"
    PS512 = "PS512"
    RS256 = "RS256"
    ES256 = "ES256"
    ES384 = "ES384"
    ES512 = "ES512"
    EDDSA = "EdDSA"

    @property
    def is_symmetric(self) -> bool:
        """Whether who verifies holds the secret too."""
        return self in (Algorithm.HS256, Algorithm.HS512)


class Hashed(Enum):
    """What a version keeps of a token that was issued elsewhere."""

    KEYED_SHA256 = "keyed-sha256"
    KEYED_SHA512 = "keyed-sha512"
    SEALED = "sealed"  # a salted or a password hash, which only its own computation can compare

    @property
    def is_keyed(self) -> bool:
        """Whether it is a digest under the keyring's look-up key: one look-up finds it."""
        return self is not Hashed.SEALED


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key: identity, policy and state. Its secret material is in its versions.

    Attributes:
        owner: the caller's own id for who holds the key.
        owner_row: id of the owner's row, which exists once the owner has been revoked.
        owner_epoch: the owner's epoch when the key was issued; the key holds only while the owner's row says the same.
        permissions: grants.
        algorithm: how it signs; None for tokens.
        allowed_ips: addresses and networks; empty for any.
        version: number of the version that serves.
        newest: number of the newest version, where that is not the one that serves; None otherwise.
        rotation_policy_id: the rotation policy that the key follows, whatever others select; None for none.
        published_for: seconds for which a version stays in the tenant's JWKS once it signs no more, and the longest
            that a token may last; None for a key that is not published.
        rotation: id of the rotation that is under way; None for none.
        rotated_at: when the version that serves took over from another; None for the first one.
        due_from: what a rotation schedule counts from; None for `created_at`.
        expires_at: exclusive: at that instant the key no longer verifies.
        profile: what a gateway that calls with this provisioning key always requires of its clients' keys.
    """

    key_id: str
    tenant: str
    revision: int = 1
    type: KeyType
    scope: KeyScope
    length: KeyLength
    algorithm: Algorithm | None = None
    state: KeyState = KeyState.ACTIVE
    state_changed_at: datetime
    reason: RevocationReason | None = None
    name: str | None = None
    owner: str | None = None
    owner_row: str | None = None
    owner_epoch: int = 0
    prefix: str | None = None
    permissions: tuple[str, ...] = ()
    allowed_ips: tuple[str, ...] = ()
    metadata: Mapping[str, object] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    recoverable: bool = False
    version: int = 1
    newest: int | None = None
    rotation_policy_id: str | None = None
    published_for: int | None = None
    rotation: str | None = None
    rotated_at: datetime | None = None
    due_from: datetime | None = None
    created_at: datetime
    updated_at: datetime
    not_before: datetime | None = None
    expires_at: datetime | None = None
    profile: Requirement | None = None

    @property
    def row_id(self) -> str:
        """Id of the key's row."""
        return self.key_id

    def after(self, act: Act, now: datetime, reason: RevocationReason | None = None) -> Key:
        """The key once `act` has happened; IllegalTransitionError where its state does not allow it."""
        return replace(
            self,
            state=next_state(self.state, act),
            state_changed_at=now,
            updated_at=now,
            revision=self.revision + 1,
            reason=reason if reason is not None else self.reason,
        )

    @property
    def newest_version(self) -> int:
        """How many versions there have been; the newest need not serve yet, or not any more."""
        return self.version if self.newest is None else self.newest

    @property
    def counted_from(self) -> datetime:
        """What a rotation schedule counts from."""
        return self.created_at if self.due_from is None else self.due_from

    @property
    def has_run_out(self) -> bool:
        """Whether its end was its expiry, as housekeeping has recorded: a revocation always has a reason."""
        return self.state is KeyState.DEACTIVATED and self.reason is None

    def is_expired(self, now: datetime) -> bool:
        """Whether `now` is at or past the expiry."""
        return self.expires_at is not None and now >= self.expires_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One generation of a key's secret.

    Attributes:
        credential_id: the public handle inside a token, or the pseudonym that an imported one is looked up by; None
            where the holder presents nothing.
        digest: SHA-256 of the whole token; of an imported one what `hashed` says; None where there is none.
        hashed: how an imported token is kept; None for tokens that were issued here, and where there is none.
        custody: where material that may come back lives (`sealed`: in the row, encrypted); None where it may not.
        algorithm: how this version signs; None for tokens.
        public_key: of a key pair, as DER (SubjectPublicKeyInfo).
        material: the sealed material itself, outside the row's body.
    """

    key_id: str
    tenant: str
    number: int
    revision: int = 1
    type: KeyType
    state: KeyState = KeyState.ACTIVE
    state_changed_at: datetime
    credential_id: str | None = None
    digest: bytes | None = None
    hashed: Hashed | None = None
    custody: str | None = None
    algorithm: Algorithm | None = None
    public_key: bytes | None = None
    created_at: datetime
    expires_at: datetime | None = None
    material: bytes | None = None

    @property
    def row_id(self) -> str:
        """Id of the version's row."""
        return f"{self.key_id}.{self.number}"

    @property
    def has_run_out(self) -> bool:
        """Whether its end was that of an overlap, as the rotation has recorded."""
        ran_out = self.expires_at is not None and self.state_changed_at >= self.expires_at
        return ran_out and self.state is KeyState.DEACTIVATED

    def after(self, act: Act, now: datetime) -> Version:
        """The version once `act` has happened; a destroyed one has no material left.

        Its digest stays: it cannot be turned back into the token, and it lets a destroyed token be told from a
        stranger's.
        """
        state = next_state(self.state, act)
        changed = replace(self, state=state, state_changed_at=now, revision=self.revision + 1)
        if state is KeyState.DESTROYED:
            return replace(changed, custody=None, material=None)
        return changed


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """An owner that has been revoked at least once; keys issued under an earlier epoch do not verify."""

    row_id: str
    tenant: str
    id: str
    revision: int = 1
    epoch: int
    revoked_at: datetime
    reason: RevocationReason
