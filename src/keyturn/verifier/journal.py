"""What the log is told of verifications: bounded summaries, at most one entry of each kind and tenant a minute."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from itertools import islice
from typing import Final, NamedTuple

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


class _Kind(NamedTuple):
    """What goes into one summary."""

    tenant: str
    type: EventType

    @classmethod
    def of(cls, count: UseCount) -> _Kind:
        """The summary that a count belongs to."""
        is_use = count.code == Code.VALID.value
        return cls(count.tenant, EventType.KEY_USED if is_use else EventType.VERIFY_FAILED)


class Journal:
    """Gathers what was counted and tells the log: findings of tampering at once, uses and refusals each minute."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._pending: dict[tuple[str, str, int, str], UseCount] = {}
        self._omitted: Counter[_Kind] = Counter()

    def start_afresh(self) -> None:
        """Have nothing to tell, in a forked child: the parent tells what it counted."""
        self._pending.clear()
        self._omitted.clear()

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
                self._omitted[_Kind.of(count)] += count.count

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
        """Write the summaries of what was gathered; on StorageError the rest is kept for the next time."""
        kinds: dict[_Kind, list[UseCount]] = {kind: [] for kind in self._omitted}
        for count in self._pending.values():
            kinds.setdefault(_Kind.of(count), []).append(count)
        left = iter(kinds.items())
        while some := list(islice(left, MAX_EVENTS)):
            events = tuple(_summary(kind, counts, self._omitted[kind], now) for kind, counts in some)
            self._records.commit(ChangeSet(events=events))
            for kind, counts in some:
                self._omitted.pop(kind, None)
                for count in counts:
                    del self._pending[count.tenant, count.key_id, count.version, count.code]


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


def _summary(kind: _Kind, counts: list[UseCount], omitted: int, now: datetime) -> Event:
    counts.sort(key=lambda count: count.count, reverse=True)
    listed, rest = counts[:MAX_LISTED], counts[MAX_LISTED:]
    return Event(
        type=kind.type,
        time=now,
        tenant=kind.tenant,
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
