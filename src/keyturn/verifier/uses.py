"""Counting uses: in memory at each verification, to the ledger in batches, never a write a request.

Counts go to the ledger's usage tables. The log gets a bounded summary of what happened, at most one entry of each
kind a minute. What could not be written is kept for the next time while it fits, then counted in `dropped`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Final, NamedTuple

from keyturn.domain.verdict import Code
from keyturn.errors import KeyturnError
from keyturn.ports.ledger import Ledger, UseCount
from keyturn.verifier.entries import Entry

FLUSH_SECONDS: Final = 1.0
MAX_WAITING: Final = 100_000  # counts kept while the ledger does not answer
MAX_A_WRITE: Final = 10_000
_MICROS_A_MINUTE: Final = 60_000_000

_log = logging.getLogger("keyturn.uses")


class CountKey(NamedTuple):
    """What is counted apart: no key can be held to an unknown credential, so its key_id is empty."""

    tenant: str
    key_id: str
    version: int
    code: str
    minute: int


class Tally(NamedTuple):
    """How often, when last (microseconds since the epoch), and from where."""

    times: int
    last_at: int
    last_ip: str | None

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        latest = self if self.last_at > other.last_at else other
        return Tally(
            self.times + other.times, latest.last_at, latest.last_ip or self.last_ip or other.last_ip
        )


class Uses:
    """Counts of this process that the ledger does not have yet."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._used: list[Entry] = []
        self._waiting: dict[CountKey, Tally] = {}
        self.dropped = 0

    def count(self, entry: Entry, now: int, ip: str | None) -> None:
        """One valid use, on the hot path."""
        with self._lock:
            if entry.uses == 0:
                self._used.append(entry)
            entry.uses += 1
            entry.used_at = now
            if ip is not None:
                entry.used_from = ip

    def count_refusal(self, tenant: str, entry: Entry | None, code: Code, now: int, ip: str | None) -> None:
        """One refusal, of a known credential or of an unknown one."""
        key_id, version = ("", 0) if entry is None else (entry.key.key_id, entry.version)
        with self._lock:
            self._add(
                CountKey(tenant, key_id, version, code.value, now // _MICROS_A_MINUTE), Tally(1, now, ip)
            )

    def drain(self) -> Mapping[CountKey, Tally]:
        """Everything counted so far; the caller gives back what it could not write."""
        with self._lock:
            for entry in self._used:
                minute = entry.used_at // _MICROS_A_MINUTE
                key = CountKey(entry.tenant, entry.key.key_id, entry.version, Code.VALID.value, minute)
                self._add(key, Tally(entry.uses, entry.used_at, entry.used_from))
                entry.uses, entry.used_from = 0, None
            self._used = []
            waiting, self._waiting = self._waiting, {}
            return waiting

    def flush(self) -> Mapping[CountKey, Tally]:
        """Write what is counted to the ledger, and return it; what cannot be written waits. StorageError then."""
        counts = self.drain()
        written = 0
        items = list(counts.items())
        try:
            for start in range(0, len(items), MAX_A_WRITE):
                batch = items[start : start + MAX_A_WRITE]
                self._ledger.record_uses([_use_count(key, tally) for key, tally in batch])
                written += len(batch)
        except KeyturnError:
            self._give_back(items[written:])
            raise
        return counts

    def _give_back(self, items: list[tuple[CountKey, Tally]]) -> None:
        with self._lock:
            for key, tally in items:
                self._add(key, tally)

    def _add(self, key: CountKey, tally: Tally) -> None:
        known = self._waiting.get(key)
        if known is not None:
            self._waiting[key] = known.plus(tally)
        elif len(self._waiting) < MAX_WAITING:
            self._waiting[key] = tally
        else:
            if not self.dropped:
                _log.error("counts of uses no longer fit in memory: is the ledger reachable?")
            self.dropped += tally.times


def _use_count(key: CountKey, tally: Tally) -> UseCount:
    return UseCount(**key._asdict(), count=tally.times, last_at=tally.last_at, last_ip=tally.last_ip)
