"""What the ledger asks the database. Every statement is fixed text; values travel beside it, never in it."""
# ruff: noqa: S608  (what is put together here is constants of this module, no value from outside)

from __future__ import annotations

from typing import Final, Literal, LiteralString

from keyturn.ports.ledger import Position, RotationFilter, RowFilter

_ROW: Final[LiteralString] = "id, kind, tenant, revision, body, seal, material, created, position"
ROW_WIDTH: Final = 9

_TRIPLE: Final[LiteralString] = ", ".join(
    f"{table}.{column}" for table in ("v", "k", "o") for column in _ROW.split(", ")
)

READ_ROWS: Final[LiteralString] = f"SELECT {_ROW} FROM keyturn.rows WHERE id = ANY(%s)"
_CREDENTIALS: Final[LiteralString] = f"""
    SELECT {_TRIPLE} FROM keyturn.rows AS v
    JOIN keyturn.rows AS k ON k.id = v.key_id
    LEFT JOIN keyturn.rows AS o ON o.id = k.owner_row"""
READ_CREDENTIAL: Final[LiteralString] = f"{_CREDENTIALS} WHERE v.credential_id = %s"
READ_CREDENTIALS: Final[LiteralString] = f"{_CREDENTIALS} WHERE v.credential_id = ANY(%s)"
HAS_CREDENTIAL_FROM: Final[LiteralString] = (
    "SELECT EXISTS (SELECT FROM keyturn.rows WHERE credential_id >= %s)"
)
READ_VERSIONS: Final[LiteralString] = f"""
    SELECT {_ROW} FROM keyturn.rows WHERE kind = 'version' AND key_id = %s
    ORDER BY created, length(id), id"""
LIST_OWNED: Final[LiteralString] = f"""
    SELECT {_ROW} FROM keyturn.rows WHERE kind = 'key' AND tenant = %s AND owner = %s AND id > %s
    ORDER BY id LIMIT %s"""
LIST_EXPIRED: Final[LiteralString] = f"""
    SELECT {_ROW} FROM keyturn.rows
    WHERE kind = 'key' AND state = 'active' AND expires_at <= %s AND id > %s
    ORDER BY id LIMIT %s"""
LIST_ROWS: Final[LiteralString] = f"SELECT {_ROW} FROM keyturn.rows WHERE id > %s ORDER BY id LIMIT %s"
COUNT_ROWS: Final[LiteralString] = "SELECT count(*) FROM keyturn.rows"
READ_LOG: Final[LiteralString] = """
    SELECT position, entry, seal, hash, details FROM keyturn.entries WHERE position >= %s
    ORDER BY position LIMIT %s"""
READ_HEAD: Final[LiteralString] = "SELECT coalesce(max(position), 0) FROM keyturn.entries"
READ_SEALED_HEAD: Final[LiteralString] = "SELECT position, hash, seal FROM keyturn.sealed_heads"
READ_SNAPSHOT: Final[LiteralString] = "SELECT position, hash, body, seal FROM keyturn.snapshots"
# The bounds are 0 and MAX_COUNT: whoever may write to the table may have written anything.
READ_USES: Final[LiteralString] = """
    SELECT version, code, minute / %(period)s * %(period)s AS first,
           sum(least(greatest(count, 0), 1099511627776))::bigint
    FROM keyturn.uses WHERE key_id = %(key_id)s AND minute BETWEEN %(first)s AND %(last)s
    GROUP BY first, version, code ORDER BY first, version, code"""
READ_LAST_USES: Final[LiteralString] = """
    SELECT key_id, version, at, ip FROM keyturn.last_uses WHERE key_id = ANY(%s)
    ORDER BY key_id, version"""

COMMIT: Final[LiteralString] = "SELECT keyturn.commit(%s::jsonb)"
SEAL_HEAD: Final[LiteralString] = "SELECT keyturn.seal_head(%s::jsonb)"
SAVE_SNAPSHOT: Final[LiteralString] = "SELECT keyturn.save_snapshot(%s, %s, %s, %s)"
READ_STATES: Final[LiteralString] = (
    "SELECT endpoint_id, turn, body FROM keyturn.deliveries WHERE endpoint_id = ANY(%s)"
)
KEEP_STATE: Final[LiteralString] = "SELECT keyturn.keep_state(%s, %s, %s)"
FORGET_ANSWERS: Final[LiteralString] = "SELECT keyturn.forget_answers(%s, %s)"
RESEAL: Final[LiteralString] = "SELECT keyturn.reseal(%s::jsonb)"
RECORD_USES: Final[LiteralString] = "SELECT keyturn.record_uses(%s::jsonb)"

# Each placeholder takes the filter's field of the same name. `lower` in C collation knows ASCII only, as the
# port asks.
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
    "q": """EXISTS (SELECT FROM unnest(ARRAY[name, id, owner]) AS word
            WHERE strpos(lower(word COLLATE "C"), lower(%(q)s COLLATE "C")) > 0)""",
}


