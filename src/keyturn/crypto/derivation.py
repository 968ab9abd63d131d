"""Deriving keys: HKDF from key material, PBKDF2 from what a person remembers.

derived = derive_by_pbkdf2(Secret("correct horse ..."))       # a fresh salt, kept in the result
again = derive_by_pbkdf2(Secret("correct horse ..."), salt=derived.salt, iterations=derived.iterations)
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keyturn.crypto.randomness import random_bytes
from keyturn.domain.secret import Secret
from keyturn.errors import InvalidInputError, shown

PBKDF2_ITERATIONS: Final = 600_000  # OWASP Password Storage, ASVS 5.0 appendix C: HMAC-SHA-256
MIN_PBKDF2_ITERATIONS: Final = 100_000  # what older deployments used; below it a passphrase falls too quickly
MAX_PBKDF2_ITERATIONS: Final = 10_000_000  # seconds of work: more would let a stored count stall the reader
SALT_BYTES: Final = 16  # SP 800-132, section 5.1: at least 128 bits
MIN_DERIVED_BYTES: Final = 14  # SP 800-132: at least 112 bits
MAX_DERIVED_BYTES: Final = 255 * 32  # RFC 5869, section 2.3


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedKey:
    """A derived key and what is needed to derive it again; `iterations` is None for HKDF."""

    key: Secret
    method: str
    salt: bytes
    iterations: int | None


def hkdf(material: bytes, *, salt: bytes, info: bytes, length: int = 32) -> bytes:
    """HKDF-SHA256 (RFC 5869): `length` bytes for the purpose `info`."""
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(material)


def derive_by_hkdf(
    material: Secret, *, info: bytes, salt: bytes | None = None, length: int = 32
) -> DerivedKey:
    """A key for the purpose `info` from `material` of at least 16 bytes; a fresh salt unless one is given."""
    if len(material) < SALT_BYTES:
        raise InvalidInputError(
            "HKDF needs key material of at least 16 bytes",
            field="material",
            fix="Use PBKDF2 for passphrases; HKDF does not slow down a guesser.",
        )
    used = _checked_salt(salt)
    _check_length(length)
    key = hkdf(material.reveal_bytes(), salt=used, info=info, length=length)
    return DerivedKey(key=Secret(key), method="hkdf-sha256", salt=used, iterations=None)


def derive_by_pbkdf2(
    passphrase: Secret,
    *,
    salt: bytes | None = None,
    iterations: int = PBKDF2_ITERATIONS,
    length: int = 32,
) -> DerivedKey:
    """A key from a passphrase by PBKDF2-HMAC-SHA256; a fresh salt unless one is given.

    InvalidInputError for an empty passphrase, a short salt, or a count outside 100,000 to 10,000,000.
    """
    if not len(passphrase):
        raise InvalidInputError("an empty passphrase protects nothing", field="passphrase")
    if type(iterations) is not int or not MIN_PBKDF2_ITERATIONS <= iterations <= MAX_PBKDF2_ITERATIONS:
        raise InvalidInputError(
            f"PBKDF2 takes {MIN_PBKDF2_ITERATIONS:,} to {MAX_PBKDF2_ITERATIONS:,} iterations, not {shown(iterations)}",
            field="iterations",
            fix=f"Leave it out to use {PBKDF2_ITERATIONS:,}.",
        )
    used = _checked_salt(salt)
    _check_length(length)
    key = hashlib.pbkdf2_hmac("sha256", passphrase.reveal_bytes(), used, iterations, length)
    return DerivedKey(key=Secret(key), method="pbkdf2-hmac-sha256", salt=used, iterations=iterations)


def _checked_salt(salt: bytes | None) -> bytes:
    if salt is None:
        return random_bytes(SALT_BYTES)
    if not isinstance(salt, bytes) or len(salt) < SALT_BYTES:
        raise InvalidInputError(
            "a salt is at least 16 bytes", field="salt", fix="Leave it out for a fresh one."
        )
    return salt


def _check_length(length: int) -> None:
    if type(length) is not int or not MIN_DERIVED_BYTES <= length <= MAX_DERIVED_BYTES:
        raise InvalidInputError(
            f"a derived key has {MIN_DERIVED_BYTES} to {MAX_DERIVED_BYTES} bytes, not {shown(length)}",
            field="length",
        )
