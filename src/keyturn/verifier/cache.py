"""Decided-on credentials in bounded memory, found by the digest of the whole token or by credential_id.

Two generations stand in for a list of least recent use: what is found in the old one moves to the young one, and when
the young one is full it becomes the old. A hit in the young generation costs one dict look-up and writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from weakref import WeakValueDictionary

from keyturn.domain.key import Key
from keyturn.verifier.entries import NO_OWNER, Entry, Standing

DEFAULT_CAPACITY: Final = 500_000  # credentials; about 1.5 KB each


class Cache:
    """At most `capacity` entries. What the log says has changed is dropped by marking its standing."""

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        if capacity < 2:
            raise ValueError("a cache holds at least two credentials")
        self._half = capacity // 2
        self.young: dict[bytes, Entry] = {}
        self._old: dict[bytes, Entry] = {}
        self._young_ids: dict[str, Entry] = {}
        self._old_ids: dict[str, Entry] = {}
        self._standings: WeakValueDictionary[str, Standing] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self.young) + len(self._old)

    def by_digest(self, digest: bytes) -> Entry | None:
        """The entry of the token with this SHA-256, if it is kept and current."""
        entry = self.young.get(digest)
        if entry is None:
            entry = self._old.get(digest)
            if entry is None:
                return None
            self.put(entry)
        if entry.key_standing.is_current and entry.owner_standing.is_current:
            return entry
        return None

    def by_id(self, credential_id: str) -> Entry | None:
        """The entry with this credential_id, if it is kept and current."""
        entry = self._young_ids.get(credential_id) or self._old_ids.get(credential_id)
        if entry is not None and entry.is_current:
            return entry
        return None

    def put(self, entry: Entry) -> None:
        """Keep an entry; when the young generation is full, what was not used since its last turn goes."""
        if len(self._young_ids) >= self._half:
            self._old, self._old_ids = self.young, self._young_ids
            self.young, self._young_ids = {}, {}
        assert entry.credential_id is not None
        self._young_ids[entry.credential_id] = entry
        if entry.digest is not None:
            self.young[entry.digest] = entry

    def standings(self, key: Key) -> tuple[Standing, Standing]:
        """The shared standings of a key and of its owner."""
        owner = NO_OWNER if key.owner_row is None else self._standing(key.owner_row)
        return self._standing(key.key_id), owner

    def drop(self, row_ids: Sequence[str]) -> None:
        """What depends on these rows is no longer current; with none, nothing kept is."""
        if not row_ids:
            self.young, self._old, self._young_ids, self._old_ids = {}, {}, {}, {}
            for standing in list(self._standings.values()):
                standing.is_current = False
            self._standings = WeakValueDictionary()
        for row_id in row_ids:
            # A version's row is its key's id, a dot and a number: it shares the key's standing.
            name = row_id.partition(".")[0]
            kept = self._standings.get(name)
            if kept is not None:
                kept.is_current = False
                del self._standings[name]

    def _standing(self, row_id: str) -> Standing:
        standing = self._standings.get(row_id)
        if standing is None:
            standing = self._standings[row_id] = Standing()
        return standing
