"""The Ledger port on PostgreSQL. See `keyturn.ports.ledger` for what each method promises."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final, LiteralString, TypeVar

import psycopg

from keyturn.adapters.ledger.postgres.coalescing import Coalescer
from keyturn.adapters.ledger.postgres.connecting import (
    DeadlineConnection,
    DeadlineExpiredError,
    Settings,
    connect,
    parse_url,
)
from keyturn.adapters.ledger.postgres.encoding import (
    ROW_COLUMNS,
    credential_of,
    encode_commit,
    encode_sealed,
    encode_uses,
)
from keyturn.adapters.ledger.postgres.failures import is_lost, read_errors
from keyturn.adapters.ledger.postgres.listing import keys_statement
from keyturn.adapters.ledger.postgres.news import Listener
from keyturn.adapters.ledger.postgres.pool import Pool
from keyturn.adapters.ledger.postgres.schema import checked_log_id
from keyturn.adapters.ledger.postgres.writing import Writer
from keyturn.ports.ledger import (
    Commit,
    CredentialRows,
    LastUse,
    LogEntry,
    Position,
    Row,
    RowFilter,
    SealedHead,
    Snapshot,
    UsageCount,
    UseCount,
)

__all__ = ["PostgresLedger", "open_ledger"]

MAX_IDS: Final = 1_000
MAX_USES: Final = 10_000
ENTRIES_PER_READ: Final = 1_000  # that the time for one read allows for

_Record = tuple[Any, ...]
_T = TypeVar("_T")
_TRIPLE: Final[LiteralString] = ", ".join(
    f"{table}.{column}" for table in ("v", "k", "o") for column in ROW_COLUMNS.split(", ")
)


def open_ledger(url: str, settings: Settings | None = None) -> PostgresLedger:
    """Connect to an initialised ledger as the program's role.

    Raises:
        SchemaError: the schema is missing, unfinished, or newer than this program; run `keyturn init`.
        ConfigurationError: the URL, the server or the role's rights do not fit.
        StorageError: the server could not be reached.
    """
    ledger = PostgresLedger(url, settings or Settings())
    try:
        ledger.check()
    except BaseException:
        ledger.close()
        raise
    return ledger


class PostgresLedger:
    """A ledger in the schema `keyturn` of one database; made by `open_ledger`."""

    def __init__(self, url: str, settings: Settings) -> None:
        self._params = parse_url(url)
        self._settings = settings
        self._pool = Pool(self._connect, settings.pool)
        self._writer = Writer(self._pool)
        self._commits = Coalescer(self._writer.commit)
        self._listener = Listener(self._connect)
        self._log_id = ""
        _LEDGERS.add(self)

    @property
    def log_id(self) -> str:
        """16 base62 characters that name this log for good."""
        return self._log_id

    def check(self) -> None:
        """Compare the schema with the program; the errors are those of `open_ledger`."""
        self._log_id = self._reading(checked_log_id, self._settings.connect + self._settings.query)

    def commit(self, commit: Commit) -> Position:
        """Apply all of `commit` or nothing, together with what else waits."""
        return self._commits.submit(encode_commit(commit), monotonic() + self._settings.write)

    def read(self, ids: Sequence[str]) -> list[Row | None]:
        """The rows of these ids, in order."""
        _limit(len(ids), MAX_IDS, "ids")
        query: LiteralString = f"SELECT {ROW_COLUMNS} FROM keyturn.rows WHERE id = ANY(%s)"
        found = {record[0]: Row(*record) for record in self._fetch(query, (list(ids),))}
        return [found.get(row) for row in ids]

    def read_credential(self, credential_id: str) -> CredentialRows | None:
        """The version that carries this credential_id, its key, and the owner's row if there is one."""
        query: LiteralString = (
            f"SELECT {_TRIPLE} FROM keyturn.rows AS v JOIN keyturn.rows AS k ON k.id = v.key_id"
            " LEFT JOIN keyturn.rows AS o ON o.id = k.owner_row WHERE v.credential_id = %s"
        )
        records = self._fetch(query, (credential_id,), self._settings.read)
        return credential_of(records[0]) if records else None

    def read_versions(self, key_id: str) -> list[Row]:
        """All version rows of a key, oldest first."""
        query: LiteralString = (
            f"SELECT {ROW_COLUMNS} FROM keyturn.rows WHERE kind = 'version' AND key_id = %s"
            " ORDER BY created, length(id), id"
        )
        return self._rows(query, (key_id,))

    def list_keys(self, matching: RowFilter, limit: int) -> list[Row]:
        """Key rows newest first."""
        return self._rows(*keys_statement(matching, limit))

    def list_owned(self, tenant: str, owner: str, after: str, limit: int) -> list[Row]:
        """Key rows of an owner in the order of their ids."""
        query: LiteralString = (
            f"SELECT {ROW_COLUMNS} FROM keyturn.rows"
            " WHERE kind = 'key' AND tenant = %s AND owner = %s AND id > %s ORDER BY id LIMIT %s"
        )
        return self._rows(query, (tenant, owner, after, limit))

    def list_expired(self, before: int, after: str, limit: int) -> list[Row]:
        """Active key rows of every tenant whose expiry has come, in the order of their ids."""
        query: LiteralString = (
            f"SELECT {ROW_COLUMNS} FROM keyturn.rows"
            " WHERE kind = 'key' AND state = 'active' AND expires_at <= %s AND id > %s ORDER BY id LIMIT %s"
        )
        return self._rows(query, (before, after, limit))

    def read_log(self, start: Position, limit: int) -> list[LogEntry]:
        """Entries from `start` on, in order; the time allowed grows with `limit`."""
        query: LiteralString = (
            "SELECT position, entry, seal, hash, details FROM keyturn.entries"
            " WHERE position >= %s ORDER BY position LIMIT %s"
        )
        timeout = self._settings.read * max(1.0, limit / ENTRIES_PER_READ)
        return [LogEntry(*record) for record in self._fetch(query, (start, limit), timeout)]

    def head(self) -> Position:
        """Position of the last entry; 0 for an empty log."""
        records = self._fetch("SELECT coalesce(max(position), 0) FROM keyturn.entries", (), self._settings.read)
        return int(records[0][0])

    def sealed_head(self) -> SealedHead | None:
        """The furthest sealed head."""
        records = self._fetch("SELECT position, hash, seal FROM keyturn.sealed_heads", ())
        return SealedHead(*records[0]) if records else None

    def seal_head(self, sealed: SealedHead) -> None:
        """Keep `sealed` if it is ahead of the stored one."""
        self._call("SELECT keyturn.seal_head(%s::jsonb)", (encode_sealed(sealed),))

    def snapshot(self) -> Snapshot | None:
        """The latest snapshot of the floor."""
        records = self._fetch("SELECT position, hash, body, seal FROM keyturn.snapshots", ())
        return Snapshot(*records[0]) if records else None

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep `snapshot` in place of an older one."""
        self._call(
            "SELECT keyturn.save_snapshot(%s, %s, %s, %s)",
            (snapshot.position, snapshot.hash, snapshot.body, snapshot.seal),
        )

    def record_uses(self, uses: Sequence[UseCount]) -> None:
        """Add these counts; after OutcomeUnknownError they may have been added already."""
        _limit(len(uses), MAX_USES, "uses")
        if uses:
            self._call("SELECT keyturn.record_uses(%s::jsonb)", (encode_uses(uses),))

    def read_uses(self, key_id: str, first_minute: int, last_minute: int) -> list[UsageCount]:
        """Counts of a key in these minutes, oldest first."""
        query: LiteralString = (
            "SELECT version, code, minute, sum(count)::bigint FROM keyturn.uses WHERE key_id = %s"
            " AND minute BETWEEN %s AND %s GROUP BY minute, version, code ORDER BY minute, version, code"
        )
        records = self._fetch(query, (key_id, first_minute, last_minute))
        return [UsageCount(version=v, code=code, minute=minute, count=n) for v, code, minute, n in records]

    def last_uses(self, key_ids: Sequence[str]) -> list[LastUse]:
        """The latest valid use of each version of these keys."""
        _limit(len(key_ids), MAX_IDS, "ids")
        query: LiteralString = (
            "SELECT key_id, version, at, ip FROM keyturn.last_uses WHERE key_id = ANY(%s) ORDER BY key_id, version"
        )
        records = self._fetch(query, (list(key_ids),))
        return [LastUse(key_id=key, version=version, at=at, ip=ip) for key, version, at, ip in records]

    def wait_for_news(self, timeout: float) -> None:
        """Return when the log may have grown, or after `timeout` seconds."""
        self._listener.wait(timeout)

    def close(self) -> None:
        """Close every connection; harmless when done twice."""
        self._listener.close()
        self._pool.close()

    def start_afresh(self) -> None:
        """For a forked child: leave the parent's connections, and whoever waits in it, to the parent."""
        self._pool.start_afresh()
        self._commits.start_afresh()
        self._listener.start_afresh()

    def _connect(self, deadline: float) -> DeadlineConnection:
        return connect(self._params, self._settings, min(deadline, monotonic() + self._settings.connect))

    def _rows(self, query: LiteralString, parameters: Sequence[object] | dict[str, object]) -> list[Row]:
        return [Row(*record) for record in self._fetch(query, parameters)]

    def _fetch(
        self,
        query: LiteralString,
        parameters: Sequence[object] | dict[str, object],
        timeout: float | None = None,
    ) -> list[_Record]:
        def run(connection: DeadlineConnection) -> list[_Record]:
            return connection.execute(query, parameters, binary=True).fetchall()

        return self._reading(run, self._settings.query if timeout is None else timeout)

    def _reading(self, run: Callable[[DeadlineConnection], _T], timeout: float) -> _T:
        """Read; once more on another connection where the first one turns out to be broken and time is left."""
        deadline = monotonic() + timeout
        with read_errors():
            try:
                with self._pool.lend(deadline) as connection:
                    return run(connection)
            except psycopg.Error as error:
                if isinstance(error, DeadlineExpiredError) or not is_lost(error):
                    raise
            with self._pool.lend(deadline) as connection:
                return run(connection)

    def _call(self, statement: LiteralString, arguments: Sequence[object]) -> None:
        self._writer.call(statement, arguments, monotonic() + self._settings.write)


def _limit(count: int, most: int, what: str) -> None:
    if count > most:
        raise ValueError(f"at most {most} {what} at a time, not {count}")


_LEDGERS: weakref.WeakSet[PostgresLedger] = weakref.WeakSet()


def _start_all_afresh() -> None:
    for ledger in _LEDGERS:
        ledger.start_afresh()


os.register_at_fork(after_in_child=_start_all_afresh)
