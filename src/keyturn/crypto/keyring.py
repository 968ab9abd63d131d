"""The keyring: data-encryption keys by version, each good for several purposes through derivation.

The data keys are random and live wrapped, in the ledger's `keyring` row (`keyturn.crypto.keyring_body`); the KEK that
wraps them lives elsewhere. No DEK is used as it is: each purpose has a key of its own, derived with the log's id as
salt, so that what one installation sealed means nothing to another. `docs/formats/sealed.md` specifies all of it.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple, NoReturn

from keyturn.crypto.derivation import hkdf
from keyturn.crypto.randomness import random_bytes
from keyturn.domain.base62 import encode
from keyturn.domain.framing import framed
from keyturn.errors import IntegrityError, InvalidInputError, KeysUnavailableError
from keyturn.ports.key_wrapper import KeyWrapper

KEYRING_ROW: Final = "keyring"
DEK_BYTES: Final = 32
MAX_DATA_KEYS: Final = 256  # each stays for the log's sake; the row that holds them all has 65,536 bytes
SEAL_FORMAT: Final = 1
SEAL_BYTES: Final = 37  # format, u32 DEK version, HMAC-SHA256


class Purpose(Enum):
    """What a seal is over; a seal for one purpose is worth nothing for another."""

    ROW = b"keyturn-row-seal-v1"
    ENTRY = b"keyturn-entry-seal-v1"
    HEAD = b"keyturn-head-seal-v1"
    SNAPSHOT = b"keyturn-snapshot-seal-v2"
    OLDER_SNAPSHOT = (
        b"keyturn-snapshot-seal-v1"  # of floors that kept neither policies nor endpoints from the start
    )
    CURSOR = b"keyturn-cursor-seal-v1"


_OF_THE_LOG: Final = (Purpose.ENTRY, Purpose.HEAD)


class UnknownDataKeyError(IntegrityError):
    """Something names a data key that no keyring of which this process knows has: it was forged, or is newer."""


class Wrapped(NamedTuple):
    """All keys of a keyring, wrapped by a KEK: the data keys by version, and the look-up key."""

    deks: Mapping[int, bytes]
    lookup_key: bytes


class _Keys(NamedTuple):
    """What a keyring has at one moment: the attributes of `Keyring`, and the data keys themselves."""

    deks: Mapping[int, bytes]
    listed: frozenset[int]
    primary: int
    minimum: int
    minimum_since: int
    revision: int


class Keyring:
    """The unwrapped data keys of one log. Does not print them.

    It changes as a whole, when the log says that its row did (`take_over`); whoever uses it meanwhile has the keys of
    before or those of after.

    Args:
        deks: the data keys that this process could unwrap, by version.
        primary: the version that seals what is new.
        lookup_key: what pseudonyms are made with.
        log_id: of the log that all this is for.
        minimum: the version from which on a data key is good for more than entries that stand in the log already.
        minimum_since: the position after which entries, too, are sealed under `minimum` or later.
        revision: of the row that says so.
        listed: the versions in the row, of which `deks` may lack some; those of `deks` when absent.
    """

    def __init__(
        self,
        deks: Mapping[int, bytes],
        primary: int,
        lookup_key: bytes,
        log_id: str,
        *,
        minimum: int = 1,
        minimum_since: int = 0,
        revision: int = 1,
        listed: Iterable[int] | None = None,
    ) -> None:
        versions = frozenset(deks if listed is None else listed)
        self._keys = _Keys(dict(deks), versions, primary, minimum, minimum_since, revision)
        self._lookup_key = lookup_key
        self._log_id = log_id
        self._seal_keys: dict[tuple[Purpose, int], bytes] = {}

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError("a keyring is never pickled, copied or serialised")

    def __repr__(self) -> str:
        return f"Keyring(versions={sorted(self._keys.deks)}, primary={self.primary})"

    @property
    def log_id(self) -> str:
        """The log that its seals are for."""
        return self._log_id

    @property
    def primary(self) -> int:
        """The DEK version that seals what is new."""
        return self._keys.primary

    @property
    def minimum(self) -> int:
        """The DEK version from which on seals of rows and sealed material are accepted."""
        return self._keys.minimum

    @property
    def minimum_since(self) -> int:
        """The position in the log after which entries are sealed under the minimum or later."""
        return self._keys.minimum_since

    @property
    def revision(self) -> int:
        """The revision of the keyring's row that this process goes by."""
        return self._keys.revision

    @property
    def versions(self) -> frozenset[int]:
        """The DEK versions in the keyring's row."""
        return self._keys.listed

    @property
    def missing(self) -> frozenset[int]:
        """The versions that this process could not unwrap."""
        return self._keys.listed - self._keys.deks.keys()

    def seal(self, purpose: Purpose, message: bytes) -> bytes:
        """A seal over `message`: 37 bytes. KeysUnavailableError where this process lacks the primary data key."""
        keys = self._keys
        mac = hmac.digest(self._seal_key(purpose, keys, keys.primary), message, "sha256")
        return bytes([SEAL_FORMAT]) + keys.primary.to_bytes(4, "big") + mac

    def check(self, purpose: Purpose, message: bytes, seal: bytes) -> None:
        """IntegrityError unless `seal` is one that this keyring made over `message` for `purpose`.

        UnknownDataKeyError, which is one, where the seal names a data key that the keyring's row does not list;
        KeysUnavailableError for one that it lists and this process could not unwrap.
        """
        keys, version = self._keys, sealed_under(seal) if len(seal) == SEAL_BYTES else None
        # What stands in the log, stands as it is: there a data key vouches on for what is old enough (`accepts_at`).
        if version is not None and (purpose in _OF_THE_LOG or version >= keys.minimum):
            expected = hmac.digest(self._seal_key(purpose, keys, version), message, "sha256")
            if hmac.compare_digest(expected, seal[5:]):
                return
        raise IntegrityError(_refusal(purpose))

    def accepts_at(self, seal: bytes, position: int) -> bool:
        """Whether an entry or a head may stand at `position` under the data key that its seal names."""
        keys, version = self._keys, sealed_under(seal)
        return version is not None and (version >= keys.minimum or position <= keys.minimum_since)

    def derive(
        self, version: int, *, salt: bytes, info: bytes, length: int, even_retired: bool = False
    ) -> bytes:
        """Bytes for one record under a DEK version; IntegrityError for one that is retired or not in the keyring."""
        keys = self._keys
        if version not in keys.listed or (version < keys.minimum and not even_retired):
            raise IntegrityError(f"sealed under data key {version}, which is not in the keyring for this")
        return hkdf(self._dek(keys, version), salt=salt, info=info, length=length)

    def pseudonym(self, kind: str, *parts: str) -> str:
        """22 base62 characters that stand for `parts`, the same for good, and tell nothing without the key."""
        return encode(int.from_bytes(self.keyed(kind, *parts)[:16], "big"), 22)

    def keyed(self, kind: str, *parts: str) -> bytes:
        """32 bytes that stand for `parts`, the same for good, and tell nothing without the key."""
        return hmac.digest(self._lookup_key, framed(kind, *parts), "sha256")

    def take_over(self, newer: Keyring) -> None:
        """Go by what `newer` says from now on; it is of the same log, and has the data keys that this one has."""
        self._keys = newer._keys

    def wrapped_by(self, wrapper: KeyWrapper) -> Wrapped:
        """Every key, wrapped for its place; KeysUnavailableError where this process lacks one."""
        keys = self._keys
        deks = {
            version: wrapper.wrap(self._dek(keys, version), context_of(self._log_id, version, keys.minimum))
            for version in sorted(keys.listed)
        }
        return Wrapped(deks, wrapper.wrap(self._lookup_key, lookup_context(self._log_id)))

    def with_row(
        self,
        *,
        deks: Mapping[int, bytes],
        listed: Iterable[int],
        primary: int,
        minimum: int,
        minimum_since: int,
        revision: int,
    ) -> Keyring:
        """What a later row says, to one who has the keys of this one; `deks` are those that were unwrapped besides."""
        known = {**deks, **self._keys.deks}
        return self._with(_Keys(known, frozenset(listed), primary, minimum, minimum_since, revision))

    def rewrapped(self) -> Keyring:
        """The next revision of this keyring, with the same keys."""
        return self._next(self._keys)

    def with_new_data_key(self) -> Keyring:
        """The next revision, in which a fresh data key is the primary one; InvalidInputError for one too many."""
        keys = self._keys
        if len(keys.listed) >= MAX_DATA_KEYS:
            raise InvalidInputError(
                f"a keyring has at most {MAX_DATA_KEYS} data keys",
                fix="Begin a new store for what is new; a data key is rotated at most some times a year.",
            )
        version = max(keys.listed) + 1
        deks = {**keys.deks, version: random_bytes(DEK_BYTES)}
        return self._next(keys._replace(deks=deks, listed=keys.listed | {version}, primary=version))

    def retired_before_primary(self, since: int) -> Keyring:
        """The next revision, in which the primary is the minimum; all entries after `since` are sealed under it."""
        keys = self._keys
        return self._next(keys._replace(minimum=keys.primary, minimum_since=since))

    def has_the_keys_of(self, other: Keyring) -> bool:
        """Whether both have the same keys and say the same of them."""
        return (
            self._keys == other._keys
            and hmac.compare_digest(self._lookup_key, other._lookup_key)
            and self._log_id == other._log_id
        )

    def _next(self, keys: _Keys) -> Keyring:
        return self._with(keys._replace(revision=keys.revision + 1))

    def _with(self, keys: _Keys) -> Keyring:
        members: dict[str, Any] = keys._asdict()
        return Keyring(lookup_key=self._lookup_key, log_id=self._log_id, **members)

    def _seal_key(self, purpose: Purpose, keys: _Keys, version: int) -> bytes:
        key = self._seal_keys.get((purpose, version))
        if key is None:
            if version not in keys.listed:
                raise UnknownDataKeyError(_refusal(purpose))
            key = hkdf(self._dek(keys, version), salt=self._log_id.encode(), info=purpose.value)
            self._seal_keys[(purpose, version)] = key
        return key

    def _dek(self, keys: _Keys, version: int) -> bytes:
        dek = keys.deks.get(version)
        if dek is None:
            raise KeysUnavailableError(f"this process could not unwrap data key {version} of the store")
        return dek


def sealed_under(sealed: bytes) -> int | None:
    """The DEK version that a seal or sealed material names; None for anything else."""
    if len(sealed) < SEAL_BYTES or sealed[0] != SEAL_FORMAT:
        return None
    return int.from_bytes(sealed[1:5], "big")


def context_of(log_id: str, version: int, minimum: int) -> dict[str, str]:
    """The context in which a data key is wrapped.

    It says whether the key is retired, so that nobody without the KEK can put a retired key back into service.
    """
    return _context(log_id, f"{'dek' if version >= minimum else 'retired'}-{version}")


def lookup_context(log_id: str) -> dict[str, str]:
    """The context in which the look-up key is wrapped."""
    return _context(log_id, "lookup")


def _context(log_id: str, purpose: str) -> dict[str, str]:
    return {"keyturn-log": log_id, "keyturn-key": purpose}


def _refusal(purpose: Purpose) -> str:
    return f"a {purpose.name.lower()} seal does not hold"
