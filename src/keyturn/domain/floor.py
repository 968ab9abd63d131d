"""The floor: what the log says each row must be at least, so that putting back an older row is noticed.

A seal shows that a row was written by Keyturn; it does not show that the row is the latest. The log does. The floor
keeps, for each row changed after its creation, the newest revision with eight bytes of its body's digest, which also
refuses a body that was sealed for a commit that lost. Rows whose absence means something are kept from their first
revision: an owner's (the owner was never revoked), a policy's (nothing is rotated by it), an endpoint's (nobody is
told).
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable
from typing import Final

from keyturn.domain.entry import RowMark
from keyturn.errors import IntegrityError

KEPT_FROM_CREATION: Final = ("own_", "pol_", "whe_", "keyring")
_LISTED: Final = ("pol_", "whe_")  # found by lists, so that what a list leaves out must be known
_BESIDE_ID: Final = 17  # bytes of a row in a snapshot, its id aside
_DIGEST_BITS: Final = 64


class Floor:
    """The newest revision of each changed row, as one integer a row: revision, then the digest's first 64 bits."""

    __slots__ = ("_closed", "_listed", "_marks")

    def __init__(self) -> None:
        self._marks: dict[str, int] = {}
        self._listed: set[str] = set()
        self._closed: set[str] = set()

    def __len__(self) -> int:
        return len(self._marks)

    def raise_to(self, marks: Iterable[RowMark]) -> None:
        """Take in what an entry says; IntegrityError where it names a revision that the log has passed."""
        for mark in marks:
            present = self._marks.get(mark.id, 0) >> _DIGEST_BITS
            if mark.id in self._closed or (
                mark.revision == 1 and not present and not mark.id.startswith(KEPT_FROM_CREATION)
            ):
                continue
            if mark.revision <= present:
                raise IntegrityError(f"the log names revision {mark.revision} of a row after {present}")
            self._keep(mark.id, _packed(mark.revision, mark.digest))

    def _keep(self, row_id: str, packed: int) -> None:
        self._marks[row_id] = packed
        if row_id.startswith(_LISTED):
            self._listed.add(row_id)

    def admits(self, row_id: str, revision: int, digest: bytes) -> bool:
        """Whether the log, as far as it was read, says that the row is this revision with this body.

        A row that was never changed is known to the floor only by its absence; it is admitted at revision 1.
        """
        if row_id in self._closed:
            return False
        mark = self._marks.get(row_id)
        if mark is None:
            return revision == 1 and not row_id.startswith(KEPT_FROM_CREATION)
        return _packed(revision, digest) == mark

    def revision(self, row_id: str) -> int:
        """The newest revision that the log, as far as it was read, names; 0 for a row that is not kept."""
        return self._marks.get(row_id, 0) >> _DIGEST_BITS

    def admits_absence(self, row_id: str) -> bool:
        """Whether the row may be missing: the log has never named it, as far as the floor keeps."""
        return row_id not in self._marks and row_id not in self._closed

    def left_out(self, prefix: str, listed: Collection[str]) -> list[str]:
        """The ids that begin so and that the floor keeps, but for those `listed`; of policies and endpoints only."""
        return sorted(
            row_id for row_id in self._listed.copy() if row_id.startswith(prefix) and row_id not in listed
        )

    @property
    def has_closed(self) -> bool:
        """Whether some rows are closed: what a log told that is gone, no other process may learn from this one."""
        return bool(self._closed)

    def is_closed(self, row_id: str) -> bool:
        """Whether the log has told two stories of this row."""
        return row_id in self._closed

    def copy(self) -> Floor:
        """Another floor that says the same."""
        twin = Floor()
        twin._marks, twin._listed, twin._closed = dict(self._marks), set(self._listed), set(self._closed)
        return twin

    def strike(self, marks: Iterable[RowMark]) -> None:
        """Take out the rows that `marks` tells of in the very revision that is kept."""
        for mark in marks:
            if self._marks.get(mark.id) == _packed(mark.revision, mark.digest):
                del self._marks[mark.id]
                self._listed.discard(mark.id)

    def close(self, other: Floor) -> None:
        """Never admit the rows of `other` again, whatever the log says of them: of these it has told two stories."""
        self._closed.update(other._marks, other._closed)

    @property
    def size(self) -> int:
        """How many bytes `to_bytes` gives."""
        return sum(_BESIDE_ID + len(row_id.encode()) for row_id in self._marks)

    def to_bytes(self) -> bytes:
        """The floor as bytes, for a snapshot: for each row a length, the id, the revision and the digest part."""
        parts = []
        for row_id, mark in self._marks.items():
            name = row_id.encode()
            parts.append(struct.pack(">B", len(name)) + name + mark.to_bytes(16, "big"))
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Floor:
        """The floor that `to_bytes` made; the caller has checked the snapshot's seal."""
        floor = cls()
        view, at = memoryview(raw), 0
        while at < len(view):
            end = at + 1 + view[at]
            floor._keep(bytes(view[at + 1 : end]).decode(), int.from_bytes(view[end : end + 16], "big"))
            at = end + 16
        return floor


def _packed(revision: int, digest: bytes) -> int:
    return revision << _DIGEST_BITS | int.from_bytes(digest[: _DIGEST_BITS // 8], "big")
