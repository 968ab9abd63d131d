"""Small commits for the tests of the PostgreSQL adapter, and a check of the whole log."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable

from keyturn.domain.change import Require
from keyturn.ports.ledger import Commit, Ledger, NewEntry, NewRow

LOG_ID = "0123456789ABCDEF"
SEAL = b"\x01" + bytes(36)


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Return as soon as `condition` holds; fail when it does not within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        time.sleep(0.002)


def put_row(row: str, revision: int, *, kind: str = "keyring", body: str | None = None) -> NewRow:
    """A row as it shall be; its body does not matter unless it is given."""
    return NewRow(row, kind, "default", revision, body or json.dumps({"revision": revision}), SEAL, None)


def put_key(key: str, *, revision: int = 1, **members: object) -> NewRow:
    """A key's row, of an active key unless `members` say otherwise."""
    body = {"type": "api_token", "scope": "read", "state": "active", "prefix": "kt", "tags": [], **members}
    return put_row(key, revision, kind="key", body=json.dumps(body))


def put_version(row: str, credential: str, *, key: str = "key_x", revision: int = 1) -> NewRow:
    """A version's row."""
    return put_row(row, revision, kind="version", body=json.dumps({"credential_id": credential, "key": key}))


def new_entry(*rows: str, entry: bytes | None = None) -> NewEntry:
    """An entry that no other equals."""
    return NewEntry(entry or os.urandom(24), SEAL, None, rows)


def change_of(*rows: NewRow, requires: tuple[Require, ...] = (), entry: bytes | None = None) -> Commit:
    """One entry that names all of these rows."""
    return Commit(requires, rows, (new_entry(*(row.id for row in rows), entry=entry),))


def checked_entries(ledger: Ledger) -> list[bytes]:
    """All entries, in order, after checking that positions are dense and that the chain holds."""
    hash_ = hashlib.sha256(b"keyturn-log-v1" + ledger.log_id.encode()).digest()
    entries: list[bytes] = []
    while found := ledger.read_log(len(entries) + 1, 1_000):
        for stored in found:
            hash_ = hashlib.sha256(hash_ + stored.entry).digest()
            assert (stored.position, stored.hash) == (len(entries) + 1, hash_)
            entries.append(stored.entry)
    return entries
