"""JSON objects in which no member is there twice.

Parsers differ on which one of two counts (RFC 8259, section 4), so that what was looked at on the way to this program
need not be what it would do.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from keyturn.errors import shown


class RepeatedMemberError(ValueError):
    """An object has a member twice."""


def parse_unambiguous(text: str | bytes) -> Any:
    """The value of a JSON text; RepeatedMemberError, or what `json.loads` raises."""
    return json.loads(text, object_pairs_hook=unique)


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of these members, for `object_pairs_hook`; RepeatedMemberError where one is there twice."""
    members = dict(pairs)
    if len(members) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise RepeatedMemberError(f"the member {shown(twice)} is there twice")
    return members
