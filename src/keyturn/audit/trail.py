"""The log as an audit trail: entries of a tenant, checked, with their details where those still exist."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from keyturn.crypto.keyring import Keyring
from keyturn.domain import canonical
from keyturn.domain.entry import chain_start, decode_entry, details_hash
from keyturn.domain.floor import Floor
from keyturn.domain.instants import from_micros
from keyturn.errors import IntegrityError, InvalidInputError
from keyturn.ports.ledger import Ledger, LogEntry, Position
from keyturn.records.entry_seals import Seen
from keyturn.records.log_reader import LogReader
from keyturn.records.progress import Progress

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

    def __init__(self, *, ledger: Ledger, keyring: Keyring, log: LogReader) -> None:
        self._ledger = ledger
        self._keyring = keyring
        self._log = log

    def events(
        self, tenants: Collection[str], *, key_id: str | None = None, after: Position = 0, limit: int = 100
    ) -> list[KeyUsageEvent]:
        """Events of these tenants after a position, oldest first, of one key if it is named; `limit` is 1 to 1,000.

        IntegrityError where an entry is missing, is not what was written, or has other details.
        """
        if type(limit) is not int or not 1 <= limit <= MAX_LIMIT:
            raise InvalidInputError(f"limit is 1 to {MAX_LIMIT}", field="limit")
        if type(after) is not int or after < 0:
            raise InvalidInputError("after is a position in the log, or 0", field="after")
        self._log.catch_up()
        found: list[KeyUsageEvent] = []
        for entries in self._checked(after):
            # What was found last is vouched for by the entries after it, so that those are read before it is believed.
            if len(found) >= limit:
                break
            events = (event_of(stored) for stored in entries)
            found += [
                event
                for event in events
                if event.tenant in tenants and (key_id is None or key_id in event.subjects)
            ]
        return found[:limit]

    def _checked(self, after: Position) -> Iterator[list[LogEntry]]:
        """Entries after a position, some at a time, each once the chain up to it holds, to where the log was read."""
        last = self._log.seen
        if after >= last.position:
            return
        start = Progress(self._ledger, Seen(0, chain_start(self._ledger.log_id)), Floor())
        at = Progress(self._ledger, Seen(after, start.chain_at(after)), Floor())
        while at.position < last.position:
            entries = (at.continuation(_BATCH) or ())[: last.position - at.position]
            if not entries:
                raise IntegrityError(f"the log ends at {at.position}, and was read up to {last.position}")
            at.check(self._keyring, entries)
            at.move_past(entries[-1])
            if at.seen.position == last.position and at.seen != last:
                raise IntegrityError(f"the log differs at {last.position} from what was read there")
            yield list(entries)


def event_of(stored: LogEntry) -> KeyUsageEvent:
    """What a checked entry says; IntegrityError where its details are not what was written."""
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
