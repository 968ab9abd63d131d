"""Making the secret material of each type of key."""

from __future__ import annotations

from typing import Final, NamedTuple, assert_never

from keyturn.crypto.digests import token_digest
from keyturn.crypto.randomness import random_base62, random_bytes
from keyturn.domain import ids, token
from keyturn.domain.bytestext import to_base64url
from keyturn.domain.key import KeyLength, KeyType
from keyturn.domain.secret import Secret
from keyturn.errors import InvalidInputError

_SECRET_CHARACTERS: Final = {
    KeyLength.BITS_128: 22,
    KeyLength.BITS_256: 43,
    KeyLength.BITS_4096: 688,
    KeyLength.BITS_8192: 1_376,
}


class Material(NamedTuple):
    """Fresh secret material, and what of it may be known."""

    secret: Secret
    credential_id: str | None = None
    digest: bytes | None = None


def new_key_id() -> str:
    """A fresh key_id: 131 random bits."""
    return ids.build(ids.KEY, random_base62(ids.ID_CHARACTERS))


def generate_material(key_type: KeyType, length: KeyLength, prefix: str | None) -> Material:
    """Material for a key of this type; InvalidInputError for the types that this version does not make."""
    match key_type:
        case KeyType.API_TOKEN | KeyType.PROVISIONING:
            assert prefix is not None
            return _token(prefix, _SECRET_CHARACTERS[length])
        case KeyType.HMAC:
            return Material(Secret(to_base64url(random_bytes(length // 8))))
        case KeyType.RSA | KeyType.ECDSA | KeyType.JWT:
            raise InvalidInputError(f"this version makes no {key_type.value} keys", field="type")
        case _:
            assert_never(key_type)


def _token(prefix: str, characters: int) -> Material:
    drawn = random_base62(token.CREDENTIAL_ID_LENGTH + characters)
    credential_id, secret = drawn[: token.CREDENTIAL_ID_LENGTH], drawn[token.CREDENTIAL_ID_LENGTH :]
    text = token.build(prefix, credential_id, secret)
    return Material(Secret(text), credential_id, token_digest(text))
