"""Public keys as JSON Web Keys (RFC 7517, RFC 7518 section 6, RFC 8037)."""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyturn.crypto.key_pairs import public_key_of
from keyturn.domain.bytestext import to_base64url
from keyturn.domain.key import Algorithm

_CURVES: Final = {256: "P-256", 384: "P-384", 521: "P-521"}

Jwk = dict[str, str]


def public_jwk(kid: str, algorithm: Algorithm, der: bytes) -> Jwk:
    """The JWK of a public key that this program wrote as DER; there is no private member to leave out.

    IntegrityError for what is no public key.
    """
    key = public_key_of(der)
    named = {"kid": kid, "use": "sig", "alg": algorithm.value}
    if isinstance(key, ed25519.Ed25519PublicKey):
        raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return {"kty": "OKP", **named, "crv": "Ed25519", "x": to_base64url(raw)}
    if isinstance(key, ec.EllipticCurvePublicKey):
        bits, point = key.key_size, key.public_numbers()
        x, y = (number.to_bytes((bits + 7) // 8, "big") for number in (point.x, point.y))
        return {"kty": "EC", **named, "crv": _CURVES[bits], "x": to_base64url(x), "y": to_base64url(y)}
    numbers = key.public_numbers()
    return {"kty": "RSA", **named, "n": _unsigned(numbers.n), "e": _unsigned(numbers.e)}


def _unsigned(number: int) -> str:
    return to_base64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))
