"""Questions to the server, in each of the ways to put them, and keys to ask about.

for way in WAYS:
    assert put(served, way, {"key": token, "scope": "read"})["valid"]
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

from keyturn.domain.instants import parse_rfc3339, rfc3339
from keyturn.domain.token import build, parse
from tests.contract.waiting import until
from tests.http.raw import KEEP_ALIVE, Answer
from tests.http.served import Served, unknown_token

# In their order.
MEMBERS: Final = ("valid", "code", "key_id", "version", "owner", "scope", "permissions", "metadata", "expires_at",
                  "rate_limits", "credits", "as_of")  # fmt: skip
NOTHING: Final[Mapping[str, object]] = {
    "key_id": None, "version": None, "owner": None, "scope": None, "permissions": [], "metadata": {},
    "expires_at": None, "rate_limits": [], "credits": None,
}  # fmt: skip
AS_OF: Final = re.compile(r"[0-9A-Za-z]{16}:[1-9][0-9]*")

WAYS: Final = ("plain", "asgi", "batch")

Question = Mapping[str, object]


def in_(**time: float) -> str:
    """The time in so many hours from now."""
    return rfc3339(datetime.now(UTC) + timedelta(**time))


def send(
    served: Served, way: str, body: bytes, *, key: str | None, source: str | None = None, **fields: str
) -> Answer:
    """A question's bytes, sent in one of the WAYS; to the batch as its one item."""
    more = [(name.replace("_", "-"), value) for name, value in fields.items()]
    if way == "batch":
        return served.call(
            "POST", "/v1/verify/batch", b'{"items": [%s]}' % body, key=key, fields=more, source=source
        )
    more += KEEP_ALIVE if way == "asgi" else ()
    return served.call("POST", "/v1/verify", body, key=key, fields=more, source=source)


def put(served: Served, way: str, question: object, *, key: str | None = None) -> dict[str, Any]:
    """The answer to a question in one of the WAYS."""
    answer = send(served, way, json.dumps(question).encode(), key=key or served.key).ok()
    (found,) = answer["items"] if way == "batch" else (answer,)
    assert tuple(found) == MEMBERS
    assert AS_OF.fullmatch(found["as_of"])
    return dict(found)


def but_for_as_of(answer: Mapping[str, object]) -> dict[str, object]:
    """The answer without how far the log had been read."""
    return {name: value for name, value in answer.items() if name != "as_of"}


def after(*acts: str, body: object = None, **wanted: Any) -> Callable[[Served], dict[str, Any]]:
    """Makes a key to which these acts have happened."""

    def make(served: Served) -> dict[str, Any]:
        key = served.issue(**wanted)
        for act in acts:
            served.act(key["key_id"], act, body).ok()
        return key

    return make


@cache
def expired(served: Served, kind: str = "api_token") -> dict[str, Any]:
    """A key that has expired; the same one each time, for it takes a second."""
    key = served.issue(expires_in=1, type=kind, owner="late")
    until(lambda: datetime.now(UTC) >= parse_rfc3339(key["expires_at"]))
    return key


def seen(served: Served, token: str, by: str | None = None) -> str:
    """The token, once it has been verified by its own tenant."""
    assert served.verify(token, key=by or served.key)["valid"]
    return token


def with_another_secret(token: str) -> str:
    """A token with the same handle, whose secret is another's."""
    parsed, other = parse(token), parse(unknown_token())
    assert parsed is not None
    assert other is not None
    return build(parsed.prefix, parsed.credential_id, other.secret.reveal())
