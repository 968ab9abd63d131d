"""Secret material that must come back: AES-256-GCM, one derived key for each record, committed to.

    0x01 | u32 DEK version | salt (16) | commitment (32) | ciphertext and tag

HKDF-SHA256 turns the DEK and the fresh salt into the key, the nonce and the commitment of this one record, so each key
encrypts once and a ciphertext opens under one key only. The associated data bind it to its place.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keyturn.crypto.keyring import Keyring, sealed_under
from keyturn.crypto.randomness import random_bytes
from keyturn.domain.framing import framed
from keyturn.domain.key import KeyType
from keyturn.domain.secret import Secret
from keyturn.errors import IntegrityError

SEALED: Final = "sealed"  # custody: encrypted, in the version's row
FORMAT: Final = 1
SALT_BYTES: Final = 16
DERIVED_BYTES: Final = 32 + 12 + 32
_INFO: Final = b"keyturn-material-v1"
_HEADER: Final = 1 + 4 + SALT_BYTES + 32


def associated_data(tenant: str, key_id: str, version: int, key_type: KeyType) -> bytes:
    """What binds sealed material to its place: format, tenant, key, version and type."""
    return framed("keyturn-material-v1", tenant, key_id, str(version), key_type.value)


def endpoint_place(tenant: str, endpoint_id: str, generation: int) -> bytes:
    """What binds the sealed secrets of an endpoint to their place, and to the number of the secret."""
    return framed("keyturn-endpoint-v1", tenant, endpoint_id, str(generation))


def place_of(body: Mapping[str, Any]) -> bytes | None:
    """The associated data of the material beside a row's body; None for a row that has no material of this sort."""
    if body.get("kind") == "endpoint":
        return endpoint_place(body["tenant"], body["id"], body["generation"])
    if body.get("kind") != "version" or body.get("custody") != SEALED:
        return None
    return associated_data(body["tenant"], body["key"], body["number"], KeyType(body["type"]))


def seal_material(keyring: Keyring, material: Secret, aad: bytes) -> bytes:
    """`material` sealed for the place that `aad` names."""
    return seal_with(_derived, keyring, material, aad)


def open_material(keyring: Keyring, sealed: bytes, aad: bytes, *, is_own: bool = False) -> Secret:
    """The material; one IntegrityError for every cause: altered, moved, sealed under a retired key or an unknown one.

    What this process sealed itself and has not stored yet (`is_own`) may be under a key that was retired since.
    """
    return open_with(partial(_derived, even_retired=is_own), keyring, sealed, aad)


def reseal_material(keyring: Keyring, sealed: bytes, aad: bytes, *, is_own: bool = False) -> bytes:
    """The same material under the primary data key; `sealed` itself where it is. IntegrityError as for opening it."""
    if sealed_under(sealed) == keyring.primary:
        return sealed
    return seal_material(keyring, open_material(keyring, sealed, aad, is_own=is_own), aad)


Derive = Callable[[Keyring, int, bytes], bytes]
"""From a DEK's version and a salt the DERIVED_BYTES of one record: its key, its nonce and its commitment."""


def seal_with(derive: Derive, keyring: Keyring, secret: Secret, aad: bytes) -> bytes:
    """`secret` sealed as above, under what `derive` gives for the primary DEK and a fresh salt."""
    version, salt = keyring.primary, random_bytes(SALT_BYTES)
    key, nonce, commitment = _parts(derive(keyring, version, salt))
    sealed = AESGCM(key).encrypt(nonce, secret.reveal_bytes(), aad)
    return bytes([FORMAT]) + version.to_bytes(4, "big") + salt + commitment + sealed


def open_with(derive: Derive, keyring: Keyring, sealed: bytes, aad: bytes) -> Secret:
    """What `seal_with` was given with the same `derive`; one IntegrityError for every cause."""
    try:
        if len(sealed) < _HEADER + 16 or sealed[0] != FORMAT:
            raise IntegrityError("sealed material refused")
        version, salt = int.from_bytes(sealed[1:5], "big"), sealed[5 : 5 + SALT_BYTES]
        key, nonce, commitment = _parts(derive(keyring, version, salt))
        if not hmac.compare_digest(commitment, sealed[5 + SALT_BYTES : _HEADER]):
            raise IntegrityError("sealed material refused")
        return Secret(AESGCM(key).decrypt(nonce, sealed[_HEADER:], aad))
    except (InvalidTag, IntegrityError):
        # Wrong key, wrong place and tampering must look alike to the caller.
        raise IntegrityError("sealed material refused") from None


def _derived(keyring: Keyring, version: int, salt: bytes, *, even_retired: bool = False) -> bytes:
    return keyring.derive(version, salt=salt, info=_INFO, length=DERIVED_BYTES, even_retired=even_retired)


def _parts(derived: bytes) -> tuple[bytes, bytes, bytes]:
    return derived[:32], derived[32:44], derived[44:]
