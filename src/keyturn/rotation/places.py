"""What a row says as the store has it: unchecked, and good for nothing but to see where to look."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from keyturn.ports.ledger import Row

Place = tuple[int, str]

START: Final[Place] = (-1, "")


def said_by(row: Row) -> Mapping[str, Any]:
    """The members of a row's body; none where it is no object of JSON."""
    try:
        body: Any = json.loads(row.body)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def place_after(row: Row, seen: Place, *names: str) -> Place | None:
    """Where a list of what is due goes on after its last row, whose first member of `names` put it there.

    None where that would not be further on: whoever altered the row keeps nobody from coming to an end.
    """
    body = said_by(row)
    try:
        place = (next(math.ceil(body[name]) for name in names if name in body), row.id)
    except (ValueError, TypeError, OverflowError, StopIteration):
        return None
    return place if place > seen else None
