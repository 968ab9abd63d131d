"""Time, as an argument: services and readers are given a clock, and tests give them theirs."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial
from typing import Final, Protocol


class Clock(Protocol):
    """Two times: the wall clock for expiry, and a steady one for staleness."""

    def now(self) -> datetime:
        """The present, aware, in UTC."""

    def nanos(self) -> int:
        """The present in nanoseconds since the epoch."""

    def steady(self) -> float:
        """Seconds of a clock that never steps, and that runs on while the machine sleeps where the system has one."""


# A node that slept must count the sleep: CLOCK_MONOTONIC stands still in suspend, CLOCK_BOOTTIME does not.
_STEADY: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """The machine's clocks."""

    # Read at every verification, so they are the C functions themselves.
    nanos = staticmethod(time.time_ns)
    steady = staticmethod(partial(time.clock_gettime, _STEADY))

    def now(self) -> datetime:
        """The present, in UTC."""
        return datetime.now(UTC)


SYSTEM_CLOCK: Final = SystemClock()
