"""What `keyturn.commit` and its siblings take, as JSON text, and what the tables give back."""

from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Sequence

from keyturn.adapters.ledger.postgres.statements import ROW_WIDTH
from keyturn.ports.ledger import Commit, CredentialRows, NewEntry, NewRow, Reseal, Row, SealedHead, UseCount

__all__ = ["credential_of", "encode_commit", "encode_reseals", "encode_sealed", "encode_uses"]


def encode_commit(commit: Commit) -> str:
    """One ChangeSet, each row beside the entry that names it; ValueError unless each is named by exactly one."""
    rows = {row.id: row for row in commit.rows}
    named = Counter(row for entry in commit.entries for row in entry.rows)
    if named != Counter(row.id for row in commit.rows) or any(times > 1 for times in named.values()):
        raise ValueError("each row must be named by exactly one entry, and each row put once")
    return _json(
        {
            "requires": [[require.id, require.revision] for require in commit.requires],
            "entries": [_entry(entry, rows) for entry in commit.entries],
            "sealed_head": None if commit.sealed_head is None else _sealed(commit.sealed_head),
        }
    )


def _entry(entry: NewEntry, rows: dict[str, NewRow]) -> dict[str, object]:
    return {
        "entry": _base64(entry.entry),
        "seal": _base64(entry.seal),
        "details": entry.details,
        "rows": [_row(rows[row]) for row in entry.rows],
    }


def _row(row: NewRow) -> dict[str, object]:
    return {
        "id": row.id,
        "kind": row.kind,
        "tenant": row.tenant,
        "revision": row.revision,
        "body": row.body,
        "seal": _base64(row.seal),
        "material": _base64_or_none(row.material),
    }


def encode_reseals(reseals: Sequence[Reseal]) -> str:
    """Rows for keyturn.reseal."""
    return _json(
        [
            {
                "id": each.row.id,
                "revision": each.row.revision,
                "old_seal": _base64(each.row.seal),
                "old_material": _base64_or_none(each.row.material),
                "seal": _base64(each.seal),
                "material": _base64_or_none(each.material),
            }
            for each in reseals
        ]
    )


def encode_sealed(sealed: SealedHead) -> str:
    """A sealed head for keyturn.seal_head."""
    return _json(_sealed(sealed))


def _sealed(sealed: SealedHead) -> dict[str, object]:
    return {"position": sealed.position, "hash": _base64(sealed.hash), "seal": _base64(sealed.seal)}


def encode_uses(uses: Sequence[UseCount]) -> str:
    """Counts for keyturn.record_uses."""
    return _json(
        [
            {
                "tenant": use.tenant,
                "key_id": use.key_id,
                "version": use.version,
                "code": use.code,
                "minute": use.minute,
                "count": use.count,
                "last_at": use.last_at,
                "last_ip": use.last_ip,
            }
            for use in uses
        ]
    )


def credential_of(record: tuple[object, ...]) -> CredentialRows:
    """The joined record of a version, its key and, where it has a row, the owner."""
    version, key, owner = (record[start : start + ROW_WIDTH] for start in (0, ROW_WIDTH, 2 * ROW_WIDTH))
    return CredentialRows(
        version=Row(*version),  # type: ignore[arg-type]  # the statement selects a row's columns three times
        key=Row(*key),  # type: ignore[arg-type]
        owner=None if owner[0] is None else Row(*owner),  # type: ignore[arg-type]
    )


def _base64(value: bytes) -> str:
    return b64encode(value).decode("ascii")


def _base64_or_none(value: bytes | None) -> str | None:
    return None if value is None else _base64(value)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
