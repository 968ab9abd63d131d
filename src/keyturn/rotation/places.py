"""Where a row stands in a list of what is due, as the store ordered it: unchecked, and good for nothing else."""

from __future__ import annotations

import json
import math
from typing import Any, Final

from keyturn.ports.ledger import Row

Place = tuple[int, str]

START: Final[Place] = (-1, "")


def place_after(row: Row, seen: Place, *names: str) -> Place | None:
    """Where the list goes on after its last row, whose first member of `names` put it there.

    None where that would not be further on: whoever altered the row keeps nobody from coming to an end.
    """
    try:
        body: Any = json.loads(row.body)
        place = (next(math.ceil(body[name]) for name in names if name in body), row.id)
    except (ValueError, TypeError, OverflowError, StopIteration, RecursionError):
        return None
    return place if place > seen else None
