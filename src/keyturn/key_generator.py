"""Making keys.

    generator = SecureKeyGenerator()
    api_key = generator.generate_api_key(
        key_type=KeyType.API_TOKEN, key_scope=KeyScope.READ_WRITE, expires_in=86400 * 30
    )
    hand_over(api_key.secret.reveal())      # the one time that it is known

A generated key verifies nowhere until a store has it: `SecureKeyStore.store_key`.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Unpack, cast

from keyturn.crypto.derivation import (
    PBKDF2_ITERATIONS,
    DerivedKey,
    derive_by_hkdf,
    derive_by_pbkdf2,
)
from keyturn.crypto.digests import token_digest
from keyturn.crypto.edge import edge_row
from keyturn.crypto.foreign_tokens import hash_from, token_from
from keyturn.crypto.generation import Material, RsaKeys, generate_material, new_key_id
from keyturn.crypto.importing import imported, length_of, read_private_key
from keyturn.crypto.integrity import check_material
from keyturn.crypto.key_pairs import make_rsa_key
from keyturn.crypto.slow_hashes import BEFORE
from keyturn.domain import token
from keyturn.domain.foreign import ImportedToken
from keyturn.domain.key import Algorithm, KeyLength, KeyType
from keyturn.domain.scope import KeyScope
from keyturn.domain.secret import Secret
from keyturn.domain.spec import GeneratedKey, KeySpec
from keyturn.domain.verdict import KeyCheck
from keyturn.errors import InvalidInputError, shown
from keyturn.key_policy import KeyPolicy, TokenPolicy, known, spec_of
from keyturn.ports.clock import SYSTEM_CLOCK, Clock

__all__ = [
    "DerivedKey",
    "GeneratedKey",
    "ImportedToken",
    "KeyLength",
    "KeyPolicy",
    "KeyScope",
    "KeyType",
    "Secret",
    "SecureKeyGenerator",
    "TokenPolicy",
]

MAX_BATCH: Final = 10_000


class SecureKeyGenerator:
    """Makes keys from the operating system's randomness. Needs no store and keeps nothing."""

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK, rsa_keys: RsaKeys = make_rsa_key) -> None:
        self._clock = clock
        self._rsa_keys = rsa_keys

    @property
    def rsa_keys(self) -> RsaKeys:
        """Where its RSA keys come from."""
        return self._rsa_keys

    def generate_api_key(
        self,
        key_type: KeyType = KeyType.API_TOKEN,
        key_scope: KeyScope = KeyScope.READ,
        expires_in: int | None = None,
        *,
        length: KeyLength | int | None = None,
        algorithm: Algorithm | str | None = None,
        name: str | None = None,
        owner: str | None = None,
        prefix: str | None = None,
        permissions: Sequence[str] = (),
        allowed_ips: Sequence[str] = (),
        metadata: Mapping[str, object] | None = None,
        tags: Sequence[str] = (),
        recoverable: bool = False,
        not_before: datetime | None = None,
        expires_at: datetime | None = None,
        profile: Mapping[str, object] | None = None,
        rotation_policy_id: str | None = None,
        published_for: int | None = None,
    ) -> GeneratedKey:
        """A fresh key.

        Args:
            key_type: API_TOKEN and PROVISIONING are presented by their holder; HMAC, RSA, ECDSA and JWT sign.
            key_scope: which actions it covers.
            expires_in: lifetime in seconds; None, with no `expires_at`, for a key that does not expire.
            length: bits: 256 when absent, 3072 for RSA; also 128, 4096 and 8192, and 384 and 521 for ECDSA.
            algorithm: how it signs, such as ``PS256``; what suits type and length when absent.
            owner: your own id for who holds it; all keys of an owner can be revoked at once.
            prefix: 1 to 32 of a-z, 0-9 and _ before the token; `kt` when absent.
            permissions: grants such as ``documents.read`` or ``documents.*``.
            allowed_ips: addresses and networks that may present it; empty for any.
            metadata: what every verification of it shall return; JSON without floats, 16 KiB at most.
            recoverable: whether a token can be read back later; it is then stored encrypted.
            profile: for the provisioning key of a gateway: the `scope`, the `permissions` query, or both that it
                requires of every key it asks about.
            rotation_policy_id: the rotation policy that it follows, which the store must have.
            published_for: puts the public half into the tenant's JWKS, and says how many seconds anything that it signs
                may last; None for a key that is not published.

        Raises:
            InvalidInputError: a value is out of bounds; `field` names it and `fix` says what is possible.
        """
        policy = KeyPolicy(
            name=name,
            owner=owner,
            prefix=prefix,
            permissions=permissions,
            allowed_ips=allowed_ips,
            metadata=metadata,
            tags=tags,
            recoverable=recoverable,
            not_before=not_before,
            expires_at=expires_at,
            profile=profile,
            rotation_policy_id=rotation_policy_id,
            published_for=published_for,
        )
        now = self._clock.now()
        spec = spec_of(now, key_type, key_scope, expires_in, policy, length=length, algorithm=algorithm)
        return self.generate(spec)

    def import_key_pair(
        self,
        private_key: Secret | str,
        key_type: KeyType,
        key_scope: KeyScope = KeyScope.READ_WRITE,
        expires_in: int | None = None,
        *,
        algorithm: Algorithm | str | None = None,
        **policy: Unpack[TokenPolicy],
    ) -> GeneratedKey:
        """A key pair that was made elsewhere, under an identity of its own; it is stored as any other.

        Args:
            private_key: PEM, not encrypted. RSA keys of 2,048 bits are taken too.
            algorithm: as for `generate_api_key`; for an Ed25519 or P-256 key of type JWT name it.
            policy: as for `import_token`.

        Raises:
            InvalidInputError: it is no such key; or it is a weak one: RSA that is short, has a small exponent or
                primes that are close, or comes from a chip with the ROCA flaw.
        """
        whole = _whole(policy)
        key = read_private_key(_secret("private_key", private_key))
        spec = spec_of(
            self._clock.now(),
            key_type,
            key_scope,
            expires_in,
            whole,
            length=length_of(key),
            algorithm=algorithm,
            is_imported=True,
        )
        return self._generated(spec, imported(spec, key))

    def import_token(
        self,
        token: Secret | str,
        key_scope: KeyScope = KeyScope.READ,
        expires_in: int | None = None,
        *,
        recoverable: bool = False,
        **policy: Unpack[TokenPolicy],
    ) -> ImportedToken:
        """A token that was issued elsewhere, under a key of its own; it is stored as any other, and stays as it is.

        Args:
            token: 16 to 1,024 printable ASCII characters without spaces.
            recoverable: whether the token can be read back later; it is then stored encrypted.
            policy: `name`, `owner`, `permissions`, `allowed_ips`, `metadata`, `tags`, `not_before` and `expires_at`, as
                for `generate_api_key`.

        Raises:
            InvalidInputError: it is no such text, or a value is out of bounds.

        >>> store.store_key(generator.import_token("old-8f3a61c09be2", owner="user_42"))        # doctest: +SKIP
        """
        spec = self._foreign_spec(key_scope, expires_in, policy, recoverable=recoverable)
        return self.imported_token(spec, token if isinstance(token, Secret) else Secret(token))

    def import_token_hash(
        self,
        digest: Secret | str | bytes,
        key_scope: KeyScope = KeyScope.READ,
        expires_in: int | None = None,
        *,
        algorithm: str = "sha256",
        salt: bytes | str | None = None,
        salt_position: str = BEFORE,
        start: str | None = None,
        **policy: Unpack[TokenPolicy],
    ) -> ImportedToken:
        """A token that was issued elsewhere, and of which a hash was kept there; its holder notices nothing.

        Args:
            digest: bytes, hexadecimal or base64 for SHA-256 and SHA-512; else the text as the other system stores it.
            algorithm: ``sha256``, ``sha512``, ``pbkdf2``, ``scrypt``, ``argon2id`` or ``bcrypt``.
            salt: of a salted SHA-256 or SHA-512; a text stands for its UTF-8.
            salt_position: whether that stands ``before`` or ``after`` the token.
            start: of a salted or a password hash, the first 6 to 32 characters of the token: no two may have the same.
            policy: as for `import_token`.

        Raises:
            InvalidInputError: it is no such hash, or one whose computation costs too much.
            ConfigurationError: bcrypt hashes need the extra ``bcrypt``.
        """
        spec = self._foreign_spec(key_scope, expires_in, policy)
        return self.imported_hash(
            spec,
            _text_of_hash(digest),
            algorithm=algorithm,
            salt=salt.encode() if isinstance(salt, str) else salt,
            salt_position=salt_position,
            start=start,
        )

    def imported_token(self, spec: KeySpec, token: Secret) -> ImportedToken:
        """A token from elsewhere under a checked specification."""
        return token_from(spec, token, self._clock.now())

    def imported_hash(self, spec: KeySpec, text: str, **how: Any) -> ImportedToken:
        """A hash from elsewhere under a checked specification; `how` is as for `import_token_hash`."""
        return hash_from(spec, text, self._clock.now(), **how)

    def _foreign_spec(
        self, scope: KeyScope, expires_in: int | None, policy: TokenPolicy, *, recoverable: bool = False
    ) -> KeySpec:
        whole = _whole(policy)
        whole["recoverable"] = recoverable
        now = self._clock.now()
        return spec_of(now, KeyType.API_TOKEN, scope, expires_in, whole, is_imported=True)

    def export_key_for_supabase(self, key: GeneratedKey) -> dict[str, object]:
        """A row for a verifier at the edge: what it needs to decide, and nothing that could be presented.

        `digest` is the SHA-256 of the whole token, in hexadecimal; of a key pair there is `public_key`, as PEM. Times
        are RFC 3339. An HMAC secret is none to hand to an edge: InvalidInputError.
        """
        return edge_row(_generated_key(key))

    def generate(self, spec: KeySpec) -> GeneratedKey:
        """A fresh key of a checked specification."""
        return self._generated(spec, generate_material(spec, self._rsa_keys))

    def _generated(self, spec: KeySpec, material: Material) -> GeneratedKey:
        return GeneratedKey(
            key_id=new_key_id(),
            spec=spec,
            secret=material.secret,
            credential_id=material.credential_id,
            digest=material.digest,
            public_key=material.public_key,
            created_at=self._clock.now(),
        )

    def generate_batch(
        self,
        count: int,
        key_type: KeyType = KeyType.API_TOKEN,
        key_scope: KeyScope = KeyScope.READ,
        expires_in: int | None = None,
        *,
        length: KeyLength | int | None = None,
        algorithm: Algorithm | str | None = None,
        **policy: Unpack[KeyPolicy],
    ) -> list[GeneratedKey]:
        """`count` fresh keys that are alike but for identity and secret; 1 to 10,000.

        All else is as for `generate_api_key`.
        """
        if type(count) is not int or not 1 <= count <= MAX_BATCH:
            raise InvalidInputError(f"a batch has 1 to {MAX_BATCH:,} keys", field="count")
        known(policy, KeyPolicy)
        now = self._clock.now()
        spec = spec_of(now, key_type, key_scope, expires_in, policy, length=length, algorithm=algorithm)
        return [self.generate(spec) for _ in range(count)]

    def derive_key(
        self,
        material: Secret | str | bytes,
        *,
        method: str = "pbkdf2",
        salt: bytes | None = None,
        iterations: int = PBKDF2_ITERATIONS,
        info: bytes = b"",
        length: int = 32,
    ) -> DerivedKey:
        """A key of `length` bytes derived from a passphrase (`pbkdf2`) or from key material (`hkdf`).

        A fresh salt is drawn for each derivation unless one is given to derive the same key again. For PBKDF2
        `iterations` is at least 100,000; HKDF needs an `info` that names the purpose.
        """
        secret = _secret("material", material)
        if not isinstance(info, bytes):
            raise InvalidInputError("info is bytes", field="info", fix="Encode it: b'...'.")
        if method == "pbkdf2":
            return derive_by_pbkdf2(secret, salt=salt, iterations=iterations, length=length)
        if method == "hkdf":
            if not info:
                raise InvalidInputError("HKDF needs an info that names the purpose of the key", field="info")
            return derive_by_hkdf(secret, info=info, salt=salt, length=length)
        raise InvalidInputError(
            f"unknown method {shown(method)}", field="method", fix="Use 'pbkdf2' or 'hkdf'."
        )

    def verify_key_integrity(self, key: GeneratedKey) -> KeyCheck:
        """Whether a generated key is whole: its token's form, checksum, handle and digest, or its material.

        The material of a pair must be of the key's type and length, and sign for its public key.
        This says that nothing was damaged on the way; whether the key is accepted, only a store can say.
        """
        try:
            text = _generated_key(key).secret.reveal()
        except UnicodeDecodeError:
            return KeyCheck(False, "the secret has been damaged: it is no text")
        if not key.type.is_token:
            return check_material(key, text)
        parsed = token.parse(text)
        if parsed is None:
            return KeyCheck(False, "the token is malformed: its form or its checksum does not hold")
        if key.digest is None or not hmac.compare_digest(token_digest(text), key.digest):
            return KeyCheck(False, "the token is not the one whose digest was kept")
        if (parsed.credential_id, parsed.prefix) != (key.credential_id, key.spec.prefix):
            return KeyCheck(False, "the token carries another key's handle or prefix")
        return KeyCheck(True, "the token is whole")


def _text_of_hash(digest: Secret | str | bytes) -> str:
    """A hash as it is written; the bytes of a plain one as hexadecimal."""
    if isinstance(digest, bytes):
        return digest.hex()
    if isinstance(digest, str):
        return digest
    try:
        return digest.reveal()
    except UnicodeDecodeError:
        return digest.reveal_bytes().hex()


def _whole(policy: TokenPolicy) -> KeyPolicy:
    known(policy, TokenPolicy)
    return cast(KeyPolicy, dict(policy))  # which has no member that it must have


def _generated_key(key: GeneratedKey) -> GeneratedKey:
    if not isinstance(key, GeneratedKey):
        raise InvalidInputError("that is no generated key", fix="Give what generate_api_key returned.")
    return key


def _secret(field: str, value: Secret | str | bytes) -> Secret:
    try:
        return value if isinstance(value, Secret) else Secret(value)
    except (TypeError, UnicodeEncodeError):
        raise InvalidInputError(f"{field} is a Secret, text or bytes", field=field) from None
