"""Signing and verifying with stored keys.

    signature = signer.sign(key_id, b"the bytes", by)
    signer.verify(key_id, b"the bytes", signature.value, by)          # true, or says why not

A key's row is read each time, so what was revoked signs nothing from its commit on, on every node. What was signed
before still verifies (SP 800-57 part 1, section 5.3), unless the key is in wrong hands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from keyturn.crypto import signatures
from keyturn.crypto.key_pairs import public_key_of
from keyturn.crypto.randomness import random_bytes
from keyturn.domain.bytestext import to_base64url
from keyturn.domain.ids import KEY, is_id
from keyturn.domain.key import Algorithm, Key, KeyType, Owner, Version
from keyturn.domain.lifecycle import KeyState, RevocationReason, may_process
from keyturn.domain.principal import Principal
from keyturn.domain.rotation.policy import WHOLE
from keyturn.domain.scope import KeyScope
from keyturn.domain.signature_check import SignatureCheck, SignatureCode
from keyturn.domain.spec import MAX_LIFETIME
from keyturn.domain.verdict import Code
from keyturn.errors import (
    ForbiddenError,
    IllegalTransitionError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
)
from keyturn.issuing.keys import Keys, Together
from keyturn.issuing.material import material_of
from keyturn.ports.clock import Clock
from keyturn.records.records import Records
from keyturn.signing import jwt
from keyturn.verifier.uses import Named, Uses

MAX_DATA_BYTES: Final = 524_288  # what is larger is hashed by the caller, and the hash is signed
MAX_SIGNATURE_BYTES: Final = 2_048  # RSA with 8,192 bits has 1,024


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature, and what made it."""

    value: bytes
    key_id: str
    version: int
    algorithm: Algorithm


@dataclass(frozen=True, slots=True)
class SignedJwt:
    """A signed token, and what signed it."""

    token: str
    key_id: str
    version: int
    algorithm: Algorithm


