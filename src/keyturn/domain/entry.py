"""A log entry: canonical bytes that never change once written. `docs/formats/log-entry.md` specifies it.

The entry names each row it changed by id, revision and SHA-256 of the body, so the log alone says which rows are
current. What may have to be erased stands beside it in `details`; the entry holds only their salted hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from keyturn.domain import canonical
from keyturn.domain.bytestext import from_base64url, to_base64url
from keyturn.domain.change import Event
from keyturn.domain.instants import to_micros
from keyturn.errors import IntegrityError, InvalidInputError

ENTRY_VERSION: Final = 1
MAX_ENTRY_BYTES: Final = 65_535  # a u16 length, as in C2SP tlog-tiles entry bundles
CHAIN_LABEL: Final = b"keyturn-log-v1"
_DIGEST_BYTES: Final = 32  # SHA-256


class RowMark(NamedTuple):
    """One row as an entry names it: id, revision, SHA-256 of the body."""

    id: str
    revision: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """A decoded entry; `time` is in microseconds since the epoch."""

    type: str
    time: int
    tenant: str
    actor: str
    subjects: tuple[str, ...]
    rows: tuple[RowMark, ...]
    details_hash: bytes | None


def chain_start(log_id: str) -> bytes:
    """The chain's value before the first entry."""
    return hashlib.sha256(CHAIN_LABEL + log_id.encode()).digest()


def chain_next(previous: bytes, entry: bytes) -> bytes:
    """The chain's value at `entry`, from its value before it."""
    return hashlib.sha256(previous + entry).digest()


def encode_details(details: Mapping[str, object], salt: bytes) -> str:
    """Details as they are stored: canonical JSON with a random 16-byte salt, so that their hash tells nothing."""
    return canonical.encode({**details, "salt": to_base64url(salt)})


def details_hash(details: str) -> bytes:
    """SHA-256 of stored details."""
    return hashlib.sha256(details.encode()).digest()


def encode_entry(event: Event, rows: Sequence[RowMark], details: str | None) -> bytes:
    """The entry's bytes; InvalidInputError when they would be too long to store."""
    entry = canonical.encode(
        {
            "v": ENTRY_VERSION,
            "type": event.type.value,
            "time": to_micros(event.time),
            "tenant": event.tenant,
            "actor": event.actor,
            "subjects": list(event.subjects),
            "rows": [[mark.id, mark.revision, to_base64url(mark.digest)] for mark in rows],
            "details_hash": None if details is None else to_base64url(details_hash(details)),
        }
    ).encode()
    if len(entry) > MAX_ENTRY_BYTES:
        raise InvalidInputError(f"a log entry has at most {MAX_ENTRY_BYTES} bytes, this one {len(entry)}")
    return entry


def decode_entry(entry: bytes) -> Entry:
    """What an entry says; IntegrityError for bytes that `encode_entry` does not make.

    Up to the sealed head nobody looks at entries' own seals, so that what is read here is not to be trusted in form.
    """
    try:
        members: Any = canonical.decode_sealed(entry.decode())
        if members.pop("v") != ENTRY_VERSION:
            raise IntegrityError("a log entry has a format this program does not know")
        hashed = members.pop("details_hash")
        return Entry(
            rows=tuple(_mark(*parts) for parts in members.pop("rows")),
            subjects=tuple(members.pop("subjects")),
            details_hash=None if hashed is None else from_base64url(hashed),
            **members,
        )
    except (KeyError, ValueError, TypeError, AttributeError):
        raise IntegrityError("a log entry is malformed") from None


def _mark(row_id: str, revision: int, digest: str) -> RowMark:
    mark = RowMark(row_id, revision, from_base64url(digest))
    if (
        type(row_id) is not str
        or type(revision) is not int
        or revision < 1
        or len(mark.digest) != _DIGEST_BYTES
    ):
        raise ValueError("not a row")
    return mark
