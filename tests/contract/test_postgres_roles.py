"""Who may do what in the schema: the program reads and calls functions, everybody else nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from keyturn.adapters.ledger.postgres import initialise, open_ledger
from keyturn.errors import ConfigurationError
from tests.contract.ledger_samples import change_of, plain_row
from tests.contract.ledger_stores import LOG_ID, postgres_store
from tests.contract.older_schemas import LANDED, apply_older
from tests.contract.postgres_server import APP_ROLE, OWNER_ROLE, PostgresDatabase

PROGRAM_FUNCTIONS = {
    "commit",
    "seal_head",
    "save_snapshot",
    "record_uses",
    "reseal",
    "forget_answers",
    "keep_state",
}


@pytest.fixture
def database(postgres_database: PostgresDatabase) -> PostgresDatabase:
    initialise(postgres_database.owner_url, log_id=LOG_ID, grant_to=APP_ROLE)
    return postgres_database


@pytest.fixture
def owner(database: PostgresDatabase) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def program(database: PostgresDatabase) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.app_url, autocommit=True) as connection:
        yield connection


def tables(connection: psycopg.Connection[Any]) -> list[str]:
    found = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'keyturn'::regnamespace AND relkind NOT IN ('i', 'I', 't')"
    ).fetchall()
    assert len(found) >= 8, "the catalogue must not come up empty, or nothing would be tested"
    return [name for (name,) in found]


def executable(connection: psycopg.Connection[Any]) -> set[str]:
    """The functions of the schema that a role may execute."""
    found = connection.execute(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'keyturn'::regnamespace"
        " AND has_function_privilege(oid, 'EXECUTE')"
    ).fetchall()
    return {name for (name,) in found}


def first_column(connection: psycopg.Connection[Any], table: str) -> str:
    found = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum = 1", (f"keyturn.{table}",)
    ).fetchone()
    assert found is not None
    return str(found[0])


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO {table} DEFAULT VALUES",
        "UPDATE {table} SET {column} = {column}",
        "DELETE FROM {table}",
        "TRUNCATE {table}",
        "LOCK TABLE {table} IN EXCLUSIVE MODE",
        "ALTER TABLE {table} DISABLE TRIGGER ALL",
        "DROP TABLE {table}",
        "CREATE INDEX ON {table} ({column})",
    ],
)
def test_program_cannot_write_to_any_table(
    owner: psycopg.Connection[Any], program: psycopg.Connection[Any], statement: str
) -> None:
    for table in tables(owner):
        parts = {
            "table": sql.Identifier("keyturn", table),
            "column": sql.Identifier(first_column(owner, table)),
        }
        with pytest.raises(psycopg.errors.InsufficientPrivilege), program.transaction():
            program.execute(sql.SQL(statement).format(**parts))


def test_program_may_read_every_table(
    owner: psycopg.Connection[Any], program: psycopg.Connection[Any]
) -> None:
    for table in tables(owner):
        program.execute(sql.SQL("SELECT FROM {}").format(sql.Identifier("keyturn", table)))


def test_program_may_execute_only_the_functions_that_it_needs(program: psycopg.Connection[Any]) -> None:
    assert executable(program) == PROGRAM_FUNCTIONS | {"document"}


def test_program_cannot_create_anything_in_the_schema(program: psycopg.Connection[Any]) -> None:
    for statement in (
        b"CREATE TABLE keyturn.mine ()",
        b"CREATE FUNCTION keyturn.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        b"CREATE OR REPLACE FUNCTION keyturn.commit(changes jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT changes'",
        b"SET ROLE keyturn_owner",
        b"SELECT keyturn.grant_to('public')",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            program.execute(statement)


def test_public_has_no_privilege_in_the_schema(owner: psycopg.Connection[Any]) -> None:
    found = owner.execute(
        """
        SELECT 'schema', privilege_type FROM pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner))) AS a
        WHERE nspname = 'keyturn' AND a.grantee = 0
        UNION ALL
        SELECT relname, privilege_type FROM pg_class, aclexplode(coalesce(relacl, acldefault('r', relowner))) AS a
        WHERE relnamespace = 'keyturn'::regnamespace AND a.grantee = 0
        UNION ALL
        SELECT proname, privilege_type FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner))) AS a
        WHERE pronamespace = 'keyturn'::regnamespace AND a.grantee = 0
        """
    ).fetchall()
    assert found == []


def test_functions_with_the_owners_rights_choose_their_own_search_path(
    owner: psycopg.Connection[Any],
) -> None:
    found = owner.execute(
        "SELECT proname, proconfig FROM pg_proc WHERE pronamespace = 'keyturn'::regnamespace AND prosecdef"
    ).fetchall()
    assert {name for name, _ in found} == PROGRAM_FUNCTIONS
    for name, settings in found:
        assert "search_path=pg_catalog, pg_temp" in settings, name


def test_a_programs_temporary_objects_do_not_stand_in_for_the_real_ones(
    database: PostgresDatabase, program: psycopg.Connection[Any]
) -> None:
    program.execute("CREATE TEMP TABLE rows (LIKE keyturn.rows)")
    program.execute("CREATE TEMP TABLE entries (LIKE keyturn.entries)")
    program.execute("CREATE FUNCTION pg_temp.sha256(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT $1'")
    program.execute("SET search_path = pg_temp, pg_catalog")
    change = '[{"entries": [{"entry": "aGk=", "seal": "AA==", "rows": []}]}]'
    program.execute("SELECT keyturn.commit(%s::jsonb)", (change,))
    ledger = open_ledger(database.app_url)
    assert [len(entry.hash) for entry in ledger.read_log(1, 10)] == [32]
    ledger.close()


def test_init_takes_back_what_a_careless_hand_gave(
    database: PostgresDatabase, owner: psycopg.Connection[Any], program: psycopg.Connection[Any]
) -> None:
    owner.execute("GRANT ALL ON ALL TABLES IN SCHEMA keyturn TO keyturn_app")
    program.execute("DELETE FROM keyturn.uses")
    initialise(database.owner_url, log_id=LOG_ID, grant_to=APP_ROLE)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        program.execute("DELETE FROM keyturn.uses")


def test_a_role_of_an_older_schema_may_call_what_is_new_after_init(
    postgres_database: PostgresDatabase,
) -> None:
    """Whoever brings the schema up to date need not remember which role the servers use."""
    older = postgres_store(postgres_database)
    for version in (3, LANDED["postgres"]):
        apply_older(older, version)
        initialise(older.owner_url, log_id=LOG_ID)
        with psycopg.connect(older.url) as program:
            assert executable(program) == PROGRAM_FUNCTIONS | {"document"}
            program.execute("SELECT FROM keyturn.deliveries")
        with psycopg.connect(older.owner_url) as owner:
            grantees = owner.execute(
                "SELECT DISTINCT a.grantee::regrole::text FROM pg_proc, aclexplode(proacl) AS a"
                " WHERE pronamespace = 'keyturn'::regnamespace ORDER BY 1"
            ).fetchall()
            assert grantees == [(APP_ROLE,), (OWNER_ROLE,)]
            owner.execute("DROP SCHEMA keyturn CASCADE")


def test_a_later_file_that_only_grants_anew_gives_programs_what_it_brings(
    owner: psycopg.Connection[Any], program: psycopg.Connection[Any]
) -> None:
    """What the next migration relies on: no list of functions that it would have to repeat."""
    owner.execute("CREATE TABLE keyturn.newer (x text)")
    for name, rights in (
        ("called", "SECURITY DEFINER SET search_path = pg_catalog, pg_temp"),
        ("helping", ""),
    ):
        owner.execute(
            f"CREATE FUNCTION keyturn.{name}() RETURNS integer LANGUAGE sql {rights} AS 'SELECT 1'".encode()
        )
    owner.execute("SELECT keyturn.grant_anew()")
    assert executable(program) == PROGRAM_FUNCTIONS | {"document", "called"}
    program.execute("SELECT FROM keyturn.newer")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        program.execute("INSERT INTO keyturn.newer VALUES ('x')")


def test_init_names_the_statement_for_a_role_that_does_not_exist(postgres_url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        initialise(postgres_url, log_id=LOG_ID, grant_to='no "such" role')
    assert 'CREATE ROLE "no ""such"" role" LOGIN' in caught.value.fix
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT to_regnamespace('keyturn')").fetchone() == (None,), "all or nothing"


@pytest.mark.parametrize("role", [OWNER_ROLE, "postgres"])
def test_init_refuses_to_call_the_owner_restricted(postgres_url: str, role: str) -> None:
    with pytest.raises(ConfigurationError, match="empty promise"):
        initialise(postgres_url, log_id=LOG_ID, grant_to=role)


def test_init_refuses_a_role_that_may_write_by_way_of_another(postgres_database: PostgresDatabase) -> None:
    with psycopg.connect(postgres_database.superuser_url, autocommit=True) as superuser:
        superuser.execute("CREATE ROLE careless IN ROLE pg_write_all_data")
        try:
            with pytest.raises(ConfigurationError, match="may still write"):
                initialise(postgres_database.owner_url, log_id=LOG_ID, grant_to="careless")
        finally:
            superuser.execute("DROP ROLE careless")


def test_a_role_without_grants_is_told_which_it_lacks(postgres_database: PostgresDatabase) -> None:
    initialise(postgres_database.owner_url, log_id=LOG_ID)
    with pytest.raises(ConfigurationError) as caught:
        open_ledger(postgres_database.app_url)
    assert "keyturn.grant_to" in caught.value.fix


def test_the_owner_may_run_the_program_itself(postgres_url: str) -> None:
    initialise(postgres_url, log_id=LOG_ID)
    ledger = open_ledger(postgres_url)
    assert ledger.commit(change_of(plain_row("row", 1))) == 1
    ledger.close()
