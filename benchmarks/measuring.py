"""Timing, and printing what was measured."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a table: what, how long (seconds), of which floor, and what to know."""

    what: str
    seconds: float
    floor: float | None = None
    note: str = ""


def per_item(work: Callable[[], object], items: int, rounds: int = 5) -> float:
    """Median seconds per item over rounds of `work`, each of which handles `items`."""
    return statistics.median(_timed(work) for _ in range(rounds)) / items


def interleaved(
    first: Callable[[], object], second: Callable[[], object], items: int, rounds: int = 7
) -> tuple[float, float]:
    """Median seconds per item of two pieces of work done in turn, so that both see the same machine."""
    times = [(_timed(first), _timed(second)) for _ in range(rounds)]
    return tuple(statistics.median(column) / items for column in zip(*times, strict=True))


def each(calls: Iterable[Callable[[], object]]) -> list[float]:
    """Seconds of each call."""
    return [_timed(call) for call in calls]


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def show(title: str, lines: Sequence[Line]) -> None:
    """Print a table with the ratio to each line's floor."""
    print(f"\n{title}")
    width = max(len(line.what) for line in lines)
    for line in lines:
        ratio = f"{line.seconds / line.floor:8.2f} x floor" if line.floor else " " * 16
        print(f"  {line.what:<{width}}  {readable(line.seconds):>10}  {ratio}  {line.note}".rstrip())


def readable(seconds: float) -> str:
    """A duration in a unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.2f} {unit}"
    return f"{seconds / 1e-9:.0f} ns"
