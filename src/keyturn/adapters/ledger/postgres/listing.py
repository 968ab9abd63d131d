"""The statement behind `list_keys`, made of the conditions that a filter has."""

from __future__ import annotations

from typing import Final, LiteralString

from keyturn.adapters.ledger.postgres.encoding import ROW_COLUMNS
from keyturn.ports.ledger import RowFilter

__all__ = ["keys_statement"]

# Placeholders take the filter's field of the same name. `lower` of C collation knows ASCII only, as the port asks.
_CONDITIONS: Final[dict[str, LiteralString]] = {
    "before": "created < %(before)s",
    "owner": "owner = %(owner)s",
    "type": "type = %(type)s",
    "scope": "scope = %(scope)s",
    "state": "state = %(state)s",
    "tag": "tags ? %(tag)s",
    "prefix": "prefix = %(prefix)s",
    "expires_before": "expires_at < %(expires_before)s",
    "unused_since": """NOT EXISTS (SELECT FROM keyturn.last_uses AS u
                       WHERE u.key_id = rows.id AND u.at >= %(unused_since)s)""",
    "q": """(strpos(lower(name), lower(%(q)s COLLATE "C")) > 0 OR strpos(lower(id), lower(%(q)s COLLATE "C")) > 0
             OR strpos(lower(owner), lower(%(q)s COLLATE "C")) > 0)""",
}


def keys_statement(matching: RowFilter, limit: int) -> tuple[LiteralString, dict[str, object]]:
    """The statement and its parameters, newest keys first."""
    statement: LiteralString = f"SELECT {ROW_COLUMNS} FROM keyturn.rows WHERE kind = 'key' AND tenant = %(tenant)s"
    parameters: dict[str, object] = {"tenant": matching.tenant, "limit": limit}
    for field, condition in _CONDITIONS.items():
        value = getattr(matching, field)
        if value is not None:
            statement += f" AND {condition}"
            parameters[field] = value
    return statement + " ORDER BY created DESC, id DESC LIMIT %(limit)s", parameters
