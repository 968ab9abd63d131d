"""What the log is told of verifications: bounded summaries, at most one entry of each kind and tenant a minute."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Final

from keyturn.domain.change import MAX_EVENTS, ChangeSet, Event, EventType
from keyturn.domain.ids import KEY, SYSTEM_TENANT, is_id
from keyturn.domain.instants import from_micros, rfc3339
from keyturn.domain.principal import SYSTEM_ACTOR
from keyturn.domain.verdict import Code
from keyturn.errors import KeyturnError
from keyturn.ports.ledger import UseCount
from keyturn.records.incidents import Incident
from keyturn.records.records import Records
from keyturn.verifier.uses import together

SUMMARY_SECONDS: Final = 60.0
MAX_LISTED: Final = 200  # keys or sources listed in one entry; the rest is only counted
MAX_PENDING: Final = 20_000


class Journal:
    """Gathers what was counted and tells the log: findings of tampering at once, uses and refusals each minute."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._pending: dict[tuple[str, str, int, str], UseCount] = {}
        self._omitted: dict[str, int] = defaultdict(int)

    def gather(self, counts: list[UseCount]) -> None:
        """Take in what was counted, whatever minute it fell in."""
        for count in counts:
            name = (count.tenant, count.key_id, count.version, count.code)
            known = self._pending.get(name)
            if known is not None:
                self._pending[name] = together(known, count)
            elif len(self._pending) < MAX_PENDING:
                self._pending[name] = count
            else:
                self._omitted[count.tenant] += count.count

    def report_incidents(self, now: datetime) -> None:
        """Tell the log of rows that were found altered; StorageError where it can't be told now."""
        incidents = self._records.incidents.drain()
        if not incidents:
            return
        try:
            events = tuple(_incident_event(incident, now) for incident in incidents[:MAX_EVENTS])
            self._records.commit(ChangeSet(events=events))
        except KeyturnError:
            self._records.incidents.put_back(incidents)
            raise

    def summarise(self, now: datetime) -> None:
        """Write the summaries of what was gathered; on StorageError it is kept for the next time."""
        if not self._pending:
            return
        by_kind: dict[tuple[str, EventType], list[UseCount]] = defaultdict(list)
        for count in self._pending.values():
            kind = EventType.KEY_USED if count.code == Code.VALID.value else EventType.VERIFY_FAILED
            by_kind[count.tenant, kind].append(count)
        events = [
            _summary(tenant, kind, counts, self._omitted.get(tenant, 0), now)
            for (tenant, kind), counts in by_kind.items()
        ]
        for start in range(0, len(events), MAX_EVENTS):
            self._records.commit(ChangeSet(events=tuple(events[start : start + MAX_EVENTS])))
        self._pending.clear()
        self._omitted.clear()


def _line(count: UseCount) -> dict[str, object]:
    line: dict[str, object] = {
        "code": count.code,
        "count": count.count,
        "last_at": rfc3339(from_micros(count.last_at)),
    }
    if count.key_id:
        line |= {"key_id": count.key_id, "version": count.version}
    if count.last_ip is not None:
        line["last_ip"] = count.last_ip
    return line


def _summary(tenant: str, kind: EventType, counts: list[UseCount], omitted: int, now: datetime) -> Event:
    counts.sort(key=lambda count: count.count, reverse=True)
    listed, rest = counts[:MAX_LISTED], counts[MAX_LISTED:]
    return Event(
        type=kind,
        time=now,
        tenant=tenant,
        actor=SYSTEM_ACTOR,
        subjects=tuple(dict.fromkeys(count.key_id for count in listed if count.key_id)),
        details={
            "total": sum(count.count for count in counts) + omitted,
            "listed": [_line(count) for count in listed],
            "not_listed": len(rest) + bool(omitted),
        },
    )


def _incident_event(incident: Incident, now: datetime) -> Event:
    key_id = incident.row_id.partition(".")[0]
    return Event(
        type=EventType.INTEGRITY_FAILED,
        time=now,
        # The row's own tenant column is not to be trusted, and the finding concerns the whole installation.
        tenant=SYSTEM_TENANT,
        actor=SYSTEM_ACTOR,
        subjects=(key_id,) if is_id(KEY, key_id) else (),
        details={"row": incident.row_id[:64], "problem": incident.problem[:500]},
    )
