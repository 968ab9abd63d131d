"""Keeping guessers from the store: failing sources wait, and all look-ups that find nothing share a budget.

Both are GCRA: one number for each source, the time at which its allowance is whole again. Credentials that are kept
and valid never come here, and a look-up that finds its credential costs nothing: after a restart all are cold, and none
of them is a guess.
"""

from __future__ import annotations

import ipaddress
import math
import threading
from typing import Final

FAILURES_A_SECOND: Final = 1.0
FAILURE_BURST: Final = 30
VAIN_A_SECOND: Final = 1_000.0  # look-ups that find nothing, of all sources together
VAIN_BURST: Final = 5_000
MAX_SOURCES: Final = 50_000


class Allowance:
    """One GCRA allowance: `rate` a second, `burst` at once."""

    __slots__ = ("_interval", "_tolerance", "_whole_at")

    def __init__(self, rate: float, burst: int) -> None:
        self._interval = 1.0 / rate
        self._tolerance = burst * self._interval
        self._whole_at = -math.inf

    def wait(self, now: float) -> float:
        """Seconds until one more is allowed; 0 when it is now."""
        return max(0.0, self._whole_at + self._interval - self._tolerance - now)

    def take(self, now: float) -> None:
        """Count one, allowed or not; the debt never exceeds one burst."""
        self._whole_at = min(max(self._whole_at, now) + self._interval, now + self._tolerance)

    def is_whole(self, now: float) -> bool:
        """Whether nothing is remembered any more."""
        return self._whole_at <= now


class Throttle:
    """Which sources may cause a look-up now. Times are steady seconds; memory is bounded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._budget = Allowance(VAIN_A_SECOND, VAIN_BURST)
        self._sources: dict[str, Allowance] = {}

    def start_afresh(self) -> None:
        """Go on with a lock that nobody holds, in a forked child."""
        self._lock = threading.Lock()

    def wait(self, source: str | None, now: float) -> float:
        """Seconds until this source may cause a look-up; 0 when it may now."""
        with self._lock:
            known = None if source is None else self._sources.get(_network_of(source))
            return max(self._budget.wait(now), 0.0 if known is None else known.wait(now))

    def looked_up_in_vain(self, now: float) -> None:
        """A look-up has found nothing."""
        with self._lock:
            self._budget.take(now)

    def failed(self, source: str | None, now: float) -> None:
        """A credential from this source was refused as unknown or malformed."""
        if source is None:
            return
        name = _network_of(source)
        with self._lock:
            known = self._sources.get(name)
            if known is None:
                if len(self._sources) >= MAX_SOURCES:
                    self._forget(now)
                known = self._sources[name] = Allowance(FAILURES_A_SECOND, FAILURE_BURST)
            known.take(now)

    def _forget(self, now: float) -> None:
        """Make room: sources whose allowance is whole again, and if that is not enough the oldest half."""
        kept = {name: known for name, known in self._sources.items() if not known.is_whole(now)}
        if len(kept) > MAX_SOURCES // 2:
            kept = dict(list(kept.items())[len(kept) - MAX_SOURCES // 2 :])
        self._sources = kept


def _network_of(source: str) -> str:
    """An IPv6 source is its /64: one customer has at least as many addresses."""
    if ":" not in source:
        return source
    try:
        address = ipaddress.IPv6Address(source)
    except ValueError:
        return source
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
