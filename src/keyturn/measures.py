"""Numbers about a running process: kept cheaply where something happens, read together when somebody asks.

    loads = Tally()
    loads.add("found")
    seconds = Histograms()
    seconds.observe(0.004, "commit")
    families = [
        counted("keyturn_cache_loads_total", "Look-ups in the store.", ("result",), loads.read()),
        spread("keyturn_ledger_call_duration_seconds", "Seconds of a call.", ("call",), seconds.read()),
    ]

Labels are few and known beforehand: what a client sends is never one.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds for durations, from a read of a local file to a store that is given up on."""

Labels = tuple[str, ...]


class Tally:
    """Counts by labels, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[Labels] = Counter()

    def add(self, *labels: str) -> None:
        """One more."""
        with self._lock:
            self._counts[labels] += 1

    def read(self) -> dict[Labels, int]:
        """All counts so far."""
        with self._lock:
            return dict(self._counts)


@dataclass(frozen=True, slots=True)
class Distribution:
    """What a histogram had seen: `counts` of values up to each bound and one more of those above the last."""

    bounds: Sequence[float]
    counts: Sequence[int]
    total: float

    @property
    def count(self) -> int:
        """Of all values."""
        return sum(self.counts)


class Histogram:
    """How values spread, from any thread. `bounds` are inclusive upper bounds, rising."""

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self._lock = threading.Lock()
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, value: float) -> None:
        """One more value."""
        at = bisect_left(self._bounds, value)
        with self._lock:
            self._counts[at] += 1
            self._total += value

    def read(self) -> Distribution:
        """What was seen so far."""
        with self._lock:
            return Distribution(self._bounds, tuple(self._counts), self._total)


class Histograms:
    """Histograms by labels, each made when it is first needed."""

    def __init__(self) -> None:
        self._kept: dict[Labels, Histogram] = {}

    def observe(self, value: float, *labels: str) -> None:
        """One more value."""
        kept = self._kept.get(labels)
        if kept is None:
            kept = self._kept.setdefault(labels, Histogram())
        kept.observe(value)

    def read(self) -> dict[Labels, Distribution]:
        """What each has seen so far."""
        return {labels: kept.read() for labels, kept in list(self._kept.items())}


class Kind(Enum):
    """How values of a family change: up only, up and down, or as a spread."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Sample:
    """One value, and the labels that tell it from others of its family."""

    value: float | Distribution
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Family:
    """Values of one name, and what they are, in a sentence for people."""

    name: str
    kind: Kind
    says: str
    samples: tuple[Sample, ...]


def gauge(name: str, says: str, value: float, **labels: str) -> Family:
    """One value that goes up and down."""
    return Family(name, Kind.GAUGE, says, (Sample(value, tuple(labels.items())),))


def gauged(name: str, says: str, labels: Sequence[str], values: Mapping[Labels, float]) -> Family:
    """Values that go up and down, by labels."""
    return Family(name, Kind.GAUGE, says, _samples(labels, values))


def counter(name: str, says: str, value: float) -> Family:
    """One value that only goes up."""
    return Family(name, Kind.COUNTER, says, (Sample(value),))


def counted(name: str, says: str, labels: Sequence[str], counts: Mapping[Labels, float]) -> Family:
    """Values that only go up, by labels."""
    return Family(name, Kind.COUNTER, says, _samples(labels, counts))


def spread(name: str, says: str, labels: Sequence[str], seen: Mapping[Labels, Distribution]) -> Family:
    """Histograms by labels."""
    return Family(name, Kind.HISTOGRAM, says, _samples(labels, seen))


def _samples(names: Sequence[str], values: Mapping[Labels, float | Distribution]) -> tuple[Sample, ...]:
    return tuple(
        Sample(value, tuple(zip(names, labels, strict=True))) for labels, value in sorted(values.items())
    )
