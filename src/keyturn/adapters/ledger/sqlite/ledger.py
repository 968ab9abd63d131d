"""The Ledger port on SQLite. See `keyturn.ports.ledger` for what each method promises."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from keyturn.adapters.ledger.sqlite.anchor import Anchor
from keyturn.adapters.ledger.sqlite.committing import append, check_shape, reseal, store_sealed_head
from keyturn.adapters.ledger.sqlite.listing import (
    DUE_ROTATIONS,
    PUBLISHED,
    ROW_COLUMNS,
    due_keys_statement,
    keys_statement,
    of_kind_statement,
    rotations_statement,
)
from keyturn.adapters.ledger.sqlite.location import Settings, parse_url
from keyturn.adapters.ledger.sqlite.news import News
from keyturn.adapters.ledger.sqlite.reading import Readers
from keyturn.adapters.ledger.sqlite.schema import checked_log_id
from keyturn.adapters.ledger.sqlite.writing import Writer
from keyturn.errors import ConflictError
from keyturn.ports.bounds import MAX_IDS, MAX_RESEALS, MAX_STATE_BYTES, MAX_USES, check_count, check_limit
from keyturn.ports.forking import survive_forks
from keyturn.ports.ledger import (
    MAX_COUNT,
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

__all__ = ["SqliteLedger", "open_ledger"]


_WIDTH: Final = len(ROW_COLUMNS.split(", "))
_TRIPLE: Final = ", ".join(
    f"{table}.{column}" for table in ("v", "k", "o") for column in ROW_COLUMNS.split(", ")
)
_CREDENTIALS: Final = (
    f"SELECT {_TRIPLE} FROM rows AS v JOIN rows AS k ON k.id = v.key_id"
    " LEFT JOIN rows AS o ON o.id = k.owner_row"
)
_CREDENTIAL: Final = f"{_CREDENTIALS} WHERE v.credential_id = ?"
_ANY_CREDENTIAL: Final = f"{_CREDENTIALS} WHERE v.credential_id IN (SELECT value FROM json_each(?))"
_FROM_CREDENTIAL: Final = "SELECT EXISTS (SELECT 1 FROM rows WHERE credential_id >= ?)"
_OWNED: Final = (
    f"SELECT {ROW_COLUMNS} FROM rows INDEXED BY rows_owned WHERE kind = 'key' AND owner IS NOT NULL"
    " AND tenant = ? AND owner = ? AND id > ? ORDER BY id LIMIT ?"
)
# The inner query looks at the index alone, so that sorting many expired keys by id moves no bodies.
_EXPIRED: Final = (
    f"SELECT {ROW_COLUMNS} FROM rows WHERE id IN (SELECT id FROM rows INDEXED BY rows_expiring WHERE kind = 'key'"
    " AND state = 'active' AND expires_at IS NOT NULL AND expires_at <= ? AND id > ? ORDER BY id LIMIT ?) ORDER BY id"
)
_STATES: Final = (
    "SELECT endpoint_id, turn, body FROM deliveries WHERE endpoint_id IN (SELECT value FROM json_each(?))"
)
_FIRST_STATE: Final = (
    "INSERT INTO deliveries (endpoint_id, turn, body) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING"
)
_NEXT_STATE: Final = "UPDATE deliveries SET turn = ?2, body = ?3 WHERE endpoint_id = ?1 AND turn = ?2 - 1"
_SNAPSHOT: Final = (
    "INSERT INTO snapshot AS s (only_one, position, hash, body, seal)"
    " SELECT 1, position, hash, ?3, ?4 FROM log WHERE position = ?1 AND hash = ?2 ON CONFLICT (only_one)"
    " DO UPDATE SET position = excluded.position, hash = excluded.hash, body = excluded.body, seal = excluded.seal"
    " WHERE excluded.position >= s.position"
)
_USE: Final = (
    "INSERT INTO usage AS u (key_id, minute, version, code, tenant, count) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (key_id, minute, version, code, tenant) DO UPDATE"
    f" SET count = min(min(max(u.count, 0), {MAX_COUNT}) + excluded.count, {MAX_COUNT})"
)
_LAST_USE: Final = (
    "INSERT INTO last_use AS l (key_id, version, at, ip) VALUES (?, ?, ?, ?) ON CONFLICT (key_id, version)"
    " DO UPDATE SET at = excluded.at, ip = excluded.ip WHERE excluded.at > l.at"
)
_USES: Final = (
    f"SELECT version, code, minute / ?4 * ?4 AS first, sum(min(max(count, 0), {MAX_COUNT})) FROM usage"
    " WHERE key_id = ?1 AND minute BETWEEN ?2 AND ?3"
    " GROUP BY first, version, code ORDER BY first, version, code"
)
_FORGET: Final = (
    "DELETE FROM rows WHERE id IN (SELECT id FROM rows INDEXED BY rows_kept_until WHERE kind = 'answer'"
    " AND json_extract(body, '$.expires_at') <= ? AND revision = 1 LIMIT ?)"
)
_VALID: Final = "valid"  # the code of a use that counts as such


def open_ledger(url: str, settings: Settings | None = None) -> SqliteLedger:
    """Open an initialised ledger.

    Raises:
        SchemaError: the file or its schema is missing, unfinished, or newer than this program; run `keyturn init`.
        ConfigurationError: the URL does not fit.
        IntegrityError: the file is damaged, or no database.
        StorageError: the file cannot be read and written.
    """
    ledger = SqliteLedger(parse_url(url), settings or Settings())
    try:
        ledger.check()
    except BaseException:
        ledger.close()
        raise
    return ledger


class SqliteLedger:
    """A ledger in one file; made by `open_ledger`."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self._settings = settings
        self._anchor = Anchor(path, settings.read)
        self._readers = Readers(path, settings, self._anchor)
        self._writer = Writer(path, settings, self._anchor)
        self._news = News(path)
        self._log_id = ""
        survive_forks(self)

    @property
    def log_id(self) -> str:
        """16 base62 characters that name this log for good."""
        return self._log_id

    def check(self) -> None:
        """Compare the schema with the program; the errors are those of `open_ledger`."""
        self._log_id = checked_log_id(dict(self._readers.fetch("SELECT key, value FROM meta")))

    def commit(self, commit: Commit) -> Position:
        """Apply all of `commit` or nothing."""
        check_shape(commit)
        with self._writer.transaction() as connection:
            position, has_overwritten = append(connection, self._log_id, commit)
            if has_overwritten:
                self._writer.scrub_soon()
        return position

    def read(self, ids: Sequence[str]) -> list[Row | None]:
        """The rows of these ids, in order."""
        check_count(len(ids), MAX_IDS, "ids")
        statement = f"SELECT {ROW_COLUMNS} FROM rows WHERE id IN (SELECT value FROM json_each(?))"
        found = {row.id: row for row in self._rows(statement, (json.dumps(list(ids)),))}
        return [found.get(row) for row in ids]

    def read_credential(self, credential_id: str) -> CredentialRows | None:
        """The version that carries this credential_id, its key, and the owner's row if there is one."""
        records = self._readers.fetch(_CREDENTIAL, (credential_id,))
        return _credential_of(records[0]) if records else None

    def read_credentials(self, credential_ids: Sequence[str]) -> list[CredentialRows]:
        """Those of these credential_ids that a version carries, as `read_credential` gives them."""
        check_count(len(credential_ids), MAX_IDS, "credential_ids")
        records = self._readers.fetch(_ANY_CREDENTIAL, (json.dumps(list(credential_ids)),))
        return [_credential_of(record) for record in records]

    def has_credential_from(self, credential_id: str) -> bool:
        """Whether a version carries this credential_id or a later one."""
        return bool(self._readers.fetch(_FROM_CREDENTIAL, (credential_id,))[0][0])

    def read_versions(self, key_id: str) -> list[Row]:
        """All version rows of a key, oldest first."""
        statement = f"SELECT {ROW_COLUMNS} FROM rows WHERE kind = 'version' AND key_id = ?"
        return self._rows(f"{statement} ORDER BY created, length(id), id", (key_id,))

    def list_keys(self, matching: RowFilter, limit: int) -> list[Row]:
        """Key rows newest first."""
        return self._rows(*keys_statement(matching, limit))

    def list_owned(self, tenant: str, owner: str, after: str, limit: int) -> list[Row]:
        """Key rows of an owner in the order of their ids."""
        return self._rows(_OWNED, (tenant, owner, after, limit))

    def list_expired(self, before: int, after: str, limit: int) -> list[Row]:
        """Active key rows of every tenant whose expiry has come, in the order of their ids."""
        return self._rows(_EXPIRED, (before, after, limit))

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
        return self._rows(due_keys_statement(policy_id), {**asked, "policy_id": policy_id, "type": type})

    def list_due_rotations(self, before: int, after: tuple[int, str], limit: int) -> list[Row]:
        """Rotation rows whose next step is due."""
        check_limit(limit)
        return self._rows(DUE_ROTATIONS, (before, *after, limit))

    def list_rotations(self, matching: RotationFilter, limit: int) -> list[Row]:
        """Rotation rows newest first."""
        check_limit(limit)
        return self._rows(*rotations_statement(matching, limit))

    def list_published(self, after: tuple[str, str], limit: int) -> list[Row]:
        """Key rows that have `published_for`."""
        check_limit(limit)
        return self._rows(PUBLISHED, (*after, limit))

    def list_policies(self, tenant: str | None, before: Position | None, limit: int) -> list[Row]:
        """Policy rows newest first."""
        check_limit(limit)
        return self._rows(*of_kind_statement("policy", tenant, before, limit))

    def list_endpoints(self, tenant: str | None, before: Position | None, limit: int) -> list[Row]:
        """Endpoint rows newest first."""
        check_limit(limit)
        return self._rows(*of_kind_statement("endpoint", tenant, before, limit))

    def read_states(self, endpoint_ids: Sequence[str]) -> list[KeptState | None]:
        """The states of deliveries to these endpoints, in order."""
        check_count(len(endpoint_ids), MAX_IDS, "ids")
        records = self._readers.fetch(_STATES, (json.dumps(list(endpoint_ids)),))
        found = {record[0]: KeptState(*record) for record in records}
        return [found.get(endpoint_id) for endpoint_id in endpoint_ids]

    def keep_state(self, state: KeptState) -> None:
        """Keep `state` in place of the one before it."""
        check_count(len(state.body), MAX_STATE_BYTES, "bytes")
        statement = _FIRST_STATE if state.turn == 1 else _NEXT_STATE
        with self._writer.transaction() as connection:
            if not connection.execute(statement, (state.endpoint_id, state.turn, state.body)).rowcount:
                raise ConflictError("another process has gone on with these deliveries")

    def forget_answers(self, before: int, limit: int) -> int:
        """Delete the answer rows whose time is over; what they held leaves the write-ahead log too."""
        with self._writer.transaction() as connection:
            count = connection.execute(_FORGET, (before, limit)).rowcount
            if count:
                self._writer.scrub_soon()
        return count

    def list_rows(self, after: str, limit: int) -> list[Row]:
        """Rows of every kind in the order of their ids."""
        return self._rows(f"SELECT {ROW_COLUMNS} FROM rows WHERE id > ? ORDER BY id LIMIT ?", (after, limit))

    def count_rows(self) -> int:
        """How many rows there are."""
        return int(self._readers.fetch("SELECT count(*) FROM rows")[0][0])

    def reseal(self, reseals: Sequence[Reseal]) -> int:
        """Replace seals and materials of rows that are as they were read."""
        check_count(len(reseals), MAX_RESEALS, "rows")
        if not reseals:
            return 0
        with self._writer.transaction() as connection:
            done = reseal(connection, reseals)
            if any(each.row.material is not None for each in reseals):
                self._writer.scrub_soon()
        return done

    def read_log(self, start: Position, limit: int) -> list[LogEntry]:
        """Entries from `start` on, in order."""
        statement = "SELECT position, entry, seal, hash, details FROM log WHERE position >= ? ORDER BY position LIMIT ?"
        return [LogEntry(*record) for record in self._readers.fetch(statement, (start, limit))]

    def head(self) -> Position:
        """Position of the last entry; 0 for an empty log."""
        return int(self._readers.fetch("SELECT coalesce(max(position), 0) FROM log")[0][0])

    def sealed_head(self) -> SealedHead | None:
        """The furthest sealed head."""
        records = self._readers.fetch("SELECT position, hash, seal FROM sealed_head")
        return SealedHead(*records[0]) if records else None

    def seal_head(self, sealed: SealedHead) -> None:
        """Keep `sealed` if it is ahead of the stored one."""
        with self._writer.transaction() as connection:
            store_sealed_head(connection, sealed)

    def snapshot(self) -> Snapshot | None:
        """The latest snapshot of the floor."""
        records = self._readers.fetch("SELECT position, hash, body, seal FROM snapshot")
        return Snapshot(*records[0]) if records else None

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep `snapshot` in place of an older one."""
        with self._writer.transaction() as connection:
            connection.execute(_SNAPSHOT, (snapshot.position, snapshot.hash, snapshot.body, snapshot.seal))

    def record_uses(self, uses: Sequence[UseCount]) -> None:
        """Add these counts; after OutcomeUnknownError they may have been added already."""
        check_count(len(uses), MAX_USES, "uses")
        if not uses:
            return
        counts = [(use.key_id, use.minute, use.version, use.code, use.tenant, use.count) for use in uses]
        valid = (use for use in uses if use.code == _VALID and use.key_id)
        with self._writer.transaction() as connection:
            connection.executemany(_USE, counts)
            connection.executemany(
                _LAST_USE, [(use.key_id, use.version, use.last_at, use.last_ip) for use in valid]
            )

    def read_uses(
        self, key_id: str, first_minute: int, last_minute: int, *, period: int = 1
    ) -> list[UsageCount]:
        """Counts of a key in these minutes, oldest first."""
        records = self._readers.fetch(_USES, (key_id, first_minute, last_minute, period))
        return [UsageCount(version=v, code=code, minute=minute, count=n) for v, code, minute, n in records]

    def last_uses(self, key_ids: Sequence[str]) -> list[LastUse]:
        """The latest valid use of each version of these keys."""
        check_count(len(key_ids), MAX_IDS, "ids")
        statement = (
            "SELECT key_id, version, at, ip FROM last_use WHERE key_id IN (SELECT value FROM json_each(?))"
        )
        records = self._readers.fetch(f"{statement} ORDER BY key_id, version", (json.dumps(list(key_ids)),))
        return [LastUse(key_id=key, version=version, at=at, ip=ip) for key, version, at, ip in records]

    def wait_for_news(self, timeout: float) -> None:
        """Return when the log may have grown, or after `timeout` seconds."""
        self._news.wait(timeout)

    def close(self) -> None:
        """Close every connection; harmless when done twice."""
        self._news.close()
        self._readers.close()
        self._writer.close()
        self._anchor.close()

    def pause(self) -> None:
        """Before a fork: close every connection, once what is under way has ended.

        SQLite keeps its locks per process and knows them by the file, not by the connection. A child that opened a
        connection of its own while the parent's were open would believe itself to hold locks that it does not, and when
        the parent then closed its last connection, it would delete the write-ahead log that the child is writing to:
        acknowledged commits would be gone.
        """
        self._news.pause()
        self._readers.pause(self._settings.write)
        self._writer.pause(self._settings.write)
        self._anchor.pause()

    def resume(self) -> None:
        """After a fork, in the parent: connections are opened again when they are needed."""
        self._anchor.resume()
        self._writer.resume()
        self._readers.resume()
        self._news.resume()

    def start_afresh(self) -> None:
        """After a fork, in the child: leave to the parent whatever it could not close."""
        self._anchor.start_afresh()
        self._writer.start_afresh()
        self._readers.start_afresh()
        self._news.start_afresh()

    def _rows(self, statement: str, parameters: Sequence[object] | dict[str, object]) -> list[Row]:
        return [Row(*record) for record in self._readers.fetch(statement, parameters)]


def _credential_of(record: tuple[Any, ...]) -> CredentialRows:
    """The joined record of a version, its key and, where it has a row, the owner."""
    version, key, owner = (record[start : start + _WIDTH] for start in (0, _WIDTH, 2 * _WIDTH))
    return CredentialRows(Row(*version), Row(*key), None if owner[0] is None else Row(*owner))
