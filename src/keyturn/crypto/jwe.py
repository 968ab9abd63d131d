"""Encryption to a receiver's public key: JSON Web Encryption (RFC 7516), in its compact form, with A256GCM.

    encrypted(receiver.jwk, Secret('{"key":"…"}'))     # eyJhbGciOiJFQ0RILUVTK0EyNTZLVyIs…

ECDH-ES and ECDH-ES+A256KW on P-256 and X25519 (RFC 7518, section 4.6; RFC 8037), and RSA-OAEP-256. Only encryption:
nothing here ever decrypts, so that of the format's many options there is none to be got wrong. Each call has a content
key, a nonce and where there is an agreement a key pair of its own.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from keyturn.crypto.randomness import random_bytes
from keyturn.domain import canonical
from keyturn.domain.bytestext import from_base64url, to_base64url
from keyturn.domain.secret import Secret
from keyturn.errors import InvalidInputError

ENCRYPTION: Final = "A256GCM"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_RSA_BITS: Final = range(2_048, 8_193)  # RFC 7518, section 4.3
_COORDINATE_BYTES: Final = 32

PublicKey: TypeAlias = ec.EllipticCurvePublicKey | X25519PublicKey | rsa.RSAPublicKey


class _Content(NamedTuple):
    """A content key, how it is conveyed, and what the header says of that."""

    key: bytes
    conveyed: bytes
    header: Mapping[str, object]


def require_usable(jwk: Mapping[str, str]) -> None:
    """InvalidInputError unless something can be encrypted to this key: a point on its curve, an RSA key of its bits."""
    encrypted(jwk, Secret("a trial"))


def encrypted(jwk: Mapping[str, str], payload: Secret) -> str:
    """`payload` for who holds the private half of a key; InvalidInputError for a key that is none."""
    algorithm = jwk["alg"]
    try:
        public = _public_key(jwk)
        content = _conveyed(public) if algorithm == "RSA-OAEP-256" else _agreed(public, algorithm)
    except ValueError:
        raise InvalidInputError(
            "this is no public key: its numbers do not make one",
            field="receiver.public_key",
            fix="Export the public key again, as a JWK.",
        ) from None
    named = {"kid": jwk["kid"]} if "kid" in jwk else {}
    header = {"alg": algorithm, "enc": ENCRYPTION, "cty": "json", **named, **content.header}
    protected = to_base64url(canonical.encode(header).encode())
    nonce = random_bytes(_NONCE_BYTES)
    sealed = AESGCM(content.key).encrypt(nonce, payload.reveal_bytes(), protected.encode())
    parts = (content.conveyed, nonce, sealed[:-_TAG_BYTES], sealed[-_TAG_BYTES:])
    return ".".join((protected, *map(to_base64url, parts)))


def _public_key(jwk: Mapping[str, str]) -> PublicKey:
    numbers = {name: from_base64url(jwk[name]) for name in ("x", "y", "n", "e") if name in jwk}
    match jwk["kty"]:
        case "EC":
            x, y = (int.from_bytes(numbers[name], "big") for name in ("x", "y"))
            return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        case "OKP":
            return X25519PublicKey.from_public_bytes(numbers["x"])
        case _:
            n, e = (int.from_bytes(numbers[name], "big") for name in ("n", "e"))
            if n.bit_length() not in _RSA_BITS:
                raise ValueError("no RSA key of these bits")
            return rsa.RSAPublicNumbers(e, n).public_key()


def _conveyed(public: PublicKey) -> _Content:
    assert isinstance(public, rsa.RSAPublicKey)
    key, sha256 = random_bytes(_KEY_BYTES), hashes.SHA256()
    return _Content(key, public.encrypt(key, padding.OAEP(padding.MGF1(sha256), sha256, None)), {})


def _agreed(public: PublicKey, algorithm: str) -> _Content:
    shared, ephemeral = _exchanged(public)
    header = {"epk": ephemeral}
    if algorithm == "ECDH-ES":
        return _Content(_derived(shared, ENCRYPTION), b"", header)
    key = random_bytes(_KEY_BYTES)
    return _Content(key, aes_key_wrap(_derived(shared, algorithm), key), header)


def _exchanged(public: PublicKey) -> tuple[bytes, dict[str, str]]:
    """What both sides come to share, and the public half that the other side needs for it."""
    if isinstance(public, X25519PublicKey):
        private = X25519PrivateKey.generate()
        ours = private.public_key().public_bytes_raw()
        # ValueError for a point of small order (RFC 7748, section 6.1).
        return private.exchange(public), {"kty": "OKP", "crv": "X25519", "x": to_base64url(ours)}
    assert isinstance(public, ec.EllipticCurvePublicKey)
    pair = ec.generate_private_key(public.curve)
    numbers = pair.public_key().public_numbers()
    x, y = (to_base64url(number.to_bytes(_COORDINATE_BYTES, "big")) for number in (numbers.x, numbers.y))
    return pair.exchange(ec.ECDH(), public), {"kty": "EC", "crv": "P-256", "x": x, "y": y}


def _derived(shared: bytes, algorithm: str) -> bytes:
    """Concat KDF as RFC 7518, section 4.6.2 has it, for 256 bits, with nothing said of the parties."""
    name = algorithm.encode()
    about = struct.pack(">I", len(name)) + name + struct.pack(">III", 0, 0, 8 * _KEY_BYTES)
    return ConcatKDFHash(hashes.SHA256(), _KEY_BYTES, about).derive(shared)
