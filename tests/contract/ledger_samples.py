"""Small commits for the tests of the ledger port, and a check of the whole log."""

from __future__ import annotations

import hashlib
import json
import os

from keyturn.domain.change import Require
from keyturn.ports.ledger import Commit, Ledger, NewEntry, NewRow, Row, SealedHead, UseCount

SEAL = b"\x01" + bytes(36)
HASH = bytes(range(32))


def plain_row(
    row: str, revision: int = 1, *, body: str | None = None, material: bytes | None = None
) -> NewRow:
    """A row of a kind that no index looks into."""
    body = json.dumps({"revision": revision}) if body is None else body
    return NewRow(row, "owner", "default", revision, body, SEAL, material)


def key_row(
    key: str, revision: int = 1, *, tenant: str = "default", owner: str | None = None, **members: object
) -> NewRow:
    """A key's row: active, tagged with nothing, without expiry, unless `members` say otherwise."""
    body = {"type": "api_token", "scope": "read", "state": "active", "prefix": "kt", "tags": [], **members}
    if owner is not None:
        body["owner"] = {"id": owner, "row": f"own_{owner}", "epoch": 0}
    return NewRow(key, "key", tenant, revision, json.dumps(body, ensure_ascii=False), SEAL, None)


def version_row(
    key: str, number: int, credential: str | None, revision: int = 1, *, material: bytes | None = None
) -> NewRow:
    """A version's row."""
    body = {"key": key, "number": number, "revision": revision}
    if credential is not None:
        body["credential_id"] = credential
    return NewRow(f"{key}.{number}", "version", "default", revision, json.dumps(body), SEAL, material)


def answer_row(row: str, expires_at: int, revision: int = 1) -> NewRow:
    """The row of a kept answer."""
    body = json.dumps({"expires_at": expires_at, "revision": revision})
    return NewRow(row, "answer", "default", revision, body, SEAL, b"a sealed answer")


def entry_of(*rows: str, entry: bytes | None = None, details: str | None = None) -> NewEntry:
    """An entry that no other equals."""
    return NewEntry(os.urandom(24) if entry is None else entry, SEAL, details, rows)


def change_of(
    *rows: NewRow,
    requires: tuple[Require, ...] = (),
    entry: bytes | None = None,
    sealed: SealedHead | None = None,
) -> Commit:
    """One entry that names all of these rows."""
    return Commit(requires, rows, (entry_of(*(row.id for row in rows), entry=entry),), sealed)


def entries_only(count: int) -> Commit:
    """Entries that name no row."""
    return Commit((), (), tuple(entry_of() for _ in range(count)))


def use_of(key: str, minute: int = 7, **members: object) -> UseCount:
    """One valid use of version 1, unless `members` say otherwise."""
    given: dict[str, object] = {
        "tenant": "default", "key_id": key, "version": 1, "code": "valid", "minute": minute, "count": 1,
        "last_at": minute * 60_000_000, "last_ip": "203.0.113.9", **members,
    }  # fmt: skip
    return UseCount(**given)  # type: ignore[arg-type]  # the members' types are UseCount's to say


def one_row(ledger: Ledger, row: str) -> Row | None:
    """A row by its id."""
    return ledger.read([row])[0]


def head_at(ledger: Ledger, position: int, seal: bytes = SEAL) -> SealedHead:
    """What a process seals that has read the log up to this position."""
    return SealedHead(position, ledger.read_log(position, 1)[0].hash, seal)


def ids_of(rows: list[Row]) -> list[str]:
    """The ids of rows, in order."""
    return [row.id for row in rows]


def checked_entries(ledger: Ledger) -> list[bytes]:
    """All entries, in order, after checking that positions are dense and that the chain holds."""
    chain = hashlib.sha256(b"keyturn-log-v1" + ledger.log_id.encode()).digest()
    entries: list[bytes] = []
    while found := ledger.read_log(len(entries) + 1, 1_000):
        for stored in found:
            chain = hashlib.sha256(chain + stored.entry).digest()
            assert (stored.position, stored.hash) == (len(entries) + 1, chain)
            entries.append(stored.entry)
    assert ledger.head() >= len(entries)
    return entries