class Signer:
    """Signs and verifies for callers of one process."""

    def __init__(self, *, records: Records, keys: Keys, uses: Uses, clock: Clock) -> None:
        self._records = records
        self._keys = keys
        self._uses = uses
        self._clock = clock

    def sign(self, key_id: str, data: bytes, by: Principal) -> Signature:
        """A signature over up to 512 KiB.

        ForbiddenError where the key's scope lacks write, IllegalTransitionError where the key is not in service.
        InvalidInputError where a published key's signature would make a token of the data.
        """
        key, version = self._signing(key_id, by, "signs data")
        checked = _checked_data(data)
        if key.published_for is not None:
            _require_no_token(checked)
        value = self._signed(key, version, checked)
        return Signature(value, key.key_id, version.number, _algorithm(version))

    def sign_jwt(
        self,
        key_id: str,
        claims: Mapping[str, Any],
        by: Principal,
        *,
        expires_in: int | None = None,
        issuer: str | None = None,
        audience: str | None = None,
        typ: str = jwt.DEFAULT_TYP,
    ) -> SignedJwt:
        """A token with these claims, `iat` and, `expires_in` seconds from now, `exp`. Errors as for `sign`.

        One of a published key has an `exp`: as long as the key is published for, unless it is to end before.
        """
        key, version = self._signing(key_id, by, "signs claims", is_jwt=True)
        algorithm = _algorithm(version)
        complete = self._with_times(claims, expires_in, key.published_for)
        complete = jwt.with_parties(complete, issuer, audience)
        signed = jwt.signing_input(algorithm, version.row_id, complete, typ)
        value = signatures.side_by_side(algorithm, self._signed(key, version, signed))
        token = f"{signed.decode()}.{to_base64url(value)}"
        return SignedJwt(token, key.key_id, version.number, algorithm)

    def verify(
        self, key_id: str, data: bytes, signature: bytes, by: Principal, *, version: int | None = None
    ) -> SignatureCheck:
        """Whether `signature` over `data` is of the key's version of that number.

        When absent, of the one that serves, or of the other one of a rotation that lets both sign or verify.
        """
        found, numbers = self._verifying(key_id, by, version)
        key = found.key
        _require_kind(key, "verifies signatures over data", is_jwt=False)
        _require_reading(key)
        checked = _checked_data(data)
        if not isinstance(signature, bytes):
            raise InvalidInputError("a signature is bytes", field="signature")
        answers = (self._checked(found, number, checked, signature) for number in numbers)
        first = next(answers)
        return first or next((answer for answer in answers if answer), first)

    def _verifying(self, key_id: str, by: Principal, number: int | None) -> tuple[Together, tuple[int, ...]]:
        """A key, and the numbers of the versions that may have signed what is to be verified."""
        if number is not None:
            return self._keys.together(by.tenant, key_id, (number,)), (number,)
        found = self._keys.together(by.tenant, key_id)
        if found.rotation is None:
            return found, (found.key.version,)
        numbers = found.rotation.verifying
        return self._keys.together(by.tenant, key_id, numbers), numbers

    def _checked(self, found: Together, number: int, data: bytes, signature: bytes) -> SignatureCheck:
        key, version = found.key, found.versions[number]
        code = _standing(key, version, found.owner)
        if code is SignatureCode.VALID and not self._holds(key, version, data, signature):
            code = SignatureCode.INVALID_SIGNATURE
        return self._answer(code, key, version)

    def verify_jwt(
        self,
        token: str,
        by: Principal,
        *,
        key_id: str | None = None,
        issuer: str | None = None,
        audience: str | None = None,
        typ: str = jwt.DEFAULT_TYP,
    ) -> SignatureCheck:
        """Whether a token was signed by one of the tenant's keys, of this id where one is given, and is in its time.

        It must also be of this type, by this issuer where one is given, and for this audience: without one, a token
        that names an audience is refused, for it is meant for somebody else (RFC 7519, section 4.1.3).
        """
        expected = jwt.Expected(issuer, audience, typ)
        if not isinstance(token, str):
            raise InvalidInputError("a token is text", field="token", fix="Decode what was sent.")
        parsed = jwt.parse(token)
        if parsed is None:
            return SignatureCheck(SignatureCode.MALFORMED)
        named = self._named(parsed, by, key_id)
        if named is None:
            return SignatureCheck(SignatureCode.NOT_FOUND)
        key, version, owner = named
        _require_reading(key)
        code = self._judged(parsed, key, version, owner)
        code = expected.code(parsed) if code is SignatureCode.VALID else code
        return self._answer(code, key, version, parsed.claims if code is SignatureCode.VALID else None)

    def _named(
        self, parsed: jwt.ParsedJwt, by: Principal, key_id: str | None
    ) -> tuple[Key, Version, Owner | None] | None:
        """The key and the version that a token's `kid` names; None for one that is not, or not of the id given."""
        named, _, digits = parsed.kid.partition(".")
        is_number = digits.isascii() and digits.isdecimal()
        if not is_id(KEY, named) or not is_number or key_id not in (None, named):
            return None
        number = int(digits[:10])
        try:
            found = self._keys.together(by.tenant, named, (number,))
        except NotFoundError:
            return None
        version = found.versions[number]
        is_named = found.key.type is KeyType.JWT and version.row_id == parsed.kid
        return (found.key, version, found.owner) if is_named else None

    def _judged(
        self, parsed: jwt.ParsedJwt, key: Key, version: Version, owner: Owner | None
    ) -> SignatureCode:
        algorithm = _algorithm(version)
        standing = _standing(key, version, owner)
        if standing is not SignatureCode.VALID:
            return standing
        signature = signatures.from_side_by_side(algorithm, parsed.signature)
        if parsed.algorithm != algorithm.value or signature is None:
            return SignatureCode.INVALID_SIGNATURE
        if not self._holds(key, version, parsed.signed, signature):
            return SignatureCode.INVALID_SIGNATURE
        return jwt.time_code(parsed.claims, self._clock.now())

    def _with_times(
        self, claims: Mapping[str, Any], expires_in: int | None, published_for: int | None
    ) -> dict[str, Any]:
        if not isinstance(claims, Mapping):
            raise InvalidInputError("claims are an object of JSON", field="claims")
        now = int(self._clock.now().timestamp())
        complete = {"iat": now, **claims}
        if expires_in is None and "exp" not in claims:
            expires_in = published_for
        if published_for is not None:
            _require_within(published_for, now, claims.get("exp"), expires_in)
        if expires_in is None:
            return complete
        longest = MAX_LIFETIME.total_seconds()
        if type(expires_in) is not int or not 1 <= expires_in <= longest or "exp" in claims:
            raise InvalidInputError(
                "expires_in is a whole number of seconds from 1 to a century, for claims without exp",
                field="expires_in",
            )
        return {**complete, "exp": now + expires_in}

    def _signing(self, key_id: str, by: Principal, what: str, *, is_jwt: bool = False) -> tuple[Key, Version]:
        """A key in service, which may sign, and the version that is to make this signature."""
        found = self._keys.together(by.tenant, key_id)
        key = found.key
        _require_kind(key, what, is_jwt=is_jwt)
        if not key.scope.covers(KeyScope.WRITE):
            raise ForbiddenError(
                f"a key of scope {key.scope.value} does not sign",
                fix="Use one whose scope has write: write, read_write or full.",
            )
        version = found.versions[key.version if found.rotation is None else _drawn(found.rotation.signing)]
        if not found.is_in_service(version, self._clock.now()):
            raise IllegalTransitionError("the key is not in service: it signs nothing")
        if found.is_owner_revoked:
            raise IllegalTransitionError("the key's owner was revoked: it signs nothing")
        return key, version

    def _signed(self, key: Key, version: Version, data: bytes) -> bytes:
        value = signatures.sign(_algorithm(version), material_of(self._records, key, version), data)
        self._count(key, version, Code.VALID)
        return value

    def _holds(self, key: Key, version: Version, data: bytes, signature: bytes) -> bool:
        if len(signature) > MAX_SIGNATURE_BYTES:
            return False
        algorithm = _algorithm(version)
        if algorithm.is_symmetric:
            return signatures.is_hmac_of(algorithm, material_of(self._records, key, version), data, signature)
        if version.public_key is None:
            raise IntegrityError("a version of a key pair has no public key")
        return signatures.is_signed_by(algorithm, public_key_of(version.public_key), data, signature)

    def _answer(
        self, code: SignatureCode, key: Key, version: Version, claims: dict[str, Any] | None = None
    ) -> SignatureCheck:
        return SignatureCheck(code, key.key_id, version.number, version.algorithm, claims)

    def _count(self, key: Key, version: Version, code: Code) -> None:
        named = Named(key.tenant, key.key_id, version.number)
        self._uses.count_by_name(named, code, self._clock.nanos(), None)


