"""How often a key was used, when last, and why it was refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from keyturn.domain.instants import MAX_MICROS, from_micros, to_micros
from keyturn.domain.spec import check_instant
from keyturn.domain.verdict import Code
from keyturn.errors import InvalidInputError
from keyturn.ports.ledger import Ledger

DEFAULT_WINDOW: Final = timedelta(days=30)
MAX_WINDOW: Final = timedelta(days=400)
_MICROS_A_MINUTE: Final = 60_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageStatistics:
    """Uses of one key within a window.

    Attributes:
        total: valid uses.
        refused: refusals by verification code.
        by_minute: valid uses by the minute (its beginning), without the minutes that had none.
        last_used_at, last_ip: the latest valid use ever; None for a key never used.
        last_used_by_version: the same for each version that was used.
    """

    key_id: str
    since: datetime
    until: datetime
    total: int
    refused: Mapping[str, int]
    by_minute: Mapping[datetime, int]
    last_used_at: datetime | None
    last_ip: str | None
    last_used_by_version: Mapping[int, datetime]


class Usage:
    """Reads counts of uses. What was counted reaches the ledger within seconds, not at once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def of(self, key_id: str, now: datetime, since: datetime | None = None) -> UsageStatistics:
        """Statistics of one key from `since` (30 days ago when absent) to `now`; at most 400 days."""
        if since is not None:
            check_instant("since", since)
        start = now - DEFAULT_WINDOW if since is None else since
        if not timedelta(0) <= now - start <= MAX_WINDOW:
            raise InvalidInputError(f"since is in the past, at most {MAX_WINDOW.days} days", field="since")
        counts = self._ledger.read_uses(key_id, _minute(start), _minute(now))
        refused: Counter[str] = Counter()
        by_minute: Counter[datetime] = Counter()
        for count in counts:
            if count.code == Code.VALID.value:
                by_minute[from_micros(count.minute * _MICROS_A_MINUTE)] += count.count
            else:
                refused[count.code] += count.count
        # Uses are not sealed: what is no instant was written by somebody else, and is no use.
        stored = (use for use in self._ledger.last_uses((key_id,)) if 0 <= use.at <= MAX_MICROS)
        last = sorted(stored, key=lambda use: use.at)
        return UsageStatistics(
            key_id=key_id,
            since=start,
            until=now,
            total=by_minute.total(),
            refused=dict(refused),
            by_minute=dict(by_minute),
            last_used_at=from_micros(last[-1].at) if last else None,
            last_ip=last[-1].ip if last else None,
            last_used_by_version={use.version: from_micros(use.at) for use in last},
        )


def _minute(instant: datetime) -> int:
    return to_micros(instant) // _MICROS_A_MINUTE
