"""How much a ledger takes or gives at a time, whichever it is."""

from __future__ import annotations

from typing import Final

MAX_IDS: Final = 1_000
MAX_USES: Final = 10_000
MAX_RESEALS: Final = 1_000
MAX_LISTED: Final = 1_001  # a page of 1,000 rows, and one more to see whether it is the last
MAX_STATE_BYTES: Final = 1 << 20


def check_count(count: int, most: int, what: str) -> None:
    """ValueError for more than `most`; services ask for no more, so that it is a mistake of theirs."""
    if count > most:
        raise ValueError(f"at most {most} {what} at a time, not {count}")


def check_limit(limit: int) -> None:
    """ValueError for a list of none or of more than MAX_LISTED rows; to some stores a negative limit is none at all."""
    if not 1 <= limit <= MAX_LISTED:
        raise ValueError(f"a list has 1 to {MAX_LISTED} rows, not {limit}")
