"""The keyring: data-encryption keys by version, each good for several purposes through derivation.

The data keys are random and live wrapped, in the ledger's `keyring` row; the KEK that wraps them lives elsewhere.
No DEK is used as it is: each purpose has a key of its own, derived with the log's id as salt, so that what one
installation sealed means nothing to another. `docs/formats/sealed.md` specifies all of it.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NoReturn

from keyturn.crypto.derivation import hkdf
from keyturn.crypto.randomness import random_bytes
from keyturn.domain.base62 import encode
from keyturn.domain.bytestext import from_base64url, to_base64url
from keyturn.domain.change import Put
from keyturn.domain.framing import framed
from keyturn.domain.ids import SYSTEM_TENANT
from keyturn.errors import IntegrityError
from keyturn.ports.key_wrapper import KeyWrapper

KEYRING_ROW: Final = "keyring"
DEK_BYTES: Final = 32
SEAL_FORMAT: Final = 1
SEAL_BYTES: Final = 37  # format, u32 DEK version, HMAC-SHA256
_MEMBERS: Final = {"v", "kind", "id", "tenant", "revision", "wrapper", "primary", "deks", "lookup_key"}
_NEWER: Final = "A newer program wrote this row: upgrade this one."


class Purpose(Enum):
    """What a seal is over; a seal for one purpose is worth nothing for another."""

    ROW = b"keyturn-row-seal-v1"
    ENTRY = b"keyturn-entry-seal-v1"
    HEAD = b"keyturn-head-seal-v1"
    SNAPSHOT = b"keyturn-snapshot-seal-v1"
    CURSOR = b"keyturn-cursor-seal-v1"


class Keyring:
    """The unwrapped data keys of one log. Does not print them."""

    def __init__(self, deks: Mapping[int, bytes], primary: int, lookup_key: bytes, log_id: str) -> None:
        self._deks = dict(deks)
        self._primary = primary
        self._lookup_key = lookup_key
        self._log_id = log_id
        self._seal_keys: dict[tuple[Purpose, int], bytes] = {}

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError("a keyring is never pickled, copied or serialised")

    def __repr__(self) -> str:
        return f"Keyring(versions={sorted(self._deks)}, primary={self._primary})"

    @property
    def primary(self) -> int:
        """The DEK version that seals what is new."""
        return self._primary

    def seal(self, purpose: Purpose, message: bytes) -> bytes:
        """A seal over `message`: 37 bytes."""
        mac = hmac.digest(self._seal_key(purpose, self._primary), message, "sha256")
        return bytes([SEAL_FORMAT]) + self._primary.to_bytes(4, "big") + mac

    def check(self, purpose: Purpose, message: bytes, seal: bytes) -> None:
        """IntegrityError unless `seal` is one that this keyring made over `message` for `purpose`."""
        if len(seal) == SEAL_BYTES and seal[0] == SEAL_FORMAT:
            version = int.from_bytes(seal[1:5], "big")
            if version in self._deks:
                expected = hmac.digest(self._seal_key(purpose, version), message, "sha256")
                if hmac.compare_digest(expected, seal[5:]):
                    return
        raise IntegrityError(f"a {purpose.name.lower()} seal does not hold")

    def derive(self, version: int, *, salt: bytes, info: bytes, length: int) -> bytes:
        """Bytes for one record under a DEK version; IntegrityError for a version that is not in the keyring."""
        if version not in self._deks:
            raise IntegrityError(f"sealed under data key {version}, which is not in the keyring")
        return hkdf(self._deks[version], salt=salt, info=info, length=length)

    def pseudonym(self, kind: str, *parts: str) -> str:
        """22 base62 characters that stand for `parts`, the same for good, and tell nothing without the key."""
        mac = hmac.digest(self._lookup_key, framed(kind, *parts), "sha256")
        return encode(int.from_bytes(mac[:16], "big"), 22)

    def _seal_key(self, purpose: Purpose, version: int) -> bytes:
        key = self._seal_keys.get((purpose, version))
        if key is None:
            key = hkdf(self._deks[version], salt=self._log_id.encode(), info=purpose.value)
            self._seal_keys[(purpose, version)] = key
        return key


def create_keyring(wrapper: KeyWrapper, log_id: str) -> tuple[Keyring, Put]:
    """A keyring with one fresh DEK, and its row."""
    dek, lookup_key = random_bytes(DEK_BYTES), random_bytes(DEK_BYTES)
    body = {
        "v": 1,
        "kind": KEYRING_ROW,
        "id": KEYRING_ROW,
        "tenant": SYSTEM_TENANT,
        "revision": 1,
        "wrapper": wrapper.uri,
        "primary": 1,
        "deks": [{"version": 1, "wrapped": to_base64url(wrapper.wrap(dek, _context(log_id, "dek-1")))}],
        "lookup_key": to_base64url(wrapper.wrap(lookup_key, _context(log_id, "lookup"))),
    }
    put = Put(id=KEYRING_ROW, kind=KEYRING_ROW, tenant=SYSTEM_TENANT, revision=1, body=body)
    return Keyring({1: dek}, 1, lookup_key, log_id), put


def open_keyring(body: Mapping[str, object], wrapper: KeyWrapper, log_id: str) -> Keyring:
    """The keyring that a row says. The caller then checks the row's seal with it.

    WrongKekError for another KEK, IntegrityError for a row that was altered.
    """
    try:
        members: Any = body
        deks = {
            dek["version"]: _unwrap(wrapper, dek["wrapped"], log_id, f"dek-{dek['version']}")
            for dek in members["deks"]
        }
        lookup_key = _unwrap(wrapper, members["lookup_key"], log_id, "lookup")
        primary = members["primary"]
        if (
            type(members["v"]) is not int
            or members["v"] != 1
            or type(primary) is not int
            or primary not in deks
            or body.keys() != _MEMBERS
        ):
            raise IntegrityError("the keyring row has a format this program does not know", fix=_NEWER)
        return Keyring(deks, primary, lookup_key, log_id)
    except (KeyError, TypeError, ValueError):
        raise IntegrityError("the keyring row is malformed") from None


def _unwrap(wrapper: KeyWrapper, wrapped: str, log_id: str, purpose: str) -> bytes:
    key = wrapper.unwrap(from_base64url(wrapped), _context(log_id, purpose))
    if len(key) != DEK_BYTES:
        raise IntegrityError("an unwrapped data key has a wrong length")
    return key


def _context(log_id: str, purpose: str) -> dict[str, str]:
    return {"keyturn-log": log_id, "keyturn-key": purpose}
