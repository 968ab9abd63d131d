"""PostgreSQL's query plans: what lists search rather than scan, for the program's role, with many rows there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from keyturn.adapters.ledger.postgres import initialise, open_ledger
from keyturn.adapters.ledger.postgres import statements as said
from keyturn.ports.ledger import RotationFilter
from tests.contract.ledger_stores import LOG_ID
from tests.contract.postgres_server import APP_ROLE, PostgresServer

# Enough that a scan would cost more, of tenants, policies and stages that are as unevenly used as they are.
FILL = (
    """
    INSERT INTO keyturn.rows (id, kind, tenant, revision, body, seal, created, position)
    SELECT 'key_' || n, 'key', 't' || n % 3, 1, json_build_object(
        'type', 'api_token', 'state', CASE WHEN n % 10 < 8 THEN 'active' ELSE 'deactivated' END,
        'created_at', n, 'due_from', CASE WHEN n % 2 = 0 THEN n END,
        'rotation_policy_id', CASE WHEN n % 5 = 0 THEN 'p' || n % 7 END,
        'published_for', CASE WHEN n % 100 = 0 THEN 60 END), '', n, n
    FROM generate_series(1, 20000) AS n
    """,
    """
    INSERT INTO keyturn.rows (id, kind, tenant, revision, body, seal, created, position)
    SELECT 'rot_' || n, 'rotation', 't' || n % 3, 1, json_build_object(
        'key', 'key_' || n % 5000, 'policy_id', CASE WHEN n % 4 > 0 THEN 'p' || n % 7 END,
        'stage', CASE WHEN n % 50 = 0 THEN 'overlap' ELSE 'completed' END,
        'next_at', CASE WHEN n % 50 = 0 THEN n END), '', n, n
    FROM generate_series(20001, 40000) AS n
    """,
    """
    INSERT INTO keyturn.rows (id, kind, tenant, revision, body, seal, created, position)
    SELECT kind || n, kind, 't' || n % 300, 1, '{}', '', n, n
    FROM generate_series(40001, 43000) AS n, unnest(ARRAY['policy', 'endpoint']) AS kind
    """,
    "ANALYZE keyturn.rows",
)


@pytest.fixture(scope="module")
def program(postgres_server: PostgresServer) -> Iterator[psycopg.Connection[Any]]:
    """A connection as the program has it, to a store with many rows."""
    database = postgres_server.create_database()
    initialise(database.owner_url, log_id=LOG_ID, grant_to=APP_ROLE)
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        for statement in FILL:
            owner.execute(statement.encode())
    with psycopg.connect(database.app_url, autocommit=True) as connection:
        connection.execute("SET search_path = pg_catalog, pg_temp")
        yield connection
    postgres_server.drop_database(database.name)


Statement = tuple[str, Any]


def rotations(**wanted: Any) -> Statement:
    return said.list_rotations(RotationFilter(tenant="t1", **wanted), 101)


KEYS = {"tenant": "t1", "before": 15_000, "time": 100, "id": "key_100", "limit": 200}
LISTS: dict[str, tuple[Statement, str, str]] = {
    # what is asked for: the statement, the index, and how many columns of it are searched by
    "keys of a policy": ((said.due_keys("p3"), {**KEYS, "policy_id": "p3"}), "due_by_policy", "4"),
    "keys of a type": ((said.due_keys(None), {**KEYS, "type": "api_token"}), "due_by_type", "4"),
    "steps": ((said.LIST_DUE_ROTATIONS, (30_000, 100, "rot_1", 200)), "steps_due", "2"),
    "published keys": ((said.LIST_PUBLISHED, ("t1", "key_1", 200)), "published", "1"),
    "rotations": (rotations(), "rotations", "1"),
    "older rotations": (rotations(before=30_000), "rotations", "2"),
    "rotations of a key": (rotations(key_id="key_77", before=30_000), "rotations_of_key", "3"),
    "rotations of a policy": (rotations(policy_id="p3", before=30_000), "rotations_of_policy", "3"),
    "rotations in a stage": (rotations(stage="overlap", before=30_000), "rotations_in_stage", "3"),
    "completed rotations": (rotations(stage="completed", before=30_000), "rotations_in_stage", "3"),
    "policies": (said.list_of_kind("policy", None, 42_000, 200), "policies", "1"),
    "a tenant's policies": (said.list_of_kind("policy", "t77", 42_000, 200), "policies_of_tenant", "2"),
    "endpoints": (said.list_of_kind("endpoint", None, 42_000, 200), "endpoints", "1"),
    "a tenant's endpoints": (said.list_of_kind("endpoint", "t77", 42_000, 200), "endpoints_of_tenant", "2"),
}


@pytest.mark.parametrize("mode", ["custom", "generic"])
@pytest.mark.parametrize("name", LISTS)
def test_a_list_walks_along_its_index(program: psycopg.Connection[Any], name: str, mode: str) -> None:
    (statement, parameters), index, columns = LISTS[name]
    found = plan(program, mode, statement, parameters)
    assert re.search(rf"Scan (using|on) rows_{index}\b", found), found
    assert "Seq Scan" not in found
    conditions = next(line for line in found.splitlines() if "Index Cond" in line)
    assert conditions.count(" AND ") + 1 == int(columns), conditions
    assert "Filter" not in found
    if "tenant's" not in name and "of a key" not in name:  # those are few, and may be sorted
        assert "Sort" not in found


def test_a_page_costs_what_it_holds_however_many_rows_there_are(program: psycopg.Connection[Any]) -> None:
    """What the plans promise, as the server counts it: blocks of memory that a page of 50 looks at."""
    for (statement, parameters), _, _ in LISTS.values():
        limited = re.sub(r"LIMIT \S+$", "LIMIT 50", statement.strip())
        given = dict(parameters) if isinstance(parameters, dict) else list(parameters)[:-1]
        if isinstance(given, dict):
            given.pop("limit")
        (answer,) = program.execute(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {limited}".encode(), given
        ).fetchone()  # type: ignore[misc]
        top = answer[0]["Plan"]
        assert top["Shared Hit Blocks"] + top["Shared Read Blocks"] < 250, statement


def plan(program: psycopg.Connection[Any], mode: str, statement: str, parameters: Any) -> str:
    """How the server carries a prepared statement out: with these parameters in mind, or with any."""
    is_named = isinstance(parameters, dict)
    names = list(parameters) if is_named else []
    values = list(parameters.values()) if is_named else list(parameters)
    turns = iter(range(1, len(values) + 1))
    text = re.sub(
        r"%\((\w+)\)s|%s",
        lambda found: f"${names.index(found[1]) + 1 if found[1] else next(turns)}",
        statement,
    )
    types = ", ".join("bigint" if isinstance(value, int) else "text" for value in values)
    given = ", ".join(repr(value) for value in values)
    program.execute(f"SET plan_cache_mode = force_{mode}_plan".encode())
    program.execute(f"PREPARE asked ({types}) AS {text}".encode())
    try:
        found = program.execute(f"EXPLAIN EXECUTE asked ({given})".encode()).fetchall()
    finally:
        program.execute(b"DEALLOCATE asked")
    return "\n".join(line for (line,) in found)


def test_the_lists_of_the_ledger_are_those_statements(postgres_app_url: str, postgres_url: str) -> None:
    """That the program's role may make them, expressions of the indexes included."""
    initialise(postgres_url, log_id=LOG_ID, grant_to=APP_ROLE)
    ledger = open_ledger(postgres_app_url)
    for _ in range(4):  # prepared from the third time on
        assert ledger.list_due_keys("t", 9, (0, ""), 9, policy_id="p") == []
        assert ledger.list_due_rotations(9, (0, ""), 9) == []
        assert (
            ledger.list_rotations(RotationFilter(tenant="t", key_id="k", policy_id="p", stage="s"), 9) == []
        )
        assert ledger.list_published(("", ""), 9) == []
    ledger.close()
