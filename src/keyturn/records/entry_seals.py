"""Entry seals: each vouches for its entry, and for the log as its writer had read it. `docs/formats/log-entry.md`.

    seal (37) over after, chain at `after` and entry | u64 after

Only the store knows an entry's place, and that after it was sealed. So the seal binds what stands before it: whoever
cuts an entry out, or puts another in its place, must cut off as well whatever was written by those who had read it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from keyturn.crypto.keyring import SEAL_BYTES, Keyring, Purpose
from keyturn.errors import IntegrityError
from keyturn.ports.ledger import Position

ENTRY_SEAL_BYTES: Final = SEAL_BYTES + 8


class Seen(NamedTuple):
    """How far a log was read, and the chain's value there."""

    position: Position
    hash: bytes


def seal_entry(keyring: Keyring, entry: bytes, seen: Seen) -> bytes:
    """The seal of an entry by a writer who has read the log up to `seen`: 45 bytes."""
    return keyring.seal(Purpose.ENTRY, _message(entry, seen)) + seen.position.to_bytes(8, "big")


def seen_by(seal: bytes, position: Position) -> Position:
    """How far the writer of the entry at `position` had read; IntegrityError where a seal cannot say so."""
    after = int.from_bytes(seal[SEAL_BYTES:], "big")
    if len(seal) != ENTRY_SEAL_BYTES or after >= position:
        raise IntegrityError(f"the seal of entry {position} is malformed")
    return after


def check_entry(keyring: Keyring, entry: bytes, seal: bytes, seen: Seen) -> None:
    """IntegrityError unless the seal was made over this entry by one who had read the log to be `seen`."""
    keyring.check(Purpose.ENTRY, _message(entry, seen), seal[:SEAL_BYTES])


def _message(entry: bytes, seen: Seen) -> bytes:
    return seen.position.to_bytes(8, "big") + seen.hash + entry
