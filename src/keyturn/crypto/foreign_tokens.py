"""Tokens that were issued elsewhere: taking them in, and what the store keeps of them.

That is digests and handles under the keyring's look-up key: unlike Keyturn's own, such a token may have little entropy,
and whoever reads the store must not be able to guess it.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Final

from keyturn.crypto.generation import new_key_id
from keyturn.crypto.hash_forms import read_hash
from keyturn.crypto.keyring import Keyring
from keyturn.crypto.slow_hashes import BEFORE, encode
from keyturn.domain.foreign import MAX_START, MIN_START, ImportedToken, check_foreign, check_start
from keyturn.domain.key import HANDLE_MARK, Hashed
from keyturn.domain.secret import Secret
from keyturn.domain.spec import KeySpec
from keyturn.errors import InvalidInputError

HANDLE_CHARACTERS: Final = 16  # after the mark: 95 bits
_HANDLE: Final = "imported-handle"
_DIGEST: Final = "imported-digest"
_START: Final = "start"
_PLAIN: Final = {Hashed.KEYED_SHA256: "sha256", Hashed.KEYED_SHA512: "sha512"}
_KEYED: Final = {algorithm: hashed for hashed, algorithm in _PLAIN.items()}


def token_from(spec: KeySpec, token: Secret, at: datetime) -> ImportedToken:
    """A token that is known itself; InvalidInputError for a text that is none."""
    digest = plain_digest(Hashed.KEYED_SHA256, check_foreign(token).reveal())
    return ImportedToken(
        key_id=new_key_id(),
        spec=spec,
        secret=token,
        hashed=Hashed.KEYED_SHA256,
        hash=Secret(digest),
        created_at=at,
    )


def hash_from(
    spec: KeySpec,
    text: str,
    at: datetime,
    *,
    algorithm: str,
    salt: bytes | None = None,
    salt_position: str = BEFORE,
    start: str | None = None,
) -> ImportedToken:
    """A token of which a hash is known, as another system keeps it; InvalidInputError for what cannot be used."""
    if spec.recoverable:
        raise InvalidInputError(
            "a token of which only a hash is known cannot come back",
            field="recoverable",
            fix="Leave it out, or import the token itself.",
        )
    found = read_hash(text, algorithm, salt=salt, salt_position=salt_position)
    if isinstance(found, bytes):
        if start is not None:
            raise InvalidInputError(
                "a plain hash is found by itself", field="start", fix="Leave the start out."
            )
        hashed, kept = _KEYED[algorithm], Secret(found)
    else:
        hashed, kept = Hashed.SEALED, Secret(encode(found, check_start(start)))
    return ImportedToken(key_id=new_key_id(), spec=spec, hashed=hashed, hash=kept, start=start, created_at=at)


def handle_of(keyring: Keyring, imported: ImportedToken) -> str:
    """The handle that a token will be looked up by."""
    if imported.start is not None:
        return handle_of_start(keyring, imported.start)
    return handle_of_digest(keyring, imported.hashed, imported.hash.reveal_bytes())


def plain_digest(hashed: Hashed, token: str) -> bytes:
    """The digest of a token that its keyed one is made from."""
    return hashlib.new(_PLAIN[hashed], token.encode()).digest()


def keyed_digest(keyring: Keyring, hashed: Hashed, plain: bytes) -> bytes:
    """32 bytes for the token with this SHA-256 or SHA-512."""
    return keyring.keyed(_DIGEST, _PLAIN[hashed], plain.hex())


def handle_of_digest(keyring: Keyring, hashed: Hashed, plain: bytes) -> str:
    """The handle of the token with this SHA-256 or SHA-512."""
    return _handle(keyring, _PLAIN[hashed], plain.hex())


def handle_of_start(keyring: Keyring, start: str) -> str:
    """The handle of a token of which these first characters are known, and a hash that must be computed to compare."""
    return _handle(keyring, _START, start)


def handles_of(keyring: Keyring, token: str) -> list[str]:
    """Every handle under which a token could have been imported."""
    digests = [handle_of_digest(keyring, hashed, plain_digest(hashed, token)) for hashed in _PLAIN]
    starts = [
        handle_of_start(keyring, token[:length])
        for length in range(MIN_START, min(MAX_START, len(token)) + 1)
    ]
    return digests + starts


def _handle(keyring: Keyring, kind: str, text: str) -> str:
    return HANDLE_MARK + keyring.pseudonym(_HANDLE, kind, text)[-HANDLE_CHARACTERS:]
