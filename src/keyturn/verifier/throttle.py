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
RESERVED_A_SECOND: Final = 8.0  # look-ups for callers that would have to wait, of all of them together
RESERVED_BURST: Final = 16
MAX_SOURCES: Final = 50_000  # of each kind


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

    def left(self, now: float) -> int:
        """How many more are allowed at once."""
        return int((self._tolerance - max(0.0, self._whole_at - now)) / self._interval)

    def is_whole(self, now: float) -> bool:
        """Whether nothing is remembered any more."""
        return self._whole_at <= now


class Throttle:
    """Which sources may cause a look-up now. Times are steady seconds; memory is bounded.

    A source is an address, of which there are two kinds: the one that a connection comes from, and, with a tenant, one
    that a caller of that tenant names. What callers name is held against nobody but their own tenant's clients:
    anybody who may verify could otherwise lock out others by naming where those come from.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._budget = Allowance(VAIN_A_SECOND, VAIN_BURST)
        self._reserve = Allowance(RESERVED_A_SECOND, RESERVED_BURST)
        self._connections: dict[str, Allowance] = {}
        self._named: dict[str, Allowance] = {}

    def start_afresh(self) -> None:
        """Go on with a lock that nobody holds, in a forked child."""
        self._lock = threading.Lock()

    def admits(self, address: str | None, now: float, tenant: str | None = None) -> bool:
        """Whether this source may cause a look-up now; asking may use up a part of the reserve.

        The reserve is for callers of this server, who may all come from one proxy's address, or whose look-ups the
        guesses of others could crowd out: some of their keys are looked up always.
        """
        if self.wait(address, now, tenant) == 0:
            return True
        if tenant is not None:
            return False
        with self._lock:
            if self._reserve.wait(now) > 0:
                return False
            self._reserve.take(now)
            return True

    def wait(self, address: str | None, now: float, tenant: str | None = None) -> float:
        """Seconds until this source may cause a look-up without the reserve; 0 when it may now."""
        with self._lock:
            known = None if address is None else self._table(tenant).get(_source(address, tenant))
            return max(self._budget.wait(now), 0.0 if known is None else known.wait(now))

    @property
    def sources(self) -> int:
        """How many sources are remembered for what they failed at."""
        return len(self._connections) + len(self._named)

    def budget(self, now: float) -> int:
        """How many look-ups in vain are allowed now, of all sources together."""
        with self._lock:
            return self._budget.left(now)

    def looked_up_in_vain(self, now: float) -> None:
        """A look-up has found nothing."""
        with self._lock:
            self._budget.take(now)

    def failed(self, address: str | None, now: float, tenant: str | None = None) -> None:
        """A credential from this source was refused as unknown or malformed."""
        if address is None:
            return
        source, table = _source(address, tenant), self._table(tenant)
        with self._lock:
            known = table.get(source)
            if known is None:
                if len(table) >= MAX_SOURCES:
                    _make_room(table, now)
                known = table[source] = Allowance(FAILURES_A_SECOND, FAILURE_BURST)
            known.take(now)

    def _table(self, tenant: str | None) -> dict[str, Allowance]:
        return self._connections if tenant is None else self._named


def _make_room(table: dict[str, Allowance], now: float) -> None:
    """Forget sources whose allowance is whole again, and if that is not enough the oldest half."""
    kept = {source: known for source, known in table.items() if not known.is_whole(now)}
    if len(kept) > MAX_SOURCES // 2:
        kept = dict(list(kept.items())[len(kept) - MAX_SOURCES // 2 :])
    table.clear()
    table.update(kept)


def _source(address: str, tenant: str | None) -> str:
    network = _network_of(address)
    return network if tenant is None else f"{tenant} {network}"


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
