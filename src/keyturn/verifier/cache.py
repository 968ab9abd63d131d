"""Decided-on credentials in bounded memory, found by the digest of the whole token or by credential_id.

Two generations stand in for a list of least recent use: what is found in the old one moves to the young one, and when
the young one is full it becomes the old. A hit in the young generation costs one dict look-up and writes nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final
from weakref import WeakValueDictionary

from keyturn.verifier.entries import NO_OWNER, Entry, Standing

MIN_CAPACITY: Final = 2
DEFAULT_CAPACITY: Final = 500_000  # credentials; the benchmark says how many bytes each takes


class _Generation:
    """Entries by digest, by credential_id, and by key_id: those of a key's versions together."""

    __slots__ = ("by_digest", "by_id", "by_key")

    def __init__(self) -> None:
        self.by_digest: dict[bytes, Entry] = {}
        self.by_id: dict[str, Entry] = {}
        self.by_key: dict[str, Entry | tuple[Entry, ...]] = {}

    def put(self, entry: Entry) -> None:
        assert entry.credential_id is not None
        self.by_id[entry.credential_id] = entry
        if entry.digest is not None:
            self.by_digest[entry.digest] = entry
        key_id = entry.key_id
        others = [other for other in self.of_key(key_id) if other.credential_id != entry.credential_id]
        self.by_key[key_id] = (*others, entry) if others else entry

    def of_key(self, key_id: str) -> tuple[Entry, ...]:
        kept = self.by_key.get(key_id, ())
        return (kept,) if isinstance(kept, Entry) else kept


class Cache:
    """At most `capacity` entries. What the log says has changed is marked, wherever it is still referred to.

    Attributes:
        capacity: how many entries there may be.
        young: the young generation by digest; its entries may have ceased to be current.
    """

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        if capacity < MIN_CAPACITY:
            raise ValueError(f"a cache holds at least {MIN_CAPACITY} credentials")
        self.capacity = capacity
        self._half = capacity // 2
        # An entry on its way from one generation to the other must not be missed by `drop`.
        self._lock = threading.Lock()
        self._young, self._old = _Generation(), _Generation()
        self.young = self._young.by_digest
        self._owners: WeakValueDictionary[str, Standing] = WeakValueDictionary()

    def start_afresh(self) -> None:
        """Go on with a lock that nobody holds, in a forked child."""
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._young.by_id.keys() | self._old.by_id.keys())

    @property
    def slots(self) -> int:
        """How much of `capacity` is taken: a credential in both generations takes two, until the old one goes."""
        return len(self._young.by_id) + len(self._old.by_id)

    def from_old(self, digest: bytes) -> Entry | None:
        """The entry of the token with this SHA-256 from the old generation, which it leaves for the young one."""
        if digest not in self._old.by_digest:
            return None
        with self._lock:
            entry = self._old.by_digest.get(digest)
            if entry is not None:
                self._put(entry)
            return entry

    def by_id(self, credential_id: str) -> Entry | None:
        """The entry with this credential_id, if it is kept and current."""
        entry = self._young.by_id.get(credential_id) or self._old.by_id.get(credential_id)
        return entry if entry is not None and entry.is_current else None

    def holds(self, entry: Entry) -> bool:
        """Whether this very entry is kept: one that is not is told nothing of what changes."""
        credential_id = entry.credential_id
        assert credential_id is not None
        return (self._young.by_id.get(credential_id) or self._old.by_id.get(credential_id)) is entry

    def put(self, entry: Entry) -> None:
        """Keep an entry; when the young generation is full, what was not used since its last turn goes."""
        with self._lock:
            self._put(entry)

    def _put(self, entry: Entry) -> None:
        if len(self._young.by_id) >= self._half:
            self._old, self._young = self._young, _Generation()
            self.young = self._young.by_digest
        self._young.put(entry)

    def owner_standing(self, row_id: str | None) -> Standing:
        """The standing that an owner's keys share; the same for all keys without an owner."""
        if row_id is None:
            return NO_OWNER
        with self._lock:
            standing = self._owners.get(row_id)
            if standing is None:
                standing = self._owners[row_id] = Standing()
            return standing

    def drop(self, row_ids: Sequence[str] | None) -> None:
        """What depends on these rows is no longer current; with None, nothing that is kept is."""
        with self._lock:
            if row_ids is None:
                self._drop_all()
                return
            for row_id in row_ids:
                # A version's row is named by its key's id, a dot and a number.
                key_id = row_id.partition(".")[0]
                for entry in self._young.of_key(key_id) + self._old.of_key(key_id):
                    entry.is_key_current = False
                owner = self._owners.pop(key_id, _NOBODY)
                owner.is_current = False

    def _drop_all(self) -> None:
        for generation in (self._young, self._old):
            for entry in generation.by_id.values():
                entry.is_key_current = False
        self._young, self._old = _Generation(), _Generation()
        self.young = self._young.by_digest


_NOBODY: Final = Standing()
