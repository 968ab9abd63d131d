"""Applying one Commit inside a transaction."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from keyturn.domain.entry import chain_next, chain_start
from keyturn.errors import ConflictError, InvalidInputError
from keyturn.ports.ledger import MAX_EVENTS, MAX_PUTS, Commit, NewEntry, NewRow, Position, Reseal, SealedHead

__all__ = ["append", "check_shape", "reseal", "store_sealed_head"]

_STORED: Final = "SELECT id, revision, material FROM rows WHERE id IN (SELECT value FROM json_each(?))"
_HEAD: Final = "SELECT position, hash FROM log ORDER BY position DESC LIMIT 1"
_NEW_ENTRY: Final = "INSERT INTO log (position, entry, seal, hash, details) VALUES (?, ?, ?, ?, ?)"
_NEW_ROW: Final = (
    "INSERT INTO rows (kind, tenant, revision, body, seal, material, created, position, id)"
    " VALUES (?, ?, ?, ?, ?, ?, ?7, ?7, ?8)"
)
_CHANGED_ROW: Final = (
    "UPDATE rows SET kind = ?, tenant = ?, revision = ?, body = ?, seal = ?, material = ?, position = ?"
    " WHERE id = ?"
)
_RESEALED: Final = (
    "UPDATE rows SET seal = ?, material = ? WHERE id = ? AND revision = ? AND seal = ? AND material IS ?"
)
_SEALED: Final = (
    "INSERT INTO sealed_head AS h (only_one, position, hash, seal)"
    " SELECT 1, position, hash, ?3 FROM log WHERE position = ?1 AND hash = ?2 ON CONFLICT (only_one)"
    " DO UPDATE SET position = excluded.position, hash = excluded.hash, seal = excluded.seal"
    " WHERE excluded.position > h.position"
)


_KEYRING: Final = "keyring"  # the kind of row that holds wrapped keys in its body


class _Stored(NamedTuple):
    revision: int
    material: bytes | None


_ABSENT: Final = _Stored(0, None)


def check_shape(commit: Commit) -> None:
    """InvalidInputError unless the sizes are allowed and each row is named by exactly one entry."""
    if not 1 <= len(commit.entries) <= MAX_EVENTS or len(commit.rows) > MAX_PUTS:
        raise InvalidInputError(f"a change has 1 to {MAX_EVENTS} entries and at most {MAX_PUTS} rows")
    named = Counter(row for entry in commit.entries for row in entry.rows)
    if named != Counter(row.id for row in commit.rows) or any(times > 1 for times in named.values()):
        raise InvalidInputError("each row must be named by exactly one entry, and each row put once")


def append(connection: sqlite3.Connection, log_id: str, commit: Commit) -> tuple[Position, bool]:
    """Write `commit` after the log's end; the caller holds the write lock and commits.

    Returns the position of its last entry, and whether sealed material or wrapped keys were overwritten. Raises
    ConflictError.
    """
    stored = _stored(connection, commit)
    _check_revisions(commit, stored)
    head: Position
    head, chain = connection.execute(_HEAD).fetchone() or (0, chain_start(log_id))
    _append_entries(connection, commit.entries, head, chain)
    _put_rows(connection, commit, head, stored)
    if commit.sealed_head is not None:
        store_sealed_head(connection, commit.sealed_head)
    has_overwritten = any(
        stored[row.id].material not in (None, row.material) or row.kind == _KEYRING
        for row in commit.rows if row.id in stored
    )  # fmt: skip
    return head + len(commit.entries), has_overwritten


def reseal(connection: sqlite3.Connection, reseals: Sequence[Reseal]) -> int:
    """Replace seals and materials where they are those that were read; how many there were."""
    records = [
        (each.seal, each.material, each.row.id, each.row.revision, each.row.seal, each.row.material)
        for each in reseals
    ]
    return connection.executemany(_RESEALED, records).rowcount


def store_sealed_head(connection: sqlite3.Connection, sealed: SealedHead) -> None:
    """Keep `sealed` if the log holds it, which a restore may have undone, and if it is ahead of the stored one."""
    connection.execute(_SEALED, (sealed.position, sealed.hash, sealed.seal))


def _stored(connection: sqlite3.Connection, commit: Commit) -> dict[str, _Stored]:
    ids = [require.id for require in commit.requires] + [row.id for row in commit.rows]
    records = connection.execute(_STORED, (json.dumps(ids),)) if ids else ()
    return {row: _Stored(revision, material) for row, revision, material in records}


def _check_revisions(commit: Commit, stored: dict[str, _Stored]) -> None:
    expected = [(require.id, require.revision) for require in commit.requires]
    expected += [(row.id, row.revision - 1) for row in commit.rows]
    for row, revision in expected:
        if stored.get(row, _ABSENT).revision != revision:
            raise ConflictError(f"the row {row} has moved since it was read")


def _append_entries(
    connection: sqlite3.Connection, entries: Sequence[NewEntry], head: Position, chain: bytes
) -> None:
    records = []
    for position, new in enumerate(entries, head + 1):
        chain = chain_next(chain, new.entry)
        records.append((position, new.entry, new.seal, chain, new.details))
    connection.executemany(_NEW_ENTRY, records)


def _put_rows(
    connection: sqlite3.Connection, commit: Commit, head: Position, stored: dict[str, _Stored]
) -> None:
    positions = {row: at for at, entry in enumerate(commit.entries, head + 1) for row in entry.rows}
    records = [(row.id in stored, _record(row, positions[row.id])) for row in commit.rows]
    # New rows first: a credential_id that an existing version gives up in this change is not free yet.
    connection.executemany(_NEW_ROW, [record for is_stored, record in records if not is_stored])
    connection.executemany(_CHANGED_ROW, [record for is_stored, record in records if is_stored])


def _record(row: NewRow, position: Position) -> tuple[object, ...]:
    return (row.kind, row.tenant, row.revision, row.body, row.seal, row.material, position, row.id)
