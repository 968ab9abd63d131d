"""Time, as an argument: services and readers are given a clock, and tests give them theirs."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Final, Protocol


class Clock(Protocol):
    """Two times: the wall clock for expiry, and a steady one for staleness."""

    def now(self) -> datetime:
        """The present, aware, in UTC."""

    def micros(self) -> int:
        """The present in microseconds since the epoch."""

    def steady(self) -> float:
        """Seconds of a clock that never steps, and that runs on while the machine sleeps where the system has one."""


# A node that slept must count the sleep: CLOCK_MONOTONIC stands still in suspend, CLOCK_BOOTTIME does not.
_STEADY: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        return datetime.now(timezone.utc)

    def micros(self) -> int:
        return time.time_ns() // 1_000

    def steady(self) -> float:
        return time.clock_gettime(_STEADY)


SYSTEM_CLOCK: Final = SystemClock()
