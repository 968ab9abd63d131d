"""What a server and its role are like: for whoever examines an installation. Nothing is changed."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import Final, LiteralString

from keyturn.adapters.ledger.postgres.connecting import DeadlineConnection, Settings, connect, parse_url
from keyturn.adapters.ledger.postgres.failures import read_errors

__all__ = ["ServerFacts", "examine"]

_SECONDS: Final = 10.0

_TABLES: Final[LiteralString] = (
    "SELECT oid::regclass::text FROM pg_class"
    " WHERE relnamespace = 'keyturn'::regnamespace AND relkind IN ('r', 'p')"
)
_OWNED: Final[LiteralString] = _TABLES + " AND pg_has_role(current_user, relowner, 'MEMBER') ORDER BY 1"
_WRITABLE: Final[LiteralString] = (
    _TABLES + " AND has_table_privilege(oid, 'INSERT, UPDATE, DELETE, TRUNCATE') ORDER BY 1"
)
_UNREADABLE: Final[LiteralString] = _TABLES + " AND NOT has_table_privilege(oid, 'SELECT') ORDER BY 1"
# As keyturn.grant_to has it: those that run with their owner's rights are for programs to call, the others for those to
# call, but for the one that indexes and queries share.
_UNCALLABLE: Final[LiteralString] = (
    "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'keyturn'::regnamespace"
    " AND (prosecdef OR proname = 'document') AND NOT has_function_privilege(oid, 'EXECUTE') ORDER BY 1"
)
_ROLE: Final[LiteralString] = (
    "SELECT current_user, rolsuper, has_schema_privilege('keyturn', 'CREATE')"
    " FROM pg_roles WHERE rolname = current_user"
)
_RISKY: Final[LiteralString] = (
    "SELECT name FROM pg_settings WHERE setting = 'off' AND name IN ('fsync', 'full_page_writes') ORDER BY 1"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """A server as the role of a URL sees it.

    Attributes:
        version: such as 170010 for 17.10.
        now: the server's clock, in seconds since the epoch.
        role: who the URL connects as.
        is_superuser: whether nothing restricts it.
        may_create: whether it may add to the schema.
        owned, writable, unreadable: tables that it owns, by way of other roles too; may write to; may not read.
        uncallable: functions that the program needs, and the role may not call.
        risky: settings that are off, and without which an acknowledged commit may be lost.
    """

    version: int
    now: float
    role: str
    is_superuser: bool
    may_create: bool
    owned: tuple[str, ...]
    writable: tuple[str, ...]
    unreadable: tuple[str, ...]
    uncallable: tuple[str, ...]
    risky: tuple[str, ...]


def examine(url: str) -> ServerFacts:
    """Ask the server. The schema must be there; the errors are those of `open_ledger`."""
    deadline = monotonic() + _SECONDS
    with read_errors():
        connection = connect(parse_url(url), Settings(write=_SECONDS, prepare=False), deadline)
        try:
            return _facts(connection)
        finally:
            connection.close()


def _facts(connection: DeadlineConnection) -> ServerFacts:
    def names(query: LiteralString) -> tuple[str, ...]:
        return tuple(name for (name,) in connection.execute(query).fetchall())

    role = connection.execute(_ROLE).fetchone()
    now = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    assert role is not None
    assert now is not None
    return ServerFacts(
        version=connection.info.server_version,
        now=now[0],
        role=role[0],
        is_superuser=role[1],
        may_create=role[2],
        owned=names(_OWNED),
        writable=names(_WRITABLE),
        unreadable=names(_UNREADABLE),
        uncallable=names(_UNCALLABLE),
        risky=names(_RISKY),
    )