def list_keys(matching: RowFilter, limit: int) -> tuple[LiteralString, dict[str, object]]:
    """The statement that lists keys, newest first, made of the conditions that a filter has; its parameters."""
    statement: LiteralString = f"SELECT {_ROW} FROM keyturn.rows WHERE kind = 'key' AND tenant = %(tenant)s"
    parameters: dict[str, object] = {"tenant": matching.tenant, "limit": limit}
    for field, condition in _CONDITIONS.items():
        value = getattr(matching, field)
        if value is not None:
            statement += f" AND {condition}"
            parameters[field] = value
    return statement + " ORDER BY created DESC, id DESC LIMIT %(limit)s", parameters


# These are the expressions of the indexes, word for word, or no index would be found by them.
_POLICY_OF_KEY: Final[LiteralString] = "keyturn.document(body) ->> 'rotation_policy_id'"
_COUNTED_FROM: Final[LiteralString] = (
    "coalesce(keyturn.document(body) ->> 'due_from', keyturn.document(body) ->> 'created_at')::bigint"
)
_NEXT_AT: Final[LiteralString] = "keyturn.document(body) ->> 'next_at'"
_ROTATION_CONDITIONS: Final[dict[str, LiteralString]] = {
    "before": "created < %(before)s",
    "key_id": """(keyturn.document(body) ->> 'key') COLLATE "C" = %(key_id)s""",
    "policy_id": """(keyturn.document(body) ->> 'policy_id') COLLATE "C" = %(policy_id)s""",
    "stage": """(keyturn.document(body) ->> 'stage') COLLATE "C" = %(stage)s""",
}


def due_keys(policy_id: str | None) -> LiteralString:
    """The statement that lists keys that may be due under a policy that they name; of a type, where none is given."""
    whose: LiteralString = (
        f"type = %(type)s AND {_POLICY_OF_KEY} IS NULL"
        if policy_id is None
        else f'({_POLICY_OF_KEY}) COLLATE "C" = %(policy_id)s AND {_POLICY_OF_KEY} IS NOT NULL'
    )
    return f"""
        SELECT {_ROW} FROM keyturn.rows WHERE kind = 'key' AND state = 'active' AND tenant = %(tenant)s AND {whose}
        AND {_COUNTED_FROM} <= %(before)s AND ({_COUNTED_FROM}, id) > (%(time)s, %(id)s)
        ORDER BY {_COUNTED_FROM}, id LIMIT %(limit)s"""


LIST_DUE_ROTATIONS: Final[LiteralString] = f"""
    SELECT {_ROW} FROM keyturn.rows WHERE kind = 'rotation' AND {_NEXT_AT} IS NOT NULL
    AND ({_NEXT_AT})::bigint <= %s AND (({_NEXT_AT})::bigint, id) > (%s, %s)
    ORDER BY ({_NEXT_AT})::bigint, id LIMIT %s"""
LIST_PUBLISHED: Final[LiteralString] = f"""
    SELECT {_ROW} FROM keyturn.rows
    WHERE kind = 'key' AND keyturn.document(body) ->> 'published_for' IS NOT NULL AND (tenant, id) > (%s, %s)
    ORDER BY tenant, id LIMIT %s"""


def list_rotations(matching: RotationFilter, limit: int) -> tuple[LiteralString, dict[str, object]]:
    """The statement that lists rotations, newest first, and its parameters."""
    conditions: list[LiteralString] = ["tenant = %(tenant)s"]
    parameters: dict[str, object] = {"tenant": matching.tenant}
    for field, condition in _ROTATION_CONDITIONS.items():
        value = getattr(matching, field)
        if value is not None:
            conditions.append(condition)
            parameters[field] = value
    return _newest_first("'rotation'", conditions, parameters, limit)


def list_of_kind(
    kind: Literal["policy", "endpoint"], tenant: str | None, before: Position | None, limit: int
) -> tuple[LiteralString, dict[str, object]]:
    """The statement that lists policies, or endpoints, of a tenant or of all, newest first; its parameters."""
    conditions: list[LiteralString] = []
    parameters: dict[str, object] = {}
    if tenant is not None:
        conditions.append("tenant = %(tenant)s")
        parameters["tenant"] = tenant
    if before is not None:
        conditions.append("created < %(before)s")
        parameters["before"] = before
    return _newest_first("'policy'" if kind == "policy" else "'endpoint'", conditions, parameters, limit)


def _newest_first(
    kind: LiteralString, conditions: list[LiteralString], parameters: dict[str, object], limit: int
) -> tuple[LiteralString, dict[str, object]]:
    statement: LiteralString = f"SELECT {_ROW} FROM keyturn.rows WHERE kind = {kind}"
    for condition in conditions:
        statement += f" AND {condition}"
    return statement + " ORDER BY created DESC, id DESC LIMIT %(limit)s", {**parameters, "limit": limit}
