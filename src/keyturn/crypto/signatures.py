"""Signatures over bytes.

| algorithm | signature |
|---|---|
| HS256, HS512 | HMAC (RFC 2104) |
| PS256, PS384, PS512 | RSASSA-PSS with MGF1 over the same hash and a salt as long as the hash (RFC 8017) |
| RS256 | RSASSA-PKCS1-v1_5 (RFC 8017) |
| ES256, ES384, ES512 | ECDSA as DER, or in a JWT as the two numbers side by side (RFC 7518, section 3.4) |
| EdDSA | Ed25519 (RFC 8032) |
"""

from __future__ import annotations

import hmac
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from keyturn.crypto.key_pairs import PublicKey, private_key_of
from keyturn.domain.key import Algorithm
from keyturn.domain.secret import Secret

_HASHES: Final = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_NUMBER_BYTES: Final = {Algorithm.ES256: 32, Algorithm.ES384: 48, Algorithm.ES512: 66}


def sign(algorithm: Algorithm, material: Secret, data: bytes) -> bytes:
    """A signature over `data` with sealed material: an HMAC key's bytes, or a private key's DER."""
    if algorithm.is_symmetric:
        return _hmac(algorithm, material, data)
    key = private_key_of(material.reveal_bytes())
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(_hash(algorithm)))
    return key.sign(data, _padding(algorithm), _hash(algorithm))


def is_hmac_of(algorithm: Algorithm, material: Secret, data: bytes, signature: bytes) -> bool:
    """Whether `signature` is the HMAC over `data`, compared in constant time."""
    return hmac.compare_digest(_hmac(algorithm, material, data), signature)


def is_signed_by(algorithm: Algorithm, key: PublicKey, data: bytes, signature: bytes) -> bool:
    """Whether `signature` over `data` was made with the private key of `key`."""
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, data)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, ec.ECDSA(_hash(algorithm)))
        else:
            key.verify(signature, data, _padding(algorithm), _hash(algorithm))
    except InvalidSignature:
        return False
    return True


def side_by_side(algorithm: Algorithm, signature: bytes) -> bytes:
    """A signature as a JWT carries it: ECDSA's two numbers at full length, all others as they are."""
    size = _NUMBER_BYTES.get(algorithm)
    if size is None:
        return signature
    first, second = decode_dss_signature(signature)
    return first.to_bytes(size, "big") + second.to_bytes(size, "big")


def from_side_by_side(algorithm: Algorithm, signature: bytes) -> bytes | None:
    """The reverse; None for what has another length."""
    size = _NUMBER_BYTES.get(algorithm)
    if size is None:
        return signature
    if len(signature) != 2 * size:
        return None
    numbers = (int.from_bytes(half, "big") for half in (signature[:size], signature[size:]))
    return encode_dss_signature(*numbers)


def _hmac(algorithm: Algorithm, material: Secret, data: bytes) -> bytes:
    return hmac.digest(material.reveal_bytes(), data, f"sha{algorithm.value[2:]}")


def _hash(algorithm: Algorithm) -> hashes.HashAlgorithm:
    return _HASHES[algorithm.value[2:]]


def _padding(algorithm: Algorithm) -> padding.AsymmetricPadding:
    if algorithm is Algorithm.RS256:
        return padding.PKCS1v15()
    return padding.PSS(padding.MGF1(_hash(algorithm)), _hash(algorithm).digest_size)
