"""Questions of a gateway, in each of the ways to put them, and what must hold of each answer.

for way in WAYS:
    assert_passes(put(served, way, gateway, key=token))
    assert_refused(put(served, way, gateway, key=revoked), 401, "revoked")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Final
from urllib.parse import unquote

from tests.http.asking import AS_OF
from tests.http.raw import CHUNKED, KEEP_ALIVE, Answer, ask, chunked, request
from tests.http.served import Served

BEARER: Final = 'Bearer realm="keyturn"'
GATEWAY: Final = 'Keyturn-Gateway realm="keyturn"'

Fields = Iterable[tuple[str, str]]

# How a gateway may ask. Those without a body are answered in the connection's callback, the others by ASGI.
WAYS: Final[dict[str, Callable[[str, list[tuple[str, str]]], bytes]]] = {
    "plain": lambda path, fields: request("GET", path, fields=fields),
    "asgi": lambda path, fields: request("GET", path, fields=[*fields, *KEEP_ALIVE]),
    "head": lambda path, fields: request("HEAD", path, fields=fields),
    "empty body": lambda path, fields: request("GET", path, b"", fields=fields),
    "post without": lambda path, fields: request("POST", path, fields=fields),
    "post": lambda path, fields: request("POST", path, b'{"of": "the client"}', fields=fields),
    "put": lambda path, fields: request(
        "PUT", path, chunked(b"of the client", 5), fields=[*fields, *CHUNKED]
    ),
    "delete": lambda path, fields: request("DELETE", path, fields=fields),
    "options": lambda path, fields: request("OPTIONS", path, fields=fields),
    "trace": lambda path, fields: request("TRACE", path, fields=fields),
    "purge": lambda path, fields: request("PURGE", path, fields=fields),
    "old": lambda path, fields: request("GET", path, fields=fields, version="1.0"),
    "encoded": lambda path, fields: request("GET", path.replace("authorize", "%61uthorize"), fields=fields),
}


@cache
def gateway_of(served: Served) -> str:
    """A gateway's key that requires nothing by itself: its token."""
    return served.provision("keys.verify", scope="read")


def put(
    served: Served,
    way: str = "plain",
    gateway: str | None = None,
    *,
    key: str | None = None,
    path: str = "/v1/authorize",
    require: str | None = None,
    fields: Fields = (),
    source: str | None = None,
) -> Answer:
    """The answer to a gateway, in one of the WAYS, about a client's key that came as a bearer's."""
    sent = [("Keyturn-Gateway-Key", gateway_of(served) if gateway is None else gateway)]
    if key is not None:
        sent.append(("Authorization", f"Bearer {key}"))
    if require is not None:
        sent.append(("Keyturn-Require", require))
    return ask(served.port, WAYS[way](path, [*sent, *fields]), source=source)


def assert_passes(answer: Answer, **said: str | None) -> Answer:
    """The request may pass; `said` are fields after X-Keyturn-, None for one that must not be there."""
    assert (answer.status, answer.body) == (200, b""), answer
    assert answer.field("content-length") == "0"
    assert (answer.field("x-keyturn-valid"), answer.field("x-keyturn-code")) == ("true", "valid")
    assert AS_OF.fullmatch(answer.field("x-keyturn-as-of") or "")
    for name, value in said.items():
        found = answer.field(f"x-keyturn-{name.replace('_', '-')}")
        assert (found if found is None else unquote(found, errors="strict")) == value, (name, answer)
    return answer


def assert_refused(
    answer: Answer, status: int, code: str, challenge: str | None = None, *, is_head: bool = False
) -> Answer:
    """The request may not pass, for this reason; nothing is said of who holds the key."""
    if not is_head:
        answer.problem(status, code)
    assert answer.status == status, answer
    assert (answer.field("x-keyturn-valid"), answer.field("x-keyturn-code")) == ("false", code), answer
    assert answer.field("www-authenticate") == challenge
    names = {name for name, _ in answer.fields if name.startswith("x-keyturn-")}
    assert not names & {"x-keyturn-owner", "x-keyturn-scope", "x-keyturn-permissions"}
    return answer
