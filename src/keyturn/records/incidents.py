"""Rows that were found altered, kept until they are reported to the log: each once, and never more than fit."""

from __future__ import annotations

import threading
from typing import Final, NamedTuple

MAX_INCIDENTS: Final = 1_000


class Incident(NamedTuple):
    """A row that does not hold."""

    row_id: str
    tenant: str
    problem: str


class Incidents:
    """A bounded list of findings without repetition; `dropped` counts what did not fit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: set[tuple[str, str]] = set()
        self._waiting: list[Incident] = []
        self.dropped = 0

    @property
    def found(self) -> int:
        """How many findings there were since the start."""
        with self._lock:
            return len(self._known) + self.dropped

    def start_afresh(self) -> None:
        """Have nothing to report, in a forked child: the parent reports what it found."""
        self._lock = threading.Lock()
        self._waiting = []
        self.dropped = 0

    def note(self, row_id: str, tenant: str, problem: str) -> None:
        """Remember a finding, unless the same one is known already."""
        with self._lock:
            if (row_id, problem) in self._known:
                return
            if len(self._known) >= MAX_INCIDENTS:
                self.dropped += 1
                return
            self._known.add((row_id, problem))
            self._waiting.append(Incident(row_id, tenant, problem))

    def drain(self) -> list[Incident]:
        """What is to be reported; the caller puts it back when it could not be."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
            return waiting

    def put_back(self, incidents: list[Incident]) -> None:
        """Keep for later what could not be reported."""
        with self._lock:
            self._waiting = incidents + self._waiting
