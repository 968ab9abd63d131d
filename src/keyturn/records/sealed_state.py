"""What a process that holds the KEK vouches for: the head of the log, and snapshots of the floor."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final, NamedTuple

from keyturn.crypto.keyring import Keyring, Purpose, sealed_under
from keyturn.domain.entry import chain_next
from keyturn.domain.floor import Floor
from keyturn.domain.framing import framed
from keyturn.domain.stored import read_as
from keyturn.errors import IntegrityError
from keyturn.ports.ledger import NewEntry, Position, SealedHead, Snapshot
from keyturn.records.entry_seals import Seen

MAX_SNAPSHOT_BYTES: Final = 1 << 30  # unpacked; some 24 million changed rows


class LoadedSnapshot(NamedTuple):
    """A snapshot whose seal holds."""

    position: Position
    hash: bytes
    floor: Floor


def sealed_head(keyring: Keyring, log_id: str, seen: Seen) -> SealedHead:
    """The head of a log that was read so far, sealed."""
    position, chain = seen
    return SealedHead(position, chain, keyring.seal(Purpose.HEAD, framed(log_id, str(position)) + chain))


def head_after(keyring: Keyring, log_id: str, seen: Seen, entries: Sequence[NewEntry]) -> SealedHead:
    """The head that the log will have if these entries directly follow what was read of it, sealed.

    It can be sealed beforehand, and stored with the entries: where somebody else was first, no store keeps it.
    """
    position, chain = seen
    for new in entries:
        chain = chain_next(chain, new.entry)
    return sealed_head(keyring, log_id, Seen(position + len(entries), chain))


def check_head(keyring: Keyring, log_id: str, sealed: SealedHead) -> None:
    """IntegrityError unless the head's seal holds."""
    with read_as("the sealed head"):
        keyring.check(Purpose.HEAD, framed(log_id, str(sealed.position)) + sealed.hash, sealed.seal)
        if not keyring.accepts_at(sealed.seal, sealed.position):
            raise IntegrityError("the sealed head is under a data key that was retired before")


def make_snapshot(
    keyring: Keyring,
    log_id: str,
    position: Position,
    chain: bytes,
    floor: Floor,
    *,
    most: int = MAX_SNAPSHOT_BYTES,
) -> Snapshot | None:
    """The floor at a position, sealed; None for one of more than `most` bytes, which no reader would take."""
    if floor.size > most:
        return None
    body = zlib.compress(floor.to_bytes(), 1)
    seal = keyring.seal(Purpose.SNAPSHOT, _message(log_id, position, chain, body))
    return Snapshot(position, chain, body, seal)


def load_snapshot(
    keyring: Keyring, log_id: str, stored: Snapshot | None, *, most: int = MAX_SNAPSHOT_BYTES
) -> LoadedSnapshot | None:
    """The floor that a stored snapshot says, or None to read the whole log; IntegrityError unless its seal holds."""
    if stored is None:
        return None
    version = sealed_under(stored.seal)
    if version in keyring.versions and version < keyring.minimum:
        return None  # made before its data key was retired; somebody else may have that key by now
    with read_as("a snapshot of the floor"):
        message = _message(log_id, stored.position, stored.hash, stored.body)
        try:
            keyring.check(Purpose.SNAPSHOT, message, stored.seal)
        except IntegrityError:
            keyring.check(Purpose.OLDER_SNAPSHOT, message, stored.seal)
            return None  # the floor of an older program, which may lack rows that are kept by now
    unpacker = zlib.decompressobj()
    raw = unpacker.decompress(stored.body, most)
    if not unpacker.eof:
        raise IntegrityError("a snapshot of the floor is larger than this program takes")
    return LoadedSnapshot(stored.position, stored.hash, Floor.from_bytes(raw))


def _message(log_id: str, position: Position, chain: bytes, body: bytes) -> bytes:
    return framed(log_id, str(position)) + chain + body
