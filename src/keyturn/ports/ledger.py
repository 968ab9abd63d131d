"""The ledger: sealed rows, and the one log of every change to them.

A ledger keeps what it is given and orders it. It knows no keys and checks no seals: whoever writes to its database can
change anything in it, so its readers verify (`keyturn.records`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from keyturn.domain.change import MAX_EVENTS, MAX_PUTS, Require

__all__ = [
    "MAX_COUNT",
    "MAX_EVENTS",
    "MAX_PUTS",
    "Commit",
    "CredentialRows",
    "KeptState",
    "LastUse",
    "Ledger",
    "LogEntry",
    "NewEntry",
    "NewRow",
    "Position",
    "Reseal",
    "RotationFilter",
    "Row",
    "RowFilter",
    "SealedHead",
    "Snapshot",
    "UsageCount",
    "UseCount",
]

Position = int
"""Index in the log, from 1, dense, in commit order; 0 is before the first entry."""


MAX_COUNT: Final = 2**40
"""The most uses of one version, with one result, that a minute holds: no machine reaches it, and sums stay integers."""


@dataclass(frozen=True, slots=True)
class NewRow:
    """A row as it shall be: `revision` is one more than the row's present one, or 1 for a new row."""

    id: str
    kind: str
    tenant: str
    revision: int
    body: str
    seal: bytes
    material: bytes | None


@dataclass(frozen=True, slots=True)
class NewEntry:
    """A log entry: canonical bytes, their seal, the erasable details, and the ids of the rows that it names."""

    entry: bytes
    seal: bytes
    details: str | None
    rows: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SealedHead:
    """What a process that holds the KEK vouches for: the log's hash at a position."""

    position: Position
    hash: bytes
    seal: bytes


@dataclass(frozen=True, slots=True)
class Commit:
    """One ChangeSet, sealed and encoded.

    `sealed_head`, where given, is stored in the same transaction, as `Ledger.seal_head` stores it.
    """

    requires: tuple[Require, ...]
    rows: tuple[NewRow, ...]
    entries: tuple[NewEntry, ...]
    sealed_head: SealedHead | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A stored row. `created` and `position` are the positions of its first and its latest entry."""

    id: str
    kind: str
    tenant: str
    revision: int
    body: str
    seal: bytes
    material: bytes | None
    created: Position
    position: Position


@dataclass(frozen=True, slots=True)
class Reseal:
    """A row's seal and material, made anew under another data key in place of those that `row` has."""

    row: Row
    seal: bytes
    material: bytes | None


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A stored entry; `hash` is the chain's value at it, `details` is None where there are none or they were erased."""

    position: Position
    entry: bytes
    seal: bytes
    hash: bytes
    details: str | None


