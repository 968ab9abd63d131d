"""The statement behind `list_keys`: conditions from the filter, and the index that suits them best."""

from __future__ import annotations

from typing import Final

from keyturn.ports.ledger import RowFilter

__all__ = ["ROW_COLUMNS", "keys_statement"]

ROW_COLUMNS: Final = "id, kind, tenant, revision, body, seal, material, created, position"

# Placeholders take the filter's field of the same name. SQLite's `lower` knows ASCII only, as the port asks.
_CONDITIONS: Final = {
    "before": "r.created < :before",
    "owner": "r.owner = :owner",
    "type": "r.type = :type",
    "scope": "r.scope = :scope",
    "state": "r.state = :state",
    "tag": "EXISTS (SELECT 1 FROM json_each(r.body, '$.tags') AS t WHERE t.type = 'text' AND t.value = :tag)",
    "prefix": "r.prefix = :prefix",
    "expires_before": "r.expires_at < :expires_before",
    "unused_since": "NOT EXISTS (SELECT 1 FROM last_use AS u WHERE u.key_id = r.id AND u.at >= :unused_since)",
    "q": "(instr(lower(r.name), lower(:q)) > 0 OR instr(lower(r.id), lower(:q)) > 0"
    " OR instr(lower(r.owner), lower(:q)) > 0)",
}
_COLUMNS: Final = ", ".join(f"r.{column}" for column in ROW_COLUMNS.split(", "))


def keys_statement(matching: RowFilter, limit: int) -> tuple[str, dict[str, object]]:
    """The statement and its parameters, newest keys first."""
    parameters: dict[str, object] = {"tenant": matching.tenant, "limit": limit}
    conditions = ["r.kind = 'key'", "r.tenant = :tenant"]
    for field, condition in _CONDITIONS.items():
        value = getattr(matching, field)
        if value is not None:
            parameters[field] = value
            conditions.append(condition)
    source, order = _source(matching, conditions)
    where = " AND ".join(conditions)
    return f"SELECT {_COLUMNS} FROM {source} WHERE {where} ORDER BY {order} LIMIT :limit", parameters


def _source(matching: RowFilter, conditions: list[str]) -> tuple[str, str]:
    """What to walk along, newest first: the index that most likely leaves the fewest keys to look at."""
    if matching.tag is not None and matching.owner is None:
        # CROSS JOIN keeps this order: along the tag, each time with its row.
        conditions += ["g.tenant = :tenant", "g.tag = :tag"]
        if matching.before is not None:
            conditions.append("g.created < :before")
        return "tags AS g CROSS JOIN rows AS r ON r.id = g.id", "g.created DESC, g.id DESC"
    if matching.owner is not None:
        conditions.append("r.owner IS NOT NULL")
        index = "rows_newest_of_owner"
    elif matching.state not in (None, "active"):  # most keys are active
        index = "rows_newest_in_state"
    elif matching.type is not None:
        index = "rows_newest_of_type"
    else:
        index = "rows_newest"
    return f"rows AS r INDEXED BY {index}", "r.created DESC, r.id DESC"
