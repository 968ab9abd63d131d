"""Reads: within a deadline, and once more where a connection turns out to be broken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, LiteralString, TypeAlias, TypeVar

import psycopg

from keyturn.adapters.ledger.postgres.connecting import DeadlineConnection, DeadlineExpiredError
from keyturn.adapters.ledger.postgres.failures import is_lost, read_errors
from keyturn.adapters.ledger.postgres.pool import Pool

__all__ = ["Parameters", "Reader", "Record"]

Parameters: TypeAlias = Sequence[object] | Mapping[str, object]
Record: TypeAlias = tuple[Any, ...]
_T = TypeVar("_T")


class Reader:
    """Reads through a pool's connections."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def fetch(self, query: LiteralString, parameters: Parameters, timeout: float) -> list[Record]:
        """All records of a query; the errors are those of `run`."""

        def fetch_all(connection: DeadlineConnection) -> list[Record]:
            return connection.execute(query, parameters, binary=True).fetchall()

        return self.run(fetch_all, timeout)

    def run(self, read: Callable[[DeadlineConnection], _T], timeout: float) -> _T:
        """What `read` returns, within `timeout` seconds; StorageError and others of `translate` otherwise.

        A connection that is lost on the way is replaced once, if time is left.
        """
        deadline = monotonic() + timeout
        with read_errors():
            try:
                return self._run_once(read, deadline)
            except psycopg.Error as error:
                if isinstance(error, DeadlineExpiredError) or not is_lost(error):
                    raise
            return self._run_once(read, deadline)

    def _run_once(self, read: Callable[[DeadlineConnection], _T], deadline: float) -> _T:
        with self._pool.lend(deadline) as connection:
            return read(connection)