@dataclass(frozen=True, slots=True)
class CredentialRows:
    """All that a decision on a credential needs: the version, its key, and the key's owner, where it has a row."""

    version: Row
    key: Row
    owner: Row | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A floor (see `keyturn.domain.floor`) as of a position, sealed by its writer."""

    position: Position
    hash: bytes
    body: bytes
    seal: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFilter:
    """Which keys to list. None means any; times are microseconds since the epoch; `before` is a creation position.

    `q` finds a substring, without regard to ASCII case, of the name, the key_id or the owner.
    `unused_since` keeps keys with no use at or after that time; `expires_before` those that expire before it.
    """

    tenant: str
    before: Position | None = None
    owner: str | None = None
    type: str | None = None
    scope: str | None = None
    state: str | None = None
    tag: str | None = None
    prefix: str | None = None
    expires_before: int | None = None
    unused_since: int | None = None
    q: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationFilter:
    """Which rotations to list. None means any; `before` is a creation position."""

    tenant: str
    before: Position | None = None
    key_id: str | None = None
    policy_id: str | None = None
    stage: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UseCount:
    """So many verifications of one version with one result in one minute.

    `minute` is minutes since the epoch, `code` a verification code, `last_at` microseconds since the epoch.
    For results that no key can be held to (an unknown id), `key_id` is empty and `version` 0.
    """

    tenant: str
    key_id: str
    version: int
    code: str
    minute: int
    count: int
    last_at: int
    last_ip: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageCount:
    """A stored count, or the sum of some, as `read_uses` gives it back; `minute` is the first of them."""

    version: int
    code: str
    minute: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LastUse:
    """The latest valid use of one version of a key."""

    key_id: str
    version: int
    at: int
    ip: str | None


@dataclass(frozen=True, slots=True)
class KeptState:
    """How far deliveries to an endpoint have come, sealed by its writer; `turn` counts from 1."""

    endpoint_id: str
    turn: int
    body: bytes


class Ledger(Protocol):
    """Where rows and the log live. Safe to call from several threads and, on one store, several processes.

    Lists behind rotation and notices have 1 to `keyturn.ports.bounds.MAX_LISTED` rows; another limit is a ValueError.

    Every method ends within a bounded time and raises StorageError (or a subclass) when the store does not answer. A
    write that is made in passing (`keyturn.ports.passing`) waits a small part of a second, and so does what it calls.
    """

    @property
    def log_id(self) -> str:
        """16 base62 characters that name this log for good."""

    def commit(self, commit: Commit) -> Position:
        """Apply all of `commit` or nothing, and return the position of its last entry once it is durable.

        Each row's stored revision must be one less than the new one (absent for 1), each `Require` must hold, and
        no other version row may carry the same credential_id: otherwise ConflictError and nothing is written.
        StorageFullError and StorageBusyError also mean that nothing was written; OutcomeUnknownError means that the
        answer was lost.
        """

    def read(self, ids: Sequence[str]) -> list[Row | None]:
        """The rows of these ids, in order, None for each that is absent; at most 1,000 ids."""

    def read_credential(self, credential_id: str) -> CredentialRows | None:
        """What a decision needs, in one consistent read; None if no version carries this credential_id."""

    def read_credentials(self, credential_ids: Sequence[str]) -> list[CredentialRows]:
        """The same for each of these that a version carries, in any order, in one consistent read; at most 1,000."""

    def has_credential_from(self, credential_id: str) -> bool:
        """Whether a version carries this credential_id or one after it, compared bytewise; a glance at an index."""

    def read_versions(self, key_id: str) -> list[Row]:
        """All version rows of a key, oldest first."""

    def list_keys(self, matching: RowFilter, limit: int) -> list[Row]:
        """Key rows newest first by `created`; at most `limit` of them."""

    def list_owned(self, tenant: str, owner: str, after: str, limit: int) -> list[Row]:
        """Key rows of an owner in the order of their ids, beginning after the id `after`."""

    def list_expired(self, before: int, after: str, limit: int) -> list[Row]:
        """Active key rows of every tenant whose expiry is at or before that time, in the order of their ids."""

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
        """Active key rows whose `due_from` (`created_at` where absent) is at or before that time.

        Those that name this policy; or where none is given, those of this type that name no policy. In the order of
        that time and of their ids, beginning after `after`.
        """

    def list_due_rotations(self, before: int, after: tuple[int, str], limit: int) -> list[Row]:
        """Rotation rows of every tenant whose `next_at` is at or before that time, by that and by their ids."""

    def list_rotations(self, matching: RotationFilter, limit: int) -> list[Row]:
        """Rotation rows newest first by `created`; at most `limit` of them."""

    def list_published(self, after: tuple[str, str], limit: int) -> list[Row]:
        """Key rows of every tenant that have `published_for`, by tenant and id, beginning after `after`."""

    def list_policies(self, tenant: str | None, before: Position | None, limit: int) -> list[Row]:
        """Policy rows of a tenant, or of all, newest first by `created`, beginning before a creation position."""

    def list_endpoints(self, tenant: str | None, before: Position | None, limit: int) -> list[Row]:
        """Endpoint rows of a tenant, or of all, newest first by `created`, beginning before a creation position."""

    def read_states(self, endpoint_ids: Sequence[str]) -> list[KeptState | None]:
        """The states of deliveries to these endpoints, in order, None for each without; at most 1,000 ids."""

    def keep_state(self, state: KeptState) -> None:
        """Keep `state` in place of the one of the turn before, or as the first one.

        ConflictError where the stored turn is another; ValueError for more than 1 MiB. The log gets no entry.
        """

    def forget_answers(self, before: int, limit: int) -> int:
        """Delete the answer rows whose `expires_at` is at or before that time, at most `limit`; how many there were.

        Only at revision 1, where no reader's floor keeps them: their absence is what a reader then expects.
        """

    def list_rows(self, after: str, limit: int) -> list[Row]:
        """Rows of every kind and tenant in the order of their ids, beginning after the id `after`."""

    def count_rows(self) -> int:
        """How many rows there are, of every kind and tenant."""

    def reseal(self, reseals: Sequence[Reseal]) -> int:
        """Replace seal and material of rows that are as they were read, in one transaction; at most 1,000.

        A row that has another revision, seal or material meanwhile, or is gone, is left alone. Nothing else of a row
        changes, and the log gets no entry. Returns how many were replaced.
        """

    def read_log(self, start: Position, limit: int) -> list[LogEntry]:
        """Entries from `start` on (itself included), in order. An entry is seen only when all before it are."""

    def head(self) -> Position:
        """Position of the last entry; 0 for an empty log."""

    def sealed_head(self) -> SealedHead | None:
        """The furthest sealed head, or None before the first."""

    def seal_head(self, sealed: SealedHead) -> None:
        """Keep `sealed` if the log has this hash at this position, and if it is ahead of the stored one."""

    def snapshot(self) -> Snapshot | None:
        """The latest snapshot of the floor, or None."""

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep `snapshot` in place of an older one, if the log has this hash at this position."""

    def record_uses(self, uses: Sequence[UseCount]) -> None:
        """Add these counts, and move last uses forward, in one transaction; at most 10,000 at a time.

        No stored count, whatever it says, is in the way of another: each ends at MAX_COUNT.
        """

    def read_uses(
        self, key_id: str, first_minute: int, last_minute: int, *, period: int = 1
    ) -> list[UsageCount]:
        """Counts of a key in these minutes, both included, oldest first, each stored one taken as 0 to MAX_COUNT.

        They are added up over `period` minutes: each count is of the period that begins with its `minute`, a multiple
        of `period`.
        """

    def last_uses(self, key_ids: Sequence[str]) -> list[LastUse]:
        """The latest valid use of each version of these keys; nothing for those never used; at most 1,000 ids."""

    def wait_for_news(self, timeout: float) -> None:
        """Return when the log may have grown, or after `timeout` seconds: a hint, never a promise."""

    def close(self) -> None:
        """Release connections and files. Calling it twice is harmless."""
