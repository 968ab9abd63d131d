"""What a server has written to standard error, line by line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import count
from typing import Any, Final

from tests.contract.waiting import until
from tests.http.served import Served

READABLE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z [A-Z]+ \S.*")
_FENCES: Final = count()


def json_lines(served: Served) -> list[dict[str, Any]]:
    """Every line as its JSON object, whole."""
    return [json.loads(line) for line in served.server.stderr.splitlines()]


def calls(served: Served) -> list[dict[str, Any]]:
    """Those that tell of calls."""
    return [line for line in json_lines(served) if line["logger"] == "keyturn.calls"]


def call_of(served: Served, request_id: str) -> dict[str, Any]:
    """The one line about a call; waits for it, for a thread writes."""
    until(lambda: any(line["request_id"] == request_id for line in calls(served)))
    (found,) = (line for line in calls(served) if line["request_id"] == request_id)
    return found


def new_calls(served: Served, act: Callable[[], object]) -> list[dict[str, Any]]:
    """The lines about calls that came from an act, in their order, between those of one before and one after it."""
    before = _fence(served)
    act()
    return calls(served)[before : _fence(served) - 1]


def _fence(served: Served) -> int:
    """How many lines about calls there are, the one included that this makes."""
    request_id = f"fence-{next(_FENCES)}"
    served.call("GET", "/v1/keys", key=None, fields=[("X-Request-Id", request_id)])
    call_of(served, request_id)
    return [line["request_id"] for line in calls(served)].index(request_id) + 1
