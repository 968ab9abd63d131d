"""Requests of every kind on one connection, each with what its answer must be.

asked = exchanges(served, owners, [PLAIN["valid"], OTHERS["list"]] * 100)
client.send(b"".join(exchange.data for exchange in asked))
assert_answered(client, asked)
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Final
from urllib.parse import quote

from tests.http.raw import CHUNKED, KEEP_ALIVE, Answer, Raw, chunked, request
from tests.http.served import UNKNOWN_ID, Served

LIVE: Final = b'{"status":"live"}'
MANY: Final = 300


@dataclass(frozen=True)
class Exchange:
    """A request, and what its answer must be."""

    data: bytes
    is_right: Callable[[Answer], bool]


def verification(
    served: Served, owner: str, token: str, fields: Iterable[tuple[str, str]] = (), **asked: str
) -> Exchange:
    """A question whose answer names the owner."""
    body = json.dumps({"key": token, **asked}).encode()
    data = request("POST", "/v1/verify", body, key=served.key, fields=fields)
    return Exchange(data, lambda answer: bool(answer.ok()["owner"] == owner))


@cache
def seen(served: Served) -> str:
    """The path of a key that nobody changes."""
    return f"/v1/keys/{served.issue(name='seen', recoverable=True)['key_id']}"


def management(
    method: str,
    tail: str,
    is_right: Callable[[Answer], bool],
    body: bytes | None = None,
    fields: Iterable[tuple[str, str]] = (),
) -> Maker:
    """A call about the key that nobody changes."""

    def make(served: Served, owner: str, token: str) -> Exchange:
        path = f"{seen(served)}{tail}" if not tail.startswith("/v1/") else tail
        return Exchange(request(method, path, body, key=served.key, fields=fields), is_right)

    return make


def gateway(served: Served, token: str) -> list[tuple[str, str]]:
    """The fields with which a gateway asks about a client's key."""
    return [("Keyturn-Gateway-Key", served.key), ("X-API-Key", token)]


def passes(answer: Answer, owner: str) -> bool:
    """Whether the request may pass, as this owner's."""
    return answer.status == 200 and answer.field("x-keyturn-owner") == quote(owner)


Maker = Callable[[Served, str, str], Exchange]
PLAIN: Final[dict[str, Maker]] = {
    "valid": verification,
    "denied": lambda served, owner, token: verification(served, owner, token, scope="admin"),
    "authorized": lambda served, owner, token: Exchange(
        request("GET", "/v1/authorize/a?b", fields=gateway(served, token)),
        lambda answer: passes(answer, owner),
    ),
    "not authorized": lambda served, *_: Exchange(
        request("GET", "/v1/authorize", fields=gateway(served, "hello")), lambda answer: answer.status == 401
    ),
}
OTHERS: Final[dict[str, Maker]] = {
    "asgi": lambda served, owner, token: verification(served, owner, token, KEEP_ALIVE),
    "live": lambda *_: Exchange(request("GET", "/livez"), lambda answer: answer.body == LIVE),
    "live with a body": lambda *_: Exchange(request("GET", "/livez", b"a" * 50), lambda answer: answer.body == LIVE),
    "absent": lambda served, *_: Exchange(
        request("GET", f"/v1/keys/{UNKNOWN_ID}", key=served.key), lambda answer: answer.status == 404
    ),
    "list": lambda served, owner, _: Exchange(
        request("GET", f"/v1/keys?owner={owner.replace(' ', '%20')}", key=served.key),
        lambda answer: [item["owner"] for item in answer.ok()["items"]] == [owner],
    ),
    "chunks": lambda served, owner, token: Exchange(
        request("POST", "/v1/verify", chunked(json.dumps({"key": token}).encode(), 20), key=served.key, fields=CHUNKED),
        lambda answer: bool(answer.ok()["owner"] == owner),
    ),
    "authorized with a body": lambda served, owner, token: Exchange(
        request("POST", "/v1/authorize/a", chunked(b"a" * 50, 7), fields=[*gateway(served, token), *CHUNKED]),
        lambda answer: passes(answer, owner),
    ),
    "a batch": lambda served, owner, token: Exchange(
        request("POST", "/v1/verify/batch", json.dumps({"items": [{"key": token}]}).encode(), key=served.key),
        lambda answer: bool(answer.ok()["items"][0]["owner"] == owner),
    ),
    "nobody asks": lambda *_: Exchange(
        request("POST", "/v1/verify", b'{"key": "a"}'), lambda answer: answer.status == 401
    ),
    "makes no sense": lambda served, *_: Exchange(
        request("POST", "/v1/verify", b'{"key": 1}', key=served.key), lambda answer: answer.status == 422
    ),
    "nothing new": management("GET", "", lambda answer: answer.status == 304, fields=[("If-None-Match", "*")]),
    "no longer so": management(
        "PATCH", "", lambda answer: answer.status == 412, b'{"name": "other"}', [("If-Match", '"0-a"')]
    ),
    "made before": management(
        "POST", "/v1/keys", lambda answer: answer.ok(201)["name"] == "made before", b'{"name": "made before"}',
        [("Idempotency-Key", "made-before")],
    ),
    "several at once": management(
        "POST", "/v1/keys/batch", lambda answer: len(answer.ok(201)["items"]) == 2,
        chunked(b'{"items": [{}, {"type": "hmac"}]}', 7), [*CHUNKED, ("Idempotency-Key", "several-at-once")],
    ),
    "versions": management("GET", "/versions", lambda answer: answer.ok()["items"][0]["version"] == 1),
    "usage": management("GET", "/usage?period=hour", lambda answer: answer.ok()["total"] == 0),
    "a secret": management("GET", "/secret", lambda answer: answer.ok()["type"] == "api_token"),
    "a large question": lambda served, owner, token: Exchange(
        request("POST", "/v1/verify", json.dumps({"key": token}).encode().ljust(12_000), key=served.key),
        lambda answer: bool(answer.ok()["owner"] == owner),
    ),
}  # fmt: skip


def exchanges(served: Served, owners: dict[str, str], kinds: Iterable[Maker]) -> list[Exchange]:
    """One of each of these, the owners by turns."""
    named = list(owners.items())
    return [make(served, *named[number % len(named)]) for number, make in enumerate(kinds)]


def assert_answered(client: Raw, asked: Iterable[Exchange]) -> None:
    """Read the answers to these, in their order."""
    for number, exchange in enumerate(asked):
        answer = client.answer()
        assert exchange.is_right(answer), (number, exchange.data, answer)


def drawn(seed: int) -> list[Maker]:
    """Mostly plain questions, with all others between them."""
    dice = random.Random(seed)
    every = [*PLAIN.values(), *OTHERS.values()]
    return [dice.choice([*every, *PLAIN.values(), *PLAIN.values(), *PLAIN.values()]) for _ in range(MANY)]
