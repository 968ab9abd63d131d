"""Rows and entries between services and a ledger: sealed on the way in, checked on the way out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from keyturn.crypto.keyring import Keyring, Purpose
from keyturn.crypto.randomness import random_bytes
from keyturn.crypto.sealing import place_of, reseal_material
from keyturn.domain import canonical
from keyturn.domain.change import ChangeSet, Event, Put
from keyturn.domain.entry import RowMark, encode_details, encode_entry
from keyturn.domain.stored import read_as
from keyturn.errors import IntegrityError, InvalidInputError
from keyturn.ports.ledger import Commit, NewEntry, NewRow, Row
from keyturn.records.entry_seals import Seen, seal_entry

MAX_BODY_BYTES = 65_536


class OpenedRow(NamedTuple):
    """A row whose seal holds; `digest` is the SHA-256 of its body."""

    row: Row
    body: Mapping[str, Any]
    digest: bytes


def seal_changes(keyring: Keyring, changes: ChangeSet, seen: Seen) -> Commit:
    """The commit that says `changes`, by one who has read the log up to `seen`.

    InvalidInputError where a body or an entry would be too long to store.
    """
    marks: dict[str, RowMark] = {}
    rows = []
    for put in changes.puts:
        row, marks[put.id] = _seal_row(keyring, put)
        rows.append(row)
    return Commit(
        requires=changes.requires,
        rows=tuple(rows),
        entries=tuple(_seal_entry(keyring, event, marks, seen) for event in changes.events),
    )


def _seal_row(keyring: Keyring, put: Put) -> tuple[NewRow, RowMark]:
    body = canonical.encode(put.body)
    raw = body.encode()
    if len(raw) > MAX_BODY_BYTES:
        raise InvalidInputError(
            f"the {put.kind} takes {len(raw)} bytes and may take {MAX_BODY_BYTES}",
            fix="Shorten its metadata, permissions or tags.",
        )
    row = NewRow(
        id=put.id,
        kind=put.kind,
        tenant=put.tenant,
        revision=put.revision,
        body=body,
        seal=keyring.seal(Purpose.ROW, raw),
        material=_under_primary(keyring, put),
    )
    return row, RowMark(put.id, put.revision, hashlib.sha256(raw).digest())


def _under_primary(keyring: Keyring, put: Put) -> bytes | None:
    """A put's material as it is stored now: what was sealed or read before the data key changed is sealed anew."""
    place = place_of(put.body)
    if put.material is None or place is None:
        return put.material
    try:
        # What a new row brings, this process has sealed. What a changed one keeps was read from the store, where
        # somebody who has a retired data key may have put it.
        return reseal_material(keyring, put.material, place, is_own=put.revision == 1)
    except IntegrityError:
        return (
            put.material
        )  # found altered, and refused, by whoever opens it: the key can be revoked all the same


def _seal_entry(keyring: Keyring, event: Event, marks: Mapping[str, RowMark], seen: Seen) -> NewEntry:
    details = encode_details(event.details, random_bytes(16)) if event.details else None
    entry = encode_entry(event, [marks[row_id] for row_id in event.rows], details)
    return NewEntry(entry=entry, seal=seal_entry(keyring, entry, seen), details=details, rows=event.rows)


def open_row(keyring: Keyring, row: Row) -> OpenedRow:
    """The row's body, once its seal holds and every column says the same as the body; else IntegrityError."""
    with read_as("a row"):
        raw = row.body.encode()
        keyring.check(Purpose.ROW, raw, row.seal)
        body: Any = canonical.decode_sealed(row.body)
        columns = {"id": row.id, "kind": row.kind, "tenant": row.tenant, "revision": row.revision}
        if any(body.get(name) != value for name, value in columns.items()):
            raise IntegrityError("a row's columns differ from its sealed body")
        return OpenedRow(row, body, hashlib.sha256(raw).digest())
