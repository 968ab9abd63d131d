"""The Ledger port on PostgreSQL. See `keyturn.ports.ledger` for what each method promises."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from time import monotonic
from typing import Final, LiteralString, cast

from keyturn.adapters.ledger.postgres import statements
from keyturn.adapters.ledger.postgres.coalescing import Coalescer
from keyturn.adapters.ledger.postgres.connecting import (
    DeadlineConnection,
    Settings,
    connect,
    parse_url,
)
from keyturn.adapters.ledger.postgres.encoding import (
    credential_of,
    encode_commit,
    encode_reseals,
    encode_sealed,
    encode_uses,
)
from keyturn.adapters.ledger.postgres.news import Listener
from keyturn.adapters.ledger.postgres.pool import Pool
from keyturn.adapters.ledger.postgres.reading import Parameters, Reader, Record
from keyturn.adapters.ledger.postgres.schema import checked_log_id
from keyturn.adapters.ledger.postgres.writing import Writer
from keyturn.errors import ConflictError, KeyturnError
from keyturn.ports.bounds import MAX_IDS, MAX_RESEALS, MAX_STATE_BYTES, MAX_USES, check_count, check_limit
from keyturn.ports.ledger import (
    Commit,
    CredentialRows,
    KeptState,
    LastUse,
    LogEntry,
    Position,
    Reseal,
    RotationFilter,
    Row,
    RowFilter,
    SealedHead,
    Snapshot,
    UsageCount,
    UseCount,
)
from keyturn.ports.passing import is_in_passing

__all__ = ["PostgresLedger", "open_ledger"]

ENTRIES_PER_READ: Final = 1_000  # that the time for one read allows for


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
        self._reader = Reader(self._pool)
        self._writer = Writer(self._pool, settings.passing)
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
        self._log_id = self._reader.run(checked_log_id, self._settings.connect + self._settings.query)

    def commit(self, commit: Commit) -> Position:
        """Apply all of `commit` or nothing, together with what else waits."""
        encoded, deadline = encode_commit(commit), self._write_deadline()
        if not is_in_passing():
            return self._commits.submit(encoded, deadline)
        # Not together: those who wait have more time than this one.
        (outcome,) = self._writer.commit([encoded], deadline)
        if isinstance(outcome, KeyturnError):
            raise outcome
        return outcome

    def read(self, ids: Sequence[str]) -> list[Row | None]:
        """The rows of these ids, in order."""
        check_count(len(ids), MAX_IDS, "ids")
        found = {record[0]: Row(*record) for record in self._fetch(statements.READ_ROWS, (list(ids),))}
        return [found.get(row) for row in ids]

    def read_credential(self, credential_id: str) -> CredentialRows | None:
        """The version that carries this credential_id, its key, and the owner's row if there is one."""
        records = self._fetch(statements.READ_CREDENTIAL, (credential_id,), self._settings.read)
        return credential_of(records[0]) if records else None

    def read_credentials(self, credential_ids: Sequence[str]) -> list[CredentialRows]:
        """Those of these credential_ids that a version carries, as `read_credential` gives them."""
        check_count(len(credential_ids), MAX_IDS, "credential_ids")
        asked = (list(credential_ids),)
        records = self._fetch(statements.READ_CREDENTIALS, asked, self._settings.read)
        return [credential_of(record) for record in records]

    def has_credential_from(self, credential_id: str) -> bool:
        """Whether a version carries this credential_id or a later one."""
        records = self._fetch(statements.HAS_CREDENTIAL_FROM, (credential_id,), self._settings.read)
        return bool(records[0][0])

    def read_versions(self, key_id: str) -> list[Row]:
        """All version rows of a key, oldest first."""
        return self._rows(statements.READ_VERSIONS, (key_id,))

    def list_keys(self, matching: RowFilter, limit: int) -> list[Row]:
        """Key rows newest first."""
        return self._rows(*statements.list_keys(matching, limit))

    def list_owned(self, tenant: str, owner: str, after: str, limit: int) -> list[Row]:
        """Key rows of an owner in the order of their ids."""
        return self._rows(statements.LIST_OWNED, (tenant, owner, after, limit))

    def list_expired(self, before: int, after: str, limit: int) -> list[Row]:
        """Active key rows of every tenant whose expiry has come, in the order of their ids."""
        return self._rows(statements.LIST_EXPIRED, (before, after, limit))

    def list_due_keys(
        self,
        tenant: str,
        before: int,
        after: tuple[int, str],
        limit: int,
        *,
        policy_id: str | None = None,
        type: str | None = None,
    ) -> list[Row]:
        """Active key rows that count from that time or an earlier one."""
        check_limit(limit)
        asked = {"tenant": tenant, "before": before, "time": after[0], "id": after[1], "limit": limit}
        whose = {"type": type} if policy_id is None else {"policy_id": policy_id}
        return self._rows(statements.due_keys(policy_id), {**asked, **whose})

    def list_due_rotations(self, before: int, after: tuple[int, str], limit: int) -> list[Row]:
        """Rotation rows whose next step is due."""
        check_limit(limit)
        return self._rows(statements.LIST_DUE_ROTATIONS, (before, *after, limit))

    def list_rotations(self, matching: RotationFilter, limit: int) -> list[Row]:
        """Rotation rows newest first."""
        check_limit(limit)
        return self._rows(*statements.list_rotations(matching, limit))

    def list_published(self, after: tuple[str, str], limit: int) -> list[Row]:
        """Key rows that have `published_for`."""
        check_limit(limit)
        return self._rows(statements.LIST_PUBLISHED, (*after, limit))

    def list_policies(self, tenant: str | None, before: Position | None, limit: int) -> list[Row]:
        """Policy rows newest first."""
        check_limit(limit)
        return self._rows(*statements.list_of_kind("policy", tenant, before, limit))

    def list_endpoints(self, tenant: str | None, before: Position | None, limit: int) -> list[Row]:
        """Endpoint rows newest first."""
        check_limit(limit)
        return self._rows(*statements.list_of_kind("endpoint", tenant, before, limit))

    def read_states(self, endpoint_ids: Sequence[str]) -> list[KeptState | None]:
        """The states of deliveries to these endpoints, in order."""
        check_count(len(endpoint_ids), MAX_IDS, "ids")
        records = self._fetch(statements.READ_STATES, (list(endpoint_ids),))
        found = {record[0]: KeptState(*record) for record in records}
        return [found.get(endpoint_id) for endpoint_id in endpoint_ids]

    def keep_state(self, state: KeptState) -> None:
        """Keep `state` in place of the one before it."""
        check_count(len(state.body), MAX_STATE_BYTES, "bytes")
        if not self._call(statements.KEEP_STATE, (state.endpoint_id, state.turn, state.body)):
            raise ConflictError("another process has gone on with these deliveries")

    def forget_answers(self, before: int, limit: int) -> int:
        """Delete the answer rows whose time is over."""
        count = self._call(statements.FORGET_ANSWERS, (before, limit))
        assert isinstance(count, int)
        return count

    def list_rows(self, after: str, limit: int) -> list[Row]:
        """Rows of every kind in the order of their ids."""
        return self._rows(statements.LIST_ROWS, (after, limit))

    def count_rows(self) -> int:
        """How many rows there are."""
        return int(self._fetch(statements.COUNT_ROWS, ())[0][0])

    def reseal(self, reseals: Sequence[Reseal]) -> int:
        """Replace seals and materials of rows that are as they were read."""
        check_count(len(reseals), MAX_RESEALS, "rows")
        if not reseals:
            return 0
        return cast(int, self._call(statements.RESEAL, (encode_reseals(reseals),)))

    def read_log(self, start: Position, limit: int) -> list[LogEntry]:
        """Entries from `start` on, in order; the time allowed grows with `limit`."""
        timeout = self._settings.read * max(1.0, limit / ENTRIES_PER_READ)
        return [LogEntry(*record) for record in self._fetch(statements.READ_LOG, (start, limit), timeout)]

    def head(self) -> Position:
        """Position of the last entry; 0 for an empty log."""
        records = self._fetch(statements.READ_HEAD, (), self._settings.read)
        return int(records[0][0])

    def sealed_head(self) -> SealedHead | None:
        """The furthest sealed head."""
        records = self._fetch(statements.READ_SEALED_HEAD, ())
        return SealedHead(*records[0]) if records else None

    def seal_head(self, sealed: SealedHead) -> None:
        """Keep `sealed` if it is ahead of the stored one."""
        self._call(statements.SEAL_HEAD, (encode_sealed(sealed),))

    def snapshot(self) -> Snapshot | None:
        """The latest snapshot of the floor."""
        records = self._fetch(statements.READ_SNAPSHOT, ())
        return Snapshot(*records[0]) if records else None

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep `snapshot` in place of an older one."""
        self._call(
            statements.SAVE_SNAPSHOT,
            (snapshot.position, snapshot.hash, snapshot.body, snapshot.seal),
        )

    def record_uses(self, uses: Sequence[UseCount]) -> None:
        """Add these counts; after OutcomeUnknownError they may have been added already."""
        check_count(len(uses), MAX_USES, "uses")
        if uses:
            self._call(statements.RECORD_USES, (encode_uses(uses),))

    def read_uses(
        self, key_id: str, first_minute: int, last_minute: int, *, period: int = 1
    ) -> list[UsageCount]:
        """Counts of a key in these minutes, oldest first."""
        asked = {"key_id": key_id, "first": first_minute, "last": last_minute, "period": period}
        records = self._fetch(statements.READ_USES, asked)
        return [
            UsageCount(version=version, code=code, minute=minute, count=count)
            for version, code, minute, count in records
        ]

    def last_uses(self, key_ids: Sequence[str]) -> list[LastUse]:
        """The latest valid use of each version of these keys."""
        check_count(len(key_ids), MAX_IDS, "ids")
        records = self._fetch(statements.READ_LAST_USES, (list(key_ids),))
        return [LastUse(key_id=key, version=version, at=at, ip=ip) for key, version, at, ip in records]

    def wait_for_news(self, timeout: float) -> None:
        """Return when the log may have grown, or after `timeout` seconds."""
        self._listener.wait(timeout)

    @property
    def waiting_commits(self) -> int:
        """How many commits wait for the one under way."""
        return self._commits.waiting

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

    def _rows(self, query: LiteralString, parameters: Parameters) -> list[Row]:
        return [Row(*record) for record in self._fetch(query, parameters)]

    def _fetch(
        self, query: LiteralString, parameters: Parameters, timeout: float | None = None
    ) -> list[Record]:
        return self._reader.fetch(query, parameters, self._settings.query if timeout is None else timeout)

    def _call(self, statement: LiteralString, arguments: Sequence[object]) -> object:
        return self._writer.call(statement, arguments, self._write_deadline())

    def _write_deadline(self) -> float:
        return monotonic() + (self._settings.passing if is_in_passing() else self._settings.write)


_LEDGERS: weakref.WeakSet[PostgresLedger] = weakref.WeakSet()


def _start_all_afresh() -> None:
    for ledger in _LEDGERS:
        ledger.start_afresh()


os.register_at_fork(after_in_child=_start_all_afresh)
