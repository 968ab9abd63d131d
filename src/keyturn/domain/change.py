"""A change: what it relies on, the rows as they shall be, and the events that say what happened.

    changes = ChangeSet(
        requires=(Require(owner_row, revision=0),),            # the owner has not been revoked
        puts=(key_put(key), version_put(version)),
        events=(Event(type=EventType.KEY_CREATED, ..., rows=(key.row_id, version.row_id)),),
    )

Services build these and never write a row; `keyturn.records.records.Records` seals them and hands them to the ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Final

MAX_EVENTS: Final = 1_000  # of one ChangeSet
MAX_PUTS: Final = 4_096


class EventType(Enum):
    """What can happen; the values stand in the log and in webhooks and never change."""

    KEYRING_CREATED = "keyring_created"
    KEYRING_ROTATED = "keyring_rotated"
    KEYRING_RESEALED = "keyring_resealed"
    KEY_CREATED = "key_created"
    KEY_RETRIEVED = "key_retrieved"
    KEY_USED = "key_used"
    KEY_UPDATED = "key_updated"
    KEY_SUSPENDED = "key_suspended"
    KEY_RESUMED = "key_resumed"
    KEY_REVOKED = "key_revoked"
    KEY_EXPIRED = "key_expired"
    KEY_EXPIRING = "key_expiring"
    KEY_UNUSED = "key_unused"
    KEYS_SWEPT = "keys_swept"
    KEY_DESTROYED = "key_destroyed"
    KEY_ROTATED = "key_rotated"
    ROTATION_SCHEDULED = "rotation_scheduled"
    ROTATION_STARTED = "rotation_started"
    OLD_VERSION_USED = "old_version_used"
    ROTATION_STAGE_CHANGED = "rotation_stage_changed"
    ROTATION_AWAITED = "rotation_awaited"
    ROTATION_PICKED_UP = "rotation_picked_up"
    SECRET_SENT = "secret_sent"
    PICK_UP_OFFERED = "pick_up_offered"
    PICK_UP_REPEATED = "pick_up_repeated"
    ROTATION_PROVED = "rotation_proved"
    ROTATION_CHECKED = "rotation_checked"
    ROTATION_PAUSED = "rotation_paused"
    ROTATION_RESUMED = "rotation_resumed"
    ROTATION_COMPLETED = "rotation_completed"
    ROTATION_FAILED = "rotation_failed"
    ROTATION_ROLLED_BACK = "rotation_rolled_back"
    POLICY_CREATED = "policy_created"
    POLICY_UPDATED = "policy_updated"
    POLICY_PAUSED = "policy_paused"
    POLICY_RESUMED = "policy_resumed"
    POLICY_DELETED = "policy_deleted"
    ENDPOINT_CREATED = "endpoint_created"
    ENDPOINT_UPDATED = "endpoint_updated"
    ENDPOINT_SECRET_ROTATED = "endpoint_secret_rotated"
    ENDPOINT_DELETED = "endpoint_deleted"
    OWNER_REVOKED = "owner_revoked"
    TOKEN_UPGRADED = "token_upgraded"
    VERIFY_FAILED = "verify_failed"
    INTEGRITY_FAILED = "integrity_failed"


@dataclass(frozen=True, slots=True)
class Require:
    """The row `id` must be at `revision`; 0 means that it must not exist."""

    id: str
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """A row as it shall be.

    `body` is what the row says, as JSON values (see `keyturn.domain.bodies`). `material` is sealed secret material,
    written whole each time: None leaves the row without any.
    """

    id: str
    kind: str
    tenant: str
    revision: int
    body: Mapping[str, object]
    material: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What happened, to whom, by whom.

    Attributes:
        subjects: ids of what it is about, such as key_ids; never personal data.
        rows: ids of the puts that it explains.
        details: what may have to be erased one day (addresses, notes, names); empty for none.
    """

    type: EventType
    time: datetime
    tenant: str
    actor: str
    subjects: tuple[str, ...]
    rows: tuple[str, ...] = ()
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSet:
    """All of this or nothing. ValueError when it breaks the rules that keep the log complete."""

    requires: tuple[Require, ...] = ()
    puts: tuple[Put, ...] = ()
    events: tuple[Event, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.events) <= MAX_EVENTS:
            raise ValueError(f"a change has 1 to {MAX_EVENTS} events, not {len(self.events)}")
        if len(self.puts) > MAX_PUTS:
            raise ValueError(f"a change has at most {MAX_PUTS} puts, not {len(self.puts)}")
        named = Counter(row for event in self.events for row in event.rows)
        put = Counter(put.id for put in self.puts)
        if named != put or any(count != 1 for count in put.values()):
            raise ValueError("each put must be named by exactly one event, and each row put once")

    def with_rows(self, puts: tuple[Put, ...]) -> ChangeSet:
        """The same with these rows as well, which its first event names."""
        if not puts:
            return self
        first, *others = self.events
        named = replace(first, rows=(*first.rows, *(put.id for put in puts)))
        return replace(self, puts=(*self.puts, *puts), events=(named, *others))
