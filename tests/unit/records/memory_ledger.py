"""The ledger port in a dictionary: what unit tests use in place of a file.

    store = MemoryStore()
    ours, theirs = store.open(), store.open()       # two ledgers on one store

It keeps the port's contract, as the adapters' own tests show of it (test_memory_ledger.py).
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from keyturn.domain.entry import chain_next, chain_start
from keyturn.errors import ConflictError, InvalidInputError
from keyturn.ports.bounds import MAX_STATE_BYTES, check_limit
from keyturn.ports.ledger import (
    MAX_EVENTS,
    MAX_PUTS,
    Commit,
    CredentialRows,
    KeptState,
    LastUse,
    LogEntry,
    NewRow,
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

LOG_ID: Final = "0123456789ABCDEF"


class MemoryStore:
    """What all ledgers on one store share."""

    def __init__(self, log_id: str = LOG_ID) -> None:
        self.log_id = log_id
        self.lock = threading.RLock()
        self.news = threading.Condition()
        self.rows: dict[str, Row] = {}
        self.log: list[LogEntry] = []
        self.sealed: SealedHead | None = None
        self.snapshot: Snapshot | None = None
        self.uses: Counter[tuple[str, str, int, str, int]] = Counter()
        self.states: dict[str, KeptState] = {}
        self.last_uses: dict[tuple[str, int], LastUse] = {}

    def open(self) -> MemoryLedger:
        return MemoryLedger(self)


class MemoryLedger:
    """The ledger port over a dictionary."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    @property
    def log_id(self) -> str:
        return self._store.log_id

    def commit(self, commit: Commit) -> Position:
        named = Counter(row for entry in commit.entries for row in entry.rows)
        if not 1 <= len(commit.entries) <= MAX_EVENTS or len(commit.rows) > MAX_PUTS:
            raise InvalidInputError("the size of a change")
        if named != Counter(row.id for row in commit.rows) or any(times > 1 for times in named.values()):
            raise InvalidInputError("each row must be named by exactly one entry")
        with self._store.lock:
            self._check(commit)
            return self._apply(commit)

    def _check(self, commit: Commit) -> None:
        expected = [(require.id, require.revision) for require in commit.requires]
        expected += [(row.id, row.revision - 1) for row in commit.rows]
        for row_id, revision in expected:
            stored = self._store.rows.get(row_id)
            if (0 if stored is None else stored.revision) != revision:
                raise ConflictError(f"the row {row_id} has moved")
        held = {_member(row, "credential_id"): row.id for row in self._store.rows.values()}
        for row in commit.rows:
            credential = json.loads(row.body).get("credential_id")
            if credential is not None and held.setdefault(credential, row.id) != row.id:
                raise ConflictError("the credential_id is another version's")

    def _apply(self, commit: Commit) -> Position:
        log = self._store.log
        chain = log[-1].hash if log else chain_start(self.log_id)
        by_id = {row.id: row for row in commit.rows}
        for new in commit.entries:
            chain = chain_next(chain, new.entry)
            log.append(LogEntry(len(log) + 1, new.entry, new.seal, chain, new.details))
            for row_id in new.rows:
                self._put(by_id[row_id], len(log))
        if commit.sealed_head is not None:
            self.seal_head(commit.sealed_head)
        with self._store.news:
            self._store.news.notify_all()
        return len(log)

    def _holds(self, position: Position, chain: bytes) -> bool:
        return position >= 1 and any(
            stored.hash == chain for stored in self._store.log[position - 1 : position]
        )

    def _put(self, row: NewRow, position: Position) -> None:
        old = self._store.rows.get(row.id)
        created = position if old is None else old.created
        self._store.rows[row.id] = Row(
            row.id, row.kind, row.tenant, row.revision, row.body, row.seal, row.material, created, position
        )

    def read(self, ids: Sequence[str]) -> list[Row | None]:
        _limit(len(ids), 1_000)
        with self._store.lock:
            return [self._store.rows.get(row_id) for row_id in ids]

    def read_credential(self, credential_id: str) -> CredentialRows | None:
        found = self.read_credentials([credential_id])
        return found[0] if found else None

    def read_credentials(self, credential_ids: Sequence[str]) -> list[CredentialRows]:
        _limit(len(credential_ids), 1_000)
        with self._store.lock:
            return [
                self._credential(row)
                for row in self._store.rows.values()
                if row.kind == "version" and _member(row, "credential_id") in credential_ids
            ]

    def has_credential_from(self, credential_id: str) -> bool:
        return any((_member(row, "credential_id") or "") >= credential_id for row in self._rows("version"))

    def _credential(self, version: Row) -> CredentialRows:
        key = self._store.rows[_member(version, "key")]
        owner = json.loads(key.body).get("owner")
        return CredentialRows(version, key, None if owner is None else self._store.rows.get(owner["row"]))

    def read_versions(self, key_id: str) -> list[Row]:
        found = [row for row in self._rows("version") if _member(row, "key") == key_id]
        return sorted(found, key=lambda row: (row.created, len(row.id), row.id))

    def list_keys(self, matching: RowFilter, limit: int) -> list[Row]:
        found = [row for row in self._rows("key") if self._matches(row, matching)]
        return sorted(found, key=lambda row: (-row.created, row.id))[:limit]

    def _matches(self, row: Row, matching: RowFilter) -> bool:
        body = json.loads(row.body)
        owner = body.get("owner", {}).get("id")
        same = {"owner": owner, "type": body["type"], "scope": body["scope"], "state": body["state"],
                "prefix": body.get("prefix")}  # fmt: skip
        last = max((use.at for (key, _), use in self._store.last_uses.items() if key == row.id), default=-1)
        texts = [text.casefold() for text in (body.get("name"), row.id, owner) if text is not None]
        return (
            row.tenant == matching.tenant
            and all(getattr(matching, name) in (None, value) for name, value in same.items())
            and (matching.before is None or row.created < matching.before)
            and (matching.tag is None or matching.tag in body["tags"])
            and (matching.q is None or any(matching.q.casefold() in text for text in texts))
            and (matching.expires_before is None or body.get("expires_at", 1 << 62) < matching.expires_before)
            and (matching.unused_since is None or last < matching.unused_since)
        )

    def list_owned(self, tenant: str, owner: str, after: str, limit: int) -> list[Row]:
        found = [
            row
            for row in self._rows("key")
            if (row.tenant, json.loads(row.body).get("owner", {}).get("id")) == (tenant, owner)
            and row.id > after
        ]
        return sorted(found, key=lambda row: row.id)[:limit]

    def list_expired(self, before: int, after: str, limit: int) -> list[Row]:
        def has_expired(row: Row) -> bool:
            body = json.loads(row.body)
            return bool(body["state"] == "active" and body.get("expires_at", 1 << 62) <= before)

        found = [row for row in self._rows("key") if row.id > after and has_expired(row)]
        return sorted(found, key=lambda row: row.id)[:limit]

    def list_due_keys(
        self, tenant: str, before: int, after: tuple[int, str], limit: int, *,
        policy_id: str | None = None, type: str | None = None,
    ) -> list[Row]:  # fmt: skip
        check_limit(limit)

        def counted(row: Row) -> tuple[int, str]:
            body = json.loads(row.body)
            return body.get("due_from", body.get("created_at")), row.id

        def may_be_due(row: Row) -> bool:
            body = json.loads(row.body)
            named = body.get("rotation_policy_id")
            is_asked = named == policy_id if policy_id else named is None and body["type"] == type
            return bool(is_asked and body["state"] == "active" and row.tenant == tenant)

        found = [row for row in self._rows("key") if may_be_due(row) and after < counted(row)]
        return sorted((row for row in found if counted(row)[0] <= before), key=counted)[:limit]

    def list_due_rotations(self, before: int, after: tuple[int, str], limit: int) -> list[Row]:
        check_limit(limit)

        def due(row: Row) -> tuple[int, str]:
            return json.loads(row.body).get("next_at", 1 << 62), row.id

        found = [row for row in self._rows("rotation") if after < due(row) and due(row)[0] <= before]
        return sorted(found, key=due)[:limit]

    def list_rotations(self, matching: RotationFilter, limit: int) -> list[Row]:
        check_limit(limit)

        def matches(row: Row) -> bool:
            body = json.loads(row.body)
            found = (body["key"], body.get("policy_id"), body["stage"])
            asked = (matching.key_id, matching.policy_id, matching.stage)
            is_asked = all(wanted in (None, value) for wanted, value in zip(asked, found, strict=True))
            is_before = matching.before is None or row.created < matching.before
            return is_asked and is_before and row.tenant == matching.tenant

        found = [row for row in self._rows("rotation") if matches(row)]
        return sorted(found, key=lambda row: (-row.created, row.id))[:limit]

    def list_published(self, after: tuple[str, str], limit: int) -> list[Row]:
        check_limit(limit)
        found = [
            row
            for row in self._rows("key")
            if (row.tenant, row.id) > after and "published_for" in json.loads(row.body)
        ]
        return sorted(found, key=lambda row: (row.tenant, row.id))[:limit]

    def list_policies(self, tenant: str | None, before: Position | None, limit: int) -> list[Row]:
        check_limit(limit)
        return self._newest("policy", tenant, before, limit)

    def list_endpoints(self, tenant: str | None, before: Position | None, limit: int) -> list[Row]:
        check_limit(limit)
        return self._newest("endpoint", tenant, before, limit)

    def read_states(self, endpoint_ids: Sequence[str]) -> list[KeptState | None]:
        _limit(len(endpoint_ids), 1_000)
        return [self._store.states.get(endpoint_id) for endpoint_id in endpoint_ids]

    def keep_state(self, state: KeptState) -> None:
        _limit(len(state.body), MAX_STATE_BYTES)
        with self._store.lock:
            stored = self._store.states.get(state.endpoint_id)
            if (0 if stored is None else stored.turn) != state.turn - 1:
                raise ConflictError("another process has gone on with these deliveries")
            self._store.states[state.endpoint_id] = state

    def _newest(self, kind: str, tenant: str | None, before: Position | None, limit: int) -> list[Row]:
        found = [
            row
            for row in self._rows(kind)
            if tenant in (None, row.tenant) and (before is None or row.created < before)
        ]
        return sorted(found, key=lambda row: (-row.created, row.id))[:limit]

    def list_rows(self, after: str, limit: int) -> list[Row]:
        with self._store.lock:
            return sorted(
                (row for row in self._store.rows.values() if row.id > after), key=lambda row: row.id
            )[:limit]

    def count_rows(self) -> int:
        return len(self._store.rows)

    def reseal(self, reseals: Sequence[Reseal]) -> int:
        _limit(len(reseals), 1_000)
        done = 0
        with self._store.lock:
            for each in reseals:
                row = self._store.rows.get(each.row.id)
                read = (each.row.revision, each.row.seal, each.row.material)
                if row is not None and (row.revision, row.seal, row.material) == read:
                    self._store.rows[row.id] = replace(row, seal=each.seal, material=each.material)
                    done += 1
        return done

    def _rows(self, kind: str) -> list[Row]:
        with self._store.lock:
            return [row for row in self._store.rows.values() if row.kind == kind]

    def forget_answers(self, before: int, limit: int) -> int:
        with self._store.lock:
            ended = [
                row.id
                for row in self._rows("answer")
                if _member(row, "expires_at") <= before and row.revision == 1
            ][:limit]
            for row_id in ended:
                del self._store.rows[row_id]
        return len(ended)

    def read_log(self, start: Position, limit: int) -> list[LogEntry]:
        with self._store.lock:
            return self._store.log[start - 1 : start - 1 + limit]

    def head(self) -> Position:
        return len(self._store.log)

    def sealed_head(self) -> SealedHead | None:
        return self._store.sealed

    def seal_head(self, sealed: SealedHead) -> None:
        with self._store.lock:
            is_later = self._store.sealed is None or sealed.position > self._store.sealed.position
            if is_later and self._holds(sealed.position, sealed.hash):
                self._store.sealed = sealed

    def snapshot(self) -> Snapshot | None:
        return self._store.snapshot

    def save_snapshot(self, snapshot: Snapshot) -> None:
        with self._store.lock:
            is_later = self._store.snapshot is None or snapshot.position >= self._store.snapshot.position
            if is_later and self._holds(snapshot.position, snapshot.hash):
                self._store.snapshot = snapshot

    def record_uses(self, uses: Sequence[UseCount]) -> None:
        _limit(len(uses), 10_000)
        with self._store.lock:
            for use in uses:
                self._store.uses[use.tenant, use.key_id, use.version, use.code, use.minute] += use.count
                last = self._store.last_uses.get((use.key_id, use.version))
                if use.code == "valid" and use.key_id and (last is None or use.last_at > last.at):
                    self._store.last_uses[use.key_id, use.version] = LastUse(
                        key_id=use.key_id, version=use.version, at=use.last_at, ip=use.last_ip
                    )

    def read_uses(
        self, key_id: str, first_minute: int, last_minute: int, *, period: int = 1
    ) -> list[UsageCount]:
        found: Counter[tuple[int, int, str]] = Counter()
        for (_, key, version, code, minute), count in self._store.uses.items():
            if key == key_id and first_minute <= minute <= last_minute:
                found[minute // period * period, version, code] += count
        return [UsageCount(version=v, code=c, minute=m, count=n) for (m, v, c), n in sorted(found.items())]

    def last_uses(self, key_ids: Sequence[str]) -> list[LastUse]:
        _limit(len(key_ids), 1_000)
        return [use for (key, _), use in sorted(self._store.last_uses.items()) if key in key_ids]

    def wait_for_news(self, timeout: float) -> None:
        with self._store.news:
            self._store.news.wait(timeout)

    def close(self) -> None:
        pass


def _member(row: Row, name: str) -> Any:
    return json.loads(row.body).get(name)


def _limit(count: int, most: int) -> None:
    if count > most:
        raise ValueError(f"at most {most} at a time, not {count}")
