"""One answer, whichever way: what is answered in the connection's callback is, to the byte, what ASGI answers."""

from __future__ import annotations

import json
import re

import pytest

from tests.http.asking import WAYS, after, seen, send, with_another_secret
from tests.http.raw import CHUNKED, KEEP_ALIVE, Answer, Raw, ask, chunked, request
from tests.http.served import REQUEST_ID, Served, unknown_token


@pytest.mark.parametrize("way", WAYS)
def test_another_tenants_token_looks_to_the_byte_like_one_that_was_never_issued(
    served: Served, way: str
) -> None:
    def said_of(token: str) -> Answer:
        answer = send(served, way, json.dumps({"key": token}).encode(), key=served.key)
        return as_if_at_once(answer)

    cold = served.issue_elsewhere(owner="acme", metadata={"a": 1})["key"]
    warm = seen(served, served.issue_elsewhere()["key"], by=served.foreigner)
    ours = served.issue()["key"]
    assert (
        said_of(unknown_token())
        == said_of(cold)
        == said_of(cold)
        == said_of(warm)
        == said_of(with_another_secret(ours))
    )
    assert said_of(ours) != said_of(cold)


def as_if_at_once(answer: Answer) -> Answer:
    """The answer without what changes with time: the date, and how far the log had been read."""
    body, count = re.subn(rb'"as_of":"([^":]+):[0-9]+"', rb'"as_of":"\1:0"', answer.body)
    assert count > 0 or answer.status != 200
    # as_of is as long as its number
    kept = answer.without("date", "content-length", "connection")
    assert answer.field("content-length") == str(len(answer.body))
    return Answer(kept.line, kept.fields, body)


def questions_of_every_kind(served: Served) -> dict[str, tuple[bytes, str | None]]:
    """Bodies, and who asks."""
    key = served.issue(owner="ways", metadata={"é": [1]}, permissions=["a.b"], allowed_ips=["203.0.113.9"])
    valid = {"key": key["key"], "ip": "203.0.113.9"}
    bodies: dict[str, object] = {
        "valid": valid,
        "cold": {"key": served.issue()["key"]},
        "denied": {"key": key["key"]},
        "scope": valid | {"scope": "admin"},
        "permissions": valid | {"permissions": "c"},
        "revoked": {"key": after("revoke")(served)["key"]},
        "malformed": {"key": "a"},
        "unknown": {"key": unknown_token()},
        "invalid": valid | {"scope": 1},
        "unknown field": valid | {"other": 1},
        "no object": [],
    }
    asked: dict[str, tuple[bytes, str | None]] = {
        name: (json.dumps(body).encode(), served.key) for name, body in bodies.items()
    }
    body = json.dumps(valid).encode()
    return asked | {
        "no JSON": (b"{", served.key),
        "nothing": (b"", served.key),
        "the largest": (body.ljust(16_384), served.key),
        "too large": (body.ljust(16_385), served.key),
        "nobody": (body, None),
        "an api_token asks": (body, key["key"]),
        "without the permission": (body, served.provision("keys.read")),
        "from another network": (body, served.provision("keys.verify", allowed_ips=["192.0.2.1"])),
    }


def test_the_short_way_and_asgi_answer_every_question_with_the_same_bytes(served: Served) -> None:
    named = ("X-Request-Id", REQUEST_ID)
    for name, (body, caller) in questions_of_every_kind(served).items():
        plain, asgi = (
            ask(served.port, request("POST", "/v1/verify", body, key=caller, fields=fields))
            for fields in ([named], [named, *KEEP_ALIVE])
        )
        assert as_if_at_once(plain) == as_if_at_once(asgi), name
        assert plain.closes == asgi.closes, name


def other_ways(body: bytes, key: str) -> dict[str, bytes]:
    """Requests that ask the same and are none for the short way."""
    return {
        "connection": request("POST", "/v1/verify", body, key=key, fields=KEEP_ALIVE),
        "last": request("POST", "/v1/verify", body, key=key, fields=[("Connection", "close")]),
        "chunks": request("POST", "/v1/verify", chunked(body, 7), key=key, fields=CHUNKED),
        "old": request("POST", "/v1/verify", body, key=key, version="1.0"),
        "query": request("POST", "/v1/verify?", body, key=key),
        "longer query": request("POST", "/v1/verify?key=other&scope=admin", body, key=key),
        "absolute": request("POST", "http://other.test/v1/verify", body, key=key),
        "encoded": request("POST", "/v1/%76erify", body, key=key),
        "expect": request("POST", "/v1/verify", body, key=key, fields=[("Expect", "the-unexpected")]),
        "upgrade": request("POST", "/v1/verify", body, key=key, fields=[("Upgrade", "h2c")]),
    }


@pytest.mark.parametrize("way", other_ways(b"", ""))
def test_every_way_to_ask_gives_the_same_answer(served: Served, way: str) -> None:
    body = json.dumps({"key": served.issue(owner="every way")["key"]}).encode()
    plain = ask(served.port, request("POST", "/v1/verify", body, key=served.key))
    other = ask(served.port, other_ways(body, served.key)[way])
    assert plain.status == 200
    assert as_if_at_once(plain) == as_if_at_once(other)


def test_a_question_may_come_in_pieces(served: Served) -> None:
    body = json.dumps({"key": served.issue()["key"]}).encode()
    data = request("POST", "/v1/verify", body, key=served.key)
    with Raw(served.port) as client:
        for _ in ("first", "second"):
            for at in range(len(data)):
                client.send(data[at : at + 1])
            assert client.answer().ok()["valid"]
