"""Making the secret material of each type of key."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias, assert_never

from keyturn.crypto.digests import token_digest
from keyturn.crypto.key_pairs import (
    make_elliptic_key,
    make_rsa_key,
    private_key_of,
    private_pem,
    public_der,
)
from keyturn.crypto.randomness import random_base62, random_bytes
from keyturn.domain import ids, token
from keyturn.domain.bytestext import to_base64url
from keyturn.domain.key import Algorithm, KeyLength, KeyType
from keyturn.domain.secret import Secret
from keyturn.domain.spec import KeySpec

RsaKeys: TypeAlias = Callable[[int], bytes]
"""Gives the DER of a fresh RSA key of so many bits: `make_rsa_key`, or somebody who has made some ahead."""


class Material(NamedTuple):
    """Fresh secret material, and what of it may be known."""

    secret: Secret
    credential_id: str | None = None
    digest: bytes | None = None
    public_key: bytes | None = None


def new_key_id() -> str:
    """A fresh key_id: 131 random bits."""
    return ids.build(ids.KEY, random_base62(ids.ID_CHARACTERS))


def generate_material(spec: KeySpec, rsa_keys: RsaKeys = make_rsa_key) -> Material:
    """Material for a key of this specification."""
    match spec.type:
        case KeyType.API_TOKEN | KeyType.PROVISIONING:
            assert spec.prefix is not None
            return _token(spec.prefix, token.SECRET_LENGTHS[spec.length])
        case KeyType.HMAC | KeyType.RSA | KeyType.ECDSA | KeyType.JWT:
            assert spec.algorithm is not None
            return _signing(spec.algorithm, spec.length, rsa_keys)
        case _:
            assert_never(spec.type)


def _signing(algorithm: Algorithm, length: KeyLength, rsa_keys: RsaKeys) -> Material:
    match algorithm:
        case Algorithm.HS256 | Algorithm.HS512:
            return Material(Secret(to_base64url(random_bytes(length // 8))))
        case Algorithm.PS256 | Algorithm.PS384 | Algorithm.PS512 | Algorithm.RS256:
            return key_pair(rsa_keys(int(length)))
        case Algorithm.ES256 | Algorithm.ES384 | Algorithm.ES512 | Algorithm.EDDSA:
            return key_pair(make_elliptic_key(algorithm, length))
        case _:
            assert_never(algorithm)


def key_pair(der: bytes) -> Material:
    """The material of a private key."""
    return Material(private_pem(der), public_key=public_der(private_key_of(der).public_key()))


def _token(prefix: str, characters: int) -> Material:
    drawn = random_base62(token.CREDENTIAL_ID_LENGTH + characters)
    credential_id, secret = drawn[: token.CREDENTIAL_ID_LENGTH], drawn[token.CREDENTIAL_ID_LENGTH :]
    text = token.build(prefix, credential_id, secret)
    return Material(Secret(text), credential_id, token_digest(text))
