"""The log as an audit trail: entries of a tenant, checked, with their details where those still exist."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from keyturn.crypto.keyring import Keyring, Purpose
from keyturn.domain import canonical
from keyturn.domain.entry import decode_entry, details_hash
from keyturn.domain.instants import from_micros
from keyturn.errors import IntegrityError, InvalidInputError
from keyturn.ports.ledger import Ledger, LogEntry, Position

MAX_LIMIT: Final = 1_000
_BATCH: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUsageEvent:
    """One thing that happened.

    Attributes:
        position: where it stands in the log.
        type: an event type, such as ``key_revoked``.
        actor: ``key:<key_id>``, ``local``, ``library`` or ``system``.
        subjects: ids of what it is about.
        details: what else is known; empty where there is nothing or it was erased.
    """

    position: Position
    type: str
    time: datetime
    tenant: str
    actor: str
    subjects: tuple[str, ...]
    details: Mapping[str, Any]


class Trail:
    """Reads the log for people."""

    def __init__(self, *, ledger: Ledger, keyring: Keyring) -> None:
        self._ledger = ledger
        self._keyring = keyring

    def events(
        self, tenants: Collection[str], *, key_id: str | None = None, after: Position = 0, limit: int = 100
    ) -> list[KeyUsageEvent]:
        """Events of these tenants after a position, oldest first, of one key if it is named; `limit` is 1 to 1,000.

        IntegrityError for an entry whose seal or details do not hold.
        """
        if not 1 <= limit <= MAX_LIMIT:
            raise InvalidInputError(f"limit is 1 to {MAX_LIMIT}", field="limit")
        found: list[KeyUsageEvent] = []
        while entries := self._ledger.read_log(after + 1, _BATCH):
            for stored in entries:
                event = self._opened(stored)
                if event.tenant in tenants and (key_id is None or key_id in event.subjects):
                    found.append(event)
                    if len(found) == limit:
                        return found
            after = entries[-1].position
        return found

    def _opened(self, stored: LogEntry) -> KeyUsageEvent:
        self._keyring.check(Purpose.ENTRY, stored.entry, stored.seal)
        entry = decode_entry(stored.entry)
        return KeyUsageEvent(
            position=stored.position,
            type=entry.type,
            time=from_micros(entry.time),
            tenant=entry.tenant,
            actor=entry.actor,
            subjects=entry.subjects,
            details=_details(stored, entry.details_hash),
        )


def _details(stored: LogEntry, expected: bytes | None) -> dict[str, Any]:
    if stored.details is None:
        return {}
    if expected is None or not hmac.compare_digest(details_hash(stored.details), expected):
        raise IntegrityError(f"the details of entry {stored.position} are not what was written")
    details: Any = canonical.decode_sealed(stored.details)
    details.pop("salt", None)
    return dict(details)
