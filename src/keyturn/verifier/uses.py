"""Counting uses: in memory at each verification, to the ledger in batches, never a write a request.

A valid use is counted in the credential's own entry, so that an outage of the ledger costs hardly any memory. Refusals
are counted by kind. What no longer fits, and what the ledger can never take, is counted in `dropped`.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Final, NamedTuple

from keyturn.domain.verdict import Code
from keyturn.errors import InvalidInputError, KeyturnError
from keyturn.ports.ledger import Ledger, UseCount
from keyturn.verifier.entries import Entry

MAX_REFUSALS: Final = 100_000  # kinds of refusals kept while the ledger does not take them
MAX_USED: Final = 500_000  # credentials whose uses wait, in the cache or no longer: as many as it holds
MAX_RECENT: Final = 10_000  # uses that are not added up yet
BATCH: Final = 1_000  # counts a write: some ten milliseconds, which in library use a caller waits for
_NANOS_A_MICRO: Final = 1_000
_NANOS_A_MINUTE: Final = 60_000_000_000

_log = logging.getLogger("keyturn.uses")

Written = Callable[[list[UseCount]], None]


class Named(NamedTuple):
    """A version of a key, by name."""

    tenant: str
    key_id: str
    version: int


class _Kind(NamedTuple):
    """What is counted apart. No key can be held to an unknown credential, so its key_id is empty."""

    tenant: str
    key_id: str
    version: int
    code: str
    minute: int


class Uses:
    """Counts of this process that the ledger does not have yet. Times are nanoseconds since the epoch.

    Attributes:
        dropped: how many could not be kept, or were refused by the ledger.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._recent: deque[Entry] = deque()
        self._used: list[Entry] = []
        self._writing: list[Entry] = []  # taken out of `_used`, and not yet settled
        self._refusals: dict[_Kind, UseCount] = {}
        self._of_entries = 0  # decisions on a known credential, since the start
        self.dropped = 0

    def start_afresh(self) -> None:
        """Have counted nothing, in a forked child: what was counted before is the parent's to write."""
        for entry in self._used + self._writing:
            entry.uses = 0
        self._lock = threading.Lock()
        self._recent.clear()
        self._used, self._writing = [], []
        self._refusals.clear()
        self.dropped = 0

    def count(self, entry: Entry, now: int, ip: str | None) -> None:
        """One valid use, on the hot path: without a lock, and added up later."""
        entry.used_at = now
        if ip is not None:
            entry.used_from = ip
        recent = self._recent
        recent.append(entry)
        if len(recent) >= MAX_RECENT:
            with self._lock:
                self._add_up()

    def _add_up(self) -> None:
        """Add the recent uses to their entries' counts; the lock is held."""
        recent = self._recent
        # What is appended meanwhile waits for the next time.
        count = len(recent)
        self._of_entries += count
        for _ in range(count):
            entry = recent.popleft()
            if entry.uses == 0:
                if len(self._used) >= MAX_USED:
                    self.dropped += 1
                    continue
                self._used.append(entry)
            entry.uses += 1

    def count_refusal(self, tenant: str, entry: Entry | None, code: Code, now: int, ip: str | None) -> None:
        """One refusal, of a known credential or of an unknown one."""
        key_id, version = ("", 0) if entry is None else (entry.key_id, entry.version)
        if entry is not None:
            with self._lock:
                self._of_entries += 1
        self.count_by_name(Named(tenant, key_id, version), code, now, ip)

    def count_by_name(self, key: Named, code: Code, now: int, ip: str | None) -> None:
        """One use or refusal of what is not kept in memory."""
        kind = _Kind(*key, code.value, now // _NANOS_A_MINUTE)
        with self._lock:
            self._add(kind, _counted(kind, 1, now, ip))

    @property
    def of_entries(self) -> int:
        """How many decisions were made on known credentials since the start."""
        with self._lock:
            return self._of_entries + len(self._recent)

    @property
    def waiting(self) -> int:
        """How many counts wait to be written, uses that are not added up yet among them."""
        with self._lock:
            return len(self._recent) + len(self._used) + len(self._refusals)

    @property
    def batches(self) -> int:
        """How many writes it takes to write all that is counted now."""
        with self._lock:
            self._add_up()
            return -(-(len(self._refusals) + len(self._used)) // BATCH)

    def flush(self, written: Written) -> bool:
        """Write a batch of what is counted to the ledger and pass it on; whether there is more to write.

        KeyturnError where the ledger does not take it now; all of it is kept.
        """
        with self._lock:
            self._add_up()
            kinds = list(islice(self._refusals, BATCH))
            refusals = [self._refusals.pop(kind) for kind in kinds]
            room = BATCH - len(kinds)
            used, self._used = self._used[:room], self._used[room:]
            self._writing = used
            uses = [_use(entry) for entry in used]
        counts = refusals + uses
        try:
            if counts:
                self._ledger.record_uses(counts)
        except InvalidInputError as error:
            # It would be refused for ever, and everything behind it would wait.
            self._drop(counts, error)
        except KeyturnError:
            self._keep(kinds, refusals, used)
            raise
        self._settle(used, uses)
        written(counts)
        return bool(self._used or self._refusals)

    def _drop(self, counts: list[UseCount], error: KeyturnError) -> None:
        _log.error("the ledger refuses %d counts, which are dropped: %s", len(counts), error)
        self.dropped += sum(count.count for count in counts)

    def _settle(self, entries: list[Entry], counts: list[UseCount]) -> None:
        """Take what was written off the entries; those used again meanwhile stay for the next flush."""
        with self._lock:
            for entry, count in zip(entries, counts, strict=True):
                entry.uses -= count.count
                if entry.uses:
                    self._used.append(entry)
            self._writing = []

    def _keep(self, kinds: list[_Kind], refusals: list[UseCount], used: list[Entry]) -> None:
        with self._lock:
            self._used, self._writing = used + self._used, []
            for kind, count in zip(kinds, refusals, strict=True):
                self._add(kind, count)

    def _add(self, kind: _Kind, count: UseCount) -> None:
        known = self._refusals.get(kind)
        if known is not None:
            self._refusals[kind] = together(known, count)
        elif len(self._refusals) < MAX_REFUSALS:
            self._refusals[kind] = count
        else:
            self.dropped += count.count


def together(first: UseCount, second: UseCount) -> UseCount:
    """Two counts of one kind as one, with the later time and the latest address that is known."""
    earlier, later = (first, second) if first.last_at <= second.last_at else (second, first)
    return replace(later, count=first.count + second.count, last_ip=later.last_ip or earlier.last_ip)


def _counted(kind: _Kind, count: int, at: int, ip: str | None) -> UseCount:
    return UseCount(**kind._asdict(), count=count, last_at=at // _NANOS_A_MICRO, last_ip=ip)


def _use(entry: Entry) -> UseCount:
    return UseCount(
        tenant=entry.tenant,
        key_id=entry.key_id,
        version=entry.version,
        code=Code.VALID.value,
        minute=entry.used_at // _NANOS_A_MINUTE,
        count=entry.uses,
        last_at=entry.used_at // _NANOS_A_MICRO,
        last_ip=entry.used_from,
    )
