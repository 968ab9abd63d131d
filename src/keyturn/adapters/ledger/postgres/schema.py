"""The schema: applying its files, and checking that they are there."""

from __future__ import annotations

from time import monotonic
from typing import Any, Final, cast

import psycopg
from psycopg import sql

from keyturn.adapters.ledger.postgres.connecting import DeadlineConnection, Settings, connect, parse_url
from keyturn.adapters.ledger.postgres.failures import read_errors
from keyturn.errors import ConfigurationError, SchemaError
from keyturn.ports.schema import refuse_newer, refuse_older, schema_files

__all__ = ["checked_log_id", "initialise"]

_SECONDS: Final = 60.0  # for each wait in `initialise`, such as for another one
_BUILDING: Final = 3_600.0  # seconds for what it applies: an index of a million keys takes some half a minute
_LOCK: Final = 30229394827342446  # that of keyturn.commit: the schema never changes under a commit

_WRITABLE: Final = (
    "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'keyturn'::regnamespace AND relkind IN ('r', 'p')"
    " AND has_table_privilege(%s, oid, 'INSERT, UPDATE, DELETE, TRUNCATE') ORDER BY 1"
)


def initialise(url: str, *, log_id: str, grant_to: str | None = None) -> None:
    """Bring the schema up to date, name the log unless it has a name, and grant a role what the program needs.

    Run as the role that owns the schema, or shall own it. All or nothing; safe to run again, and by several at once.
    On a large store it takes minutes, in which nothing is written and everything is read.

    Args:
        url: the database, as the schema's owner.
        log_id: 16 base62 characters; ignored if the log has a name already.
        grant_to: the role that the program connects as; it must exist. None when the owner does all itself.

    Raises:
        SchemaError: the schema is newer than this program.
        ConfigurationError: the server, the database or a role does not fit; the fix says what to run.
        StorageError: the database did not answer.
    """
    deadline = monotonic() + _SECONDS
    with read_errors():
        # The settings give lock and statement time-outs of the same order as the deadline.
        connection = connect(parse_url(url), Settings(write=_SECONDS, prepare=False), deadline)
        try:
            _require_utf8(connection)
            with connection.transaction():
                connection.execute("SET LOCAL standard_conforming_strings = on")
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
                _allow_time(connection)
                _apply_missing(connection)
                _name_log(connection, log_id)
                if grant_to is not None:
                    _grant(connection, grant_to)
        finally:
            connection.close()


def checked_log_id(connection: psycopg.Connection[Any]) -> str:
    """The log's id; SchemaError unless the schema is there, whole, and of a version that this program can use."""
    newest = schema_files(__package__)[-1][0]
    version, oldest_program = _versions(connection)
    refuse_older(version=version, newest=newest)
    refuse_newer(version=version, oldest_program=oldest_program, newest=newest)
    found = connection.execute("SELECT log_id FROM keyturn.log").fetchone()
    if found is None:
        raise SchemaError("the store's schema is unfinished: its log has no name; run 'keyturn init'")
    return cast(str, found[0])


def _versions(connection: psycopg.Connection[Any]) -> tuple[int, int]:
    """The schema's version and the oldest program that may use it; zeros for none."""
    exists = connection.execute("SELECT to_regclass('keyturn.schema_versions') IS NOT NULL").fetchone()
    if exists is None or not exists[0]:
        return 0, 0
    found = connection.execute(
        "SELECT coalesce(max(version), 0), coalesce(max(oldest_program), 0) FROM keyturn.schema_versions"
    ).fetchone()
    return cast(tuple[int, int], found)


def _require_utf8(connection: psycopg.Connection[Any]) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise ConfigurationError(
            f"the database's encoding is {encoding}, not UTF8",
            fix="Create it with: CREATE DATABASE keyturn ENCODING 'UTF8' TEMPLATE template0;",
        )


def _allow_time(connection: DeadlineConnection) -> None:
    """As much as a large store takes; locks are waited for no longer than before."""
    connection.deadline = monotonic() + _BUILDING
    milliseconds = f"{_BUILDING * 900:.0f}"
    connection.execute("SELECT set_config('statement_timeout', %s, true)", (milliseconds,))


def _apply_missing(connection: DeadlineConnection) -> None:
    files = schema_files(__package__)
    version, oldest_program = _versions(connection)
    refuse_newer(version=version, oldest_program=oldest_program, newest=files[-1][0])
    for number, text in files:
        if number > version:
            connection.execute(text.encode())


def _name_log(connection: DeadlineConnection, log_id: str) -> None:
    if connection.execute("SELECT FROM keyturn.log").fetchone() is None:
        connection.execute("INSERT INTO keyturn.log (log_id) VALUES (%s)", (log_id,))


def _grant(connection: DeadlineConnection, role: str) -> None:
    quoted = sql.Identifier(role).as_string(connection)
    if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is None:
        raise ConfigurationError(
            f"the role {quoted} does not exist",
            fix=f"Run: CREATE ROLE {quoted} LOGIN PASSWORD '...'; then 'keyturn init' again.",
        )
    owner = "(SELECT nspowner FROM pg_namespace WHERE nspname = 'keyturn')"
    may_all = connection.execute(f"SELECT pg_has_role(%s, {owner}, 'MEMBER')".encode(), (role,)).fetchone()
    if may_all is not None and may_all[0]:
        raise ConfigurationError(
            f"the role {quoted} may act as the schema's owner, so that restricting it would be an empty promise",
            fix="Grant to a role that is neither the owner, nor a member of it, nor a superuser.",
        )
    connection.execute("SELECT keyturn.grant_to(%s)", (role,))
    writable = connection.execute(_WRITABLE, (role,)).fetchall()
    if writable:
        raise ConfigurationError(
            f"the role {quoted} may still write to {writable[0][0]}, by way of another role",
            fix=f"Take {quoted} out of pg_write_all_data and of roles that own or may write to the schema.",
        )