def _drawn(shares: tuple[tuple[int, int], ...]) -> int:
    """A version's number, drawn by its share in percent."""
    left = int.from_bytes(random_bytes(8), "big") % WHOLE  # the remainder's bias is 2^-57
    for number, share in shares:
        if left < share:
            return number
        left -= share
    raise AssertionError("the shares are less than the whole")


def _require_within(published_for: int, now: int, exp: object, expires_in: object) -> None:
    """What a published key signs ends while others can still verify it."""
    lifetime = exp - now if isinstance(exp, (int, float)) else expires_in
    # What is no number is refused elsewhere.
    if isinstance(lifetime, (int, float)) and lifetime > published_for:
        raise InvalidInputError(
            f"the key is published for {published_for} seconds, and the token would outlast that",
            field="claims.exp" if exp is not None else "expires_in",
            fix="Let it end sooner, or give the key a longer published_for.",
        )


def _require_no_token(data: bytes) -> None:
    """What everybody may verify with signs no token but by `sign_jwt`, which holds it to its time."""
    if jwt.may_be_signed_for(data):
        raise InvalidInputError(
            "the key is published, and with its signature these data would be a token without bounds",
            field="data",
            fix="Let a key of type jwt sign tokens from their claims; for other uses, sign a hash of the data.",
        )


def _require_kind(key: Key, what: str, *, is_jwt: bool) -> None:
    if key.type.is_token:
        raise InvalidInputError(
            f"a key of type {key.type.value} is presented, and no such key {what}",
            field="key_id",
            fix="Use a key of type hmac, rsa, ecdsa or jwt.",
        )
    if (key.type is KeyType.JWT) is not is_jwt:
        fix = (
            "Send claims, or a token." if key.type is KeyType.JWT else "Send data, or use a key of type jwt."
        )
        raise InvalidInputError(f"no key of type {key.type.value} {what}", field="key_id", fix=fix)


def _require_reading(key: Key) -> None:
    if not key.scope.covers(KeyScope.READ):
        raise ForbiddenError(
            f"a key of scope {key.scope.value} does not verify signatures",
            fix="Use one whose scope has read: read, read_write or full.",
        )


def _standing(key: Key, version: Version, owner: Owner | None) -> SignatureCode:
    """Whether signatures of the key still count."""
    is_exposed = owner is not None and owner.reason is RevocationReason.KEY_COMPROMISE
    if owner is not None and owner.epoch != key.owner_epoch and is_exposed:
        return SignatureCode.REVOKED
    if may_process(key.state, version.state):
        return SignatureCode.VALID
    if KeyState.SUSPENDED in (key.state, version.state):
        return SignatureCode.SUSPENDED
    return SignatureCode.REVOKED


def _checked_data(data: bytes) -> bytes:
    if not isinstance(data, bytes) or len(data) > MAX_DATA_BYTES:
        raise InvalidInputError(
            f"data are at most {MAX_DATA_BYTES:,} bytes",
            field="data",
            fix="Hash what is larger, and sign the hash.",
        )
    return data


def _algorithm(version: Version) -> Algorithm:
    if version.algorithm is None:
        raise IntegrityError("a version of a signing key has no algorithm")
    return version.algorithm
