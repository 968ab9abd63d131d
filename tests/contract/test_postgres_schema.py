"""Applying the schema, and refusing one that does not fit."""

from __future__ import annotations

import subprocess
import sys

import psycopg
import pytest

from keyturn.adapters.ledger import postgres
from keyturn.adapters.ledger.postgres import initialise, open_ledger
from keyturn.errors import ConfigurationError, InvalidInputError, SchemaError, StorageError
from keyturn.ports.schema import schema_files
from tests.contract.ledger_samples import change_of, plain_row
from tests.contract.ledger_stores import LOG_ID
from tests.contract.postgres_server import APP_ROLE, OWNER_ROLE, PostgresDatabase, PostgresServer

INITIALISE = """
import sys
from keyturn.adapters.ledger.postgres import initialise
initialise(sys.argv[1], log_id=sys.argv[2], grant_to="keyturn_app")
"""


def test_several_processes_may_initialise_at_once(postgres_database: PostgresDatabase) -> None:
    names = [letter * 16 for letter in "abcdef"]
    processes = [
        subprocess.Popen([sys.executable, "-c", INITIALISE, postgres_database.owner_url, name])
        for name in names
    ]
    assert [process.wait(60) for process in processes] == [0] * len(names)
    with psycopg.connect(postgres_database.owner_url) as connection:
        versions = connection.execute(
            "SELECT version FROM keyturn.schema_versions ORDER BY version"
        ).fetchall()
    assert [version for (version,) in versions] == [number for number, _ in schema_files(postgres.__name__)]
    ledger = open_ledger(postgres_database.app_url)
    assert ledger.log_id in names
    ledger.close()


def test_initialising_again_keeps_the_log_and_its_name(postgres_database: PostgresDatabase) -> None:
    heads = []
    for log_id in (LOG_ID, "f" * 16):
        initialise(postgres_database.owner_url, log_id=log_id, grant_to=APP_ROLE)
        ledger = open_ledger(postgres_database.app_url)
        ledger.commit(change_of(plain_row(f"row of {log_id}", 1)))
        assert ledger.log_id == LOG_ID
        heads.append(ledger.head())
        ledger.close()
    assert heads == [1, 2]


def test_initialising_fails_whole(postgres_url: str) -> None:
    with pytest.raises(InvalidInputError):
        initialise(postgres_url, log_id="not sixteen base62 characters")
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT to_regnamespace('keyturn')").fetchone() == (None,)


WATCH = """
    CREATE TABLE seen (statement_timeout text, lock_timeout text);
    CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
        INSERT INTO public.seen VALUES (current_setting('statement_timeout'), current_setting('lock_timeout'));
    END $$;
    CREATE EVENT TRIGGER watch ON ddl_command_start WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION note();
"""


def test_indexes_of_a_large_store_have_the_time_that_they_take(postgres_database: PostgresDatabase) -> None:
    """As the server has it while each is built: an hour, less a little; and less than a minute for a lock."""
    with psycopg.connect(postgres_database.superuser_url, autocommit=True) as superuser:
        superuser.execute(WATCH.encode())
        initialise(postgres_database.owner_url, log_id=LOG_ID)
        seen = superuser.execute("SELECT DISTINCT statement_timeout, lock_timeout FROM seen").fetchall()
    assert seen == [("54min", "48s")]


def test_a_store_without_the_schema_is_refused(postgres_url: str) -> None:
    with pytest.raises(SchemaError, match="keyturn init"):
        open_ledger(postgres_url)


@pytest.mark.parametrize(
    "damage", ["DELETE FROM keyturn.schema_versions WHERE version > 1", "DELETE FROM keyturn.log"]
)
def test_an_unfinished_schema_is_refused(postgres_url: str, damage: str) -> None:
    initialise(postgres_url, log_id=LOG_ID)
    with psycopg.connect(postgres_url) as connection:
        connection.execute(damage.encode())
    with pytest.raises(SchemaError, match="keyturn init"):
        open_ledger(postgres_url)


def test_a_schema_that_needs_a_newer_program_is_refused(postgres_url: str) -> None:
    initialise(postgres_url, log_id=LOG_ID)
    with psycopg.connect(postgres_url) as connection:
        connection.execute("INSERT INTO keyturn.schema_versions VALUES (99, 98)")
    with pytest.raises(SchemaError, match="99") as caught:
        open_ledger(postgres_url)
    assert "Upgrade" in caught.value.fix
    with pytest.raises(SchemaError, match="99"):
        initialise(postgres_url, log_id=LOG_ID)


def test_a_newer_schema_that_allows_this_program_is_used(postgres_url: str) -> None:
    initialise(postgres_url, log_id=LOG_ID)
    with psycopg.connect(postgres_url) as connection:
        connection.execute("INSERT INTO keyturn.schema_versions VALUES (99, 1)")
    ledger = open_ledger(postgres_url)
    assert ledger.commit(change_of(plain_row("row", 1))) == 1
    ledger.close()


def test_a_database_that_is_not_utf8_is_refused(postgres_server: PostgresServer) -> None:
    with psycopg.connect(postgres_server.url("postgres", "postgres"), autocommit=True) as superuser:
        superuser.execute(
            f"CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 OWNER {OWNER_ROLE}".encode()
        )
        try:
            with pytest.raises(ConfigurationError, match="LATIN1") as caught:
                initialise(postgres_server.url("latin", OWNER_ROLE), log_id=LOG_ID)
            assert "ENCODING 'UTF8'" in caught.value.fix
        finally:
            superuser.execute("DROP DATABASE latin")


def test_a_role_that_may_not_create_the_schema_is_told_so(postgres_app_url: str) -> None:
    with pytest.raises(ConfigurationError, match="permission denied"):
        initialise(postgres_app_url, log_id=LOG_ID)


def test_every_text_column_compares_bytewise(postgres_url: str) -> None:
    initialise(postgres_url, log_id=LOG_ID)
    with psycopg.connect(postgres_url) as connection:
        found = connection.execute(
            "SELECT attrelid::regclass, attname, collname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid"
            " JOIN pg_collation ON pg_collation.oid = attcollation"
            " WHERE relnamespace = 'keyturn'::regnamespace AND relkind = 'r' AND attnum > 0"
        ).fetchall()
    assert len(found) >= 20
    assert [column for column in found if column[2] != "C"] == []


def test_a_malformed_url_is_refused_without_its_password() -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_ledger("postgresql://user:hunter2secret@host:port/db?nonsense=hunter2secret")
    assert "hunter2secret" not in f"{caught.value} {caught.value.fix}"


def test_a_server_that_is_not_there_is_a_storage_error(postgres_url: str) -> None:
    with pytest.raises(StorageError):
        open_ledger(postgres_url + "/nowhere")


def test_without_psycopg_the_error_names_the_extra() -> None:
    program = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from keyturn.errors import ConfigurationError\n"
        "try:\n    import keyturn.adapters.ledger.postgres\n"
        "except ConfigurationError as error:\n    print(error.fix)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install 'keyturn[postgres]'" in done.stdout
