"""The local KEK: 32 bytes from the environment, or a passphrase stretched to them.

A wrapped key says all that unwrapping needs but the KEK itself:

    0x01 | form (1 raw, 2 passphrase) | u32 iterations | salt (16) | check value (8) | nonce (12) | ciphertext and tag

The check value is derived from the KEK alone: a wrong KEK is told from an altered row, and named as such.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keyturn.crypto.derivation import PBKDF2_ITERATIONS, SALT_BYTES, derive_by_pbkdf2, hkdf
from keyturn.crypto.randomness import random_bytes
from keyturn.domain.framing import framed
from keyturn.domain.plain import require_plain
from keyturn.domain.secret import Secret
from keyturn.errors import ConfigurationError, IntegrityError, InvalidInputError, WrongKekError
from keyturn.ports.key_wrapper import MAX_WRAPPED_BYTES

KEK_BYTES: Final = 32
MIN_PASSPHRASE: Final = 12  # characters
_RAW: Final = 1
_PASSPHRASE: Final = 2
_HEADER: Final = 1 + 1 + 4 + SALT_BYTES + 8 + 12
_FORMS: Final = "Use 'base64:' or 'hex:' and 32 bytes, or 'passphrase:' and at least 12 characters."


class LocalKeyWrapper:
    """A KeyWrapper over a KEK that this process was given."""

    def __init__(self, kek: Secret, *, is_passphrase: bool = False) -> None:
        if is_passphrase and len(kek.reveal()) < MIN_PASSPHRASE:
            raise ConfigurationError("the passphrase is too short", fix=_FORMS)
        if not is_passphrase and len(kek) != KEK_BYTES:
            raise ConfigurationError(
                f"a key-encryption key has {KEK_BYTES} bytes, not {len(kek)}", fix=_FORMS
            )
        self._kek = kek
        self._form = _PASSPHRASE if is_passphrase else _RAW
        # Stretching takes a fifth of a second, so it is done once for each salt.
        self._stretched: dict[tuple[bytes, int], bytes] = {}
        self._salt = random_bytes(SALT_BYTES)

    @classmethod
    def from_setting(cls, setting: Secret) -> LocalKeyWrapper:
        """The wrapper for a KEY_STORE_ENCRYPTION_KEY; ConfigurationError for anything but its three forms."""
        try:
            form, _, value = require_plain("the key-encryption key", setting.reveal()).partition(":")
        except UnicodeDecodeError:
            raise ConfigurationError("the key-encryption key is no text", fix=_FORMS) from None
        if form == "passphrase":
            return cls(Secret(value), is_passphrase=True)
        try:
            if form == "base64":
                padded = value.rstrip("=") + "=" * (-len(value.rstrip("=")) % 4)
                return cls(
                    Secret(base64.b64decode(padded.replace("-", "+").replace("_", "/"), validate=True))
                )
            if form == "hex":
                return cls(Secret(bytes.fromhex(value)))
        except (binascii.Error, ValueError):
            raise ConfigurationError(f"the key-encryption key is not valid {form}", fix=_FORMS) from None
        raise ConfigurationError("the key-encryption key has no known form", fix=_FORMS)

    @property
    def uri(self) -> str:
        return "local"

    def wrap(self, key: bytes, context: Mapping[str, str]) -> bytes:
        iterations = PBKDF2_ITERATIONS if self._form == _PASSPHRASE else 0
        kek, nonce = self._key(self._salt, iterations), random_bytes(12)
        header = bytes([1, self._form]) + iterations.to_bytes(4, "big") + self._salt
        sealed = AESGCM(_encryption_key(kek)).encrypt(nonce, key, header + _aad(context))
        return header + _check_value(kek) + nonce + sealed

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        if not _HEADER < len(wrapped) <= MAX_WRAPPED_BYTES or wrapped[0] != 1:
            raise IntegrityError("a wrapped data key is malformed")
        header, nonce = wrapped[: 6 + SALT_BYTES], wrapped[_HEADER - 12 : _HEADER]
        check = wrapped[6 + SALT_BYTES : _HEADER - 12]
        if wrapped[1] != self._form:
            raise WrongKekError("the data keys are wrapped by another form of key-encryption key")
        kek = self._key(header[6:], int.from_bytes(header[2:6], "big"))
        if not hmac.compare_digest(check, _check_value(kek)):
            raise WrongKekError("this key-encryption key did not wrap the store's data keys")
        try:
            return AESGCM(_encryption_key(kek)).decrypt(nonce, wrapped[_HEADER:], header + _aad(context))
        except InvalidTag:
            raise IntegrityError("a wrapped data key was altered or moved") from None

    def _key(self, salt: bytes, iterations: int) -> bytes:
        if self._form == _RAW:
            return self._kek.reveal_bytes()
        stretched = self._stretched.get((salt, iterations))
        if stretched is None:
            try:
                derived = derive_by_pbkdf2(self._kek, salt=salt, iterations=iterations)
            except InvalidInputError:
                raise IntegrityError("a wrapped data key names an iteration count out of bounds") from None
            stretched = self._stretched[(salt, iterations)] = derived.key.reveal_bytes()
        return stretched


def _encryption_key(kek: bytes) -> bytes:
    return hkdf(kek, salt=b"", info=b"keyturn-kek-wrap-v1")


def _check_value(kek: bytes) -> bytes:
    return hkdf(kek, salt=b"", info=b"keyturn-kek-check-v1", length=8)


def _aad(context: Mapping[str, str]) -> bytes:
    return framed("keyturn-wrap-v1", *(text for pair in sorted(context.items()) for text in pair))
