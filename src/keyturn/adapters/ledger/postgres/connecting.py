"""Connections that give up in time, even on a server that is frozen.

A server-side timeout needs a server that runs; here the client stops waiting by itself, closes the
connection and says so. Looking up the host's name is the operating system's affair, and its time is not
bounded here.
"""

from __future__ import annotations

import select
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, LiteralString, TypeVar

import psycopg
from psycopg import generators, pq, waiting
from psycopg.abc import ConnDict, PQGen
from psycopg.conninfo import conninfo_attempts, conninfo_to_dict, make_conninfo

from keyturn.errors import ConfigurationError

__all__ = ["DeadlineConnection", "DeadlineExpiredError", "Settings", "connect", "parse_url"]

OLDEST_SERVER: Final = (
    150_000  # 15: the oldest that PostgreSQL still mends, and that this adapter is tested on
)

_INTERVAL = 0.1  # seconds between looks at signals while waiting
_RV = TypeVar("_RV")
_TimedOut = psycopg.errors._WaitTimeout  # noqa: SLF001  (what `wait` raises has no public name)
_DEFAULTS: Final = {
    "application_name": "keyturn",
    "client_encoding": "UTF8",
    "target_session_attrs": "primary",  # a standby's log is older than the primary's by an unknown time
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",  # ms
}

# Compiling a plan (jit) costs more than any statement here takes.
_SESSION: Final[LiteralString] = (
    "SELECT set_config('lock_timeout', %s, false), set_config('statement_timeout', %s, false),"
    " set_config('jit', 'off', false), set_config('search_path', 'pg_catalog, pg_temp', false)"
)
_TRANSACTION: Final[LiteralString] = (
    "SELECT set_config('lock_timeout', %s, true), set_config('statement_timeout', %s, true)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How long to wait, in seconds, and how many connections to keep.

    Attributes:
        read: for what the hot path reads: credentials, the head, 1,000 entries of the log.
        query: for every other read.
        write: for a commit and other writes, waiting included.
        passing: for a write that is made in passing.
        connect: for opening a connection, at most.
        pool: connections used at the same time, the one that listens for news aside.
        prepare: whether to use prepared statements.
    """

    read: float = 0.25
    query: float = 5.0
    write: float = 10.0
    passing: float = 0.25
    connect: float = 2.0
    pool: int = 8
    prepare: bool = True


class DeadlineExpiredError(psycopg.OperationalError):
    """The server did not answer in time; the connection is closed."""


class DeadlineConnection(psycopg.Connection[Any]):
    """A connection on which nothing waits past `deadline` (of the monotonic clock)."""

    deadline: float = 0.0

    def wait(self, gen: PQGen[_RV], interval: float = _INTERVAL, timeout: float | None = None) -> _RV:
        """Run `gen` until the deadline; past it, or when interrupted, close the connection.

        An explicit `timeout` (that of `notifies`) leaves the connection as it is.
        """
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        remaining = max(0.0, self.deadline - monotonic())
        try:
            return waiting.wait(gen, self.pgconn.socket, interval=interval, timeout=remaining)
        except _TimedOut:
            self.close()
            raise DeadlineExpiredError("the server did not answer in time") from None
        except (KeyboardInterrupt, SystemExit):
            self.close()  # a statement is under way and its answer would meet the next one's
            raise

    @contextmanager
    def brief_transaction(self, seconds: float) -> Iterator[None]:
        """A transaction of which the server lets no statement take this long."""
        with self.transaction():
            self.execute(_TRANSACTION, _limits(seconds), prepare=False)
            yield

    def is_quiet(self) -> bool:
        """Whether nothing has arrived: a word nobody asked for is nearly always the server's last."""
        if self.closed or self.pgconn.transaction_status != pq.TransactionStatus.IDLE:
            return False
        poll = select.poll()
        poll.register(self.pgconn.socket, select.POLLIN)
        return not poll.poll(0)


def parse_url(url: str) -> dict[str, Any]:
    """The connection's parameters, with our defaults; ConfigurationError when the URL does not parse."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error:
        # psycopg's message may quote the part of the URL with the password.
        raise ConfigurationError(
            "the store's URL is not a valid PostgreSQL URL",
            fix="Write postgresql://user:password@host:5432/database, special characters percent-encoded.",
        ) from None
    return {**_DEFAULTS, **given}


def connect(params: dict[str, Any], settings: Settings, deadline: float) -> DeadlineConnection:
    """A new connection in autocommit, on the first host that takes us, before `deadline`.

    Raises psycopg.Error, or ConfigurationError for a server that is too old.
    """
    connection = _first_that_answers(conninfo_attempts(params), deadline)
    connection.deadline = deadline
    try:
        _prepare_session(connection, settings)
    except BaseException:
        connection.close()
        raise
    return connection


def _first_that_answers(attempts: Sequence[ConnDict], deadline: float) -> DeadlineConnection:
    """Try each address in turn, none for longer than its share of the time."""
    for left in range(len(attempts), 1, -1):
        with suppress(psycopg.OperationalError):
            return _attempt(make_conninfo("", **attempts[-left]), (deadline - monotonic()) / left)
    return _attempt(make_conninfo("", **attempts[-1]), deadline - monotonic())


def _attempt(conninfo: str, timeout: float) -> DeadlineConnection:
    try:
        pgconn = waiting.wait_conn(
            generators.connect(conninfo), interval=_INTERVAL, timeout=max(0.0, timeout)
        )
    except _TimedOut:
        raise DeadlineExpiredError("the server did not accept a connection in time") from None
    return DeadlineConnection(pgconn)


def _prepare_session(connection: DeadlineConnection, settings: Settings) -> None:
    version = connection.info.server_version
    if version < OLDEST_SERVER:
        raise ConfigurationError(
            f"PostgreSQL {version // 10_000} is too old",
            fix=f"Use PostgreSQL {OLDEST_SERVER // 10_000} or newer.",
        )
    connection.autocommit = True
    connection.prepare_threshold = 2 if settings.prepare else None
    connection.execute(_SESSION, _limits(settings.write), prepare=False)


def _limits(seconds: float) -> tuple[str, str]:
    """For a lock and for a statement: the server gives up before the client does, so that what it says is heard."""
    milliseconds = seconds * 1_000
    return f"{milliseconds * 0.8:.0f}", f"{milliseconds * 0.9:.0f}"
