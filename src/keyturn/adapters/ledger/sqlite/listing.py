"""The statements behind lists: conditions from the filter, and the index that suits them best."""

from __future__ import annotations

from typing import Final, Literal

from keyturn.ports.ledger import Position, RotationFilter, RowFilter

__all__ = [
    "DUE_ROTATIONS",
    "PUBLISHED",
    "ROW_COLUMNS",
    "due_keys_statement",
    "keys_statement",
    "of_kind_statement",
    "rotations_statement",
]

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


_COUNTED_FROM: Final = "coalesce(json_extract(body, '$.due_from'), json_extract(body, '$.created_at'))"
_POLICY: Final = "json_extract(body, '$.rotation_policy_id')"


def due_keys_statement(policy_id: str | None) -> str:
    """The statement that lists keys that may be due under a policy that they name; of a type, where none is given."""
    index = "rows_due_by_type" if policy_id is None else "rows_due_by_policy"
    whose = f"type = :type AND {_POLICY} IS NULL" if policy_id is None else f"{_POLICY} = :policy_id"
    named = "" if policy_id is None else f" AND {_POLICY} IS NOT NULL"
    return (
        f"SELECT {ROW_COLUMNS} FROM rows INDEXED BY {index} WHERE kind = 'key' AND state = 'active'"
        f" AND tenant = :tenant AND {whose}{named} AND {_COUNTED_FROM} BETWEEN :time AND :before"
        f" AND ({_COUNTED_FROM}, id) > (:time, :id) ORDER BY {_COUNTED_FROM}, id LIMIT :limit"
    )


_NEXT_AT: Final = "json_extract(body, '$.next_at')"
DUE_ROTATIONS: Final = (
    f"SELECT {ROW_COLUMNS} FROM rows INDEXED BY rows_steps_due WHERE kind = 'rotation' AND {_NEXT_AT} IS NOT NULL"
    f" AND {_NEXT_AT} BETWEEN ?2 AND ?1 AND ({_NEXT_AT}, id) > (?2, ?3) ORDER BY {_NEXT_AT}, id LIMIT ?4"
)
PUBLISHED: Final = (
    f"SELECT {ROW_COLUMNS} FROM rows INDEXED BY rows_published WHERE kind = 'key'"
    " AND json_extract(body, '$.published_for') IS NOT NULL AND (tenant, id) > (?1, ?2)"
    " ORDER BY tenant, id LIMIT ?3"
)
_ROTATION_CONDITIONS: Final = {
    "before": "created < :before",
    "key_id": "json_extract(body, '$.key') = :key_id",
    "policy_id": "json_extract(body, '$.policy_id') = :policy_id",
    "stage": "json_extract(body, '$.stage') = :stage",
}


def rotations_statement(matching: RotationFilter, limit: int) -> tuple[str, dict[str, object]]:
    """The statement and its parameters, newest rotations first."""
    parameters: dict[str, object] = {"tenant": matching.tenant}
    conditions = ["kind = 'rotation'", "tenant = :tenant"]
    for field, condition in _ROTATION_CONDITIONS.items():
        value = getattr(matching, field)
        if value is not None:
            parameters[field] = value
            conditions.append(condition)
    return _newest_first(_rotations_index(matching), conditions, parameters, limit)


def _rotations_index(matching: RotationFilter) -> str:
    if matching.key_id is not None:
        return "rows_rotations_of_key"
    if matching.stage not in (None, "completed"):  # most have completed
        return "rows_rotations_in_stage"
    if matching.policy_id is not None:
        return "rows_rotations_of_policy"
    return "rows_rotations" if matching.stage is None else "rows_rotations_in_stage"


def of_kind_statement(
    kind: Literal["policy", "endpoint"], tenant: str | None, before: Position | None, limit: int
) -> tuple[str, dict[str, object]]:
    """The statement that lists policies, or endpoints, of a tenant or of all, newest first; its parameters."""
    index = "rows_policies" if kind == "policy" else "rows_endpoints"
    conditions, parameters = [f"kind = '{kind}'"], dict[str, object]()
    if tenant is not None:
        index += "_of_tenant"
        conditions.append("tenant = :tenant")
        parameters["tenant"] = tenant
    if before is not None:
        conditions.append("created < :before")
        parameters["before"] = before
    return _newest_first(index, conditions, parameters, limit)


def _newest_first(
    index: str, conditions: list[str], parameters: dict[str, object], limit: int
) -> tuple[str, dict[str, object]]:
    found = f"SELECT {ROW_COLUMNS} FROM rows INDEXED BY {index} WHERE {' AND '.join(conditions)}"
    return f"{found} ORDER BY created DESC, id DESC LIMIT :limit", {**parameters, "limit": limit}
