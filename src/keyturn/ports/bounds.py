"""How much a ledger takes or gives at a time, whichever it is."""

from __future__ import annotations

from typing import Final

MAX_IDS: Final = 1_000
MAX_USES: Final = 10_000
MAX_RESEALS: Final = 1_000


def check_count(count: int, most: int, what: str) -> None:
    """ValueError for more than `most`; services ask for no more, so that it is a mistake of theirs."""
    if count > most:
        raise ValueError(f"at most {most} {what} at a time, not {count}")
