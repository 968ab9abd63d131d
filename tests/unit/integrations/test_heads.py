"""Which key a request carries, and where it comes from."""

from __future__ import annotations

from typing import Any

import pytest

from keyturn.domain.forwarded import TrustedProxies
from keyturn.integrations.heads import Head, asgi_head, wsgi_head
from keyturn.serving.refusals import RefusedError


def asgi(*fields: tuple[str, str], client: tuple[str, int] | None = ("203.0.113.9", 4711)) -> dict[str, Any]:
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in fields]
    return {"type": "http", "headers": headers, "client": client}


def wsgi(*fields: tuple[str, str], peer: str = "203.0.113.9") -> dict[str, Any]:
    named: dict[str, Any] = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in fields}
    return named | {"REMOTE_ADDR": peer}


def refusal_of(head: Head) -> str:
    with pytest.raises(RefusedError) as refused:
        head.token  # noqa: B018
    return refused.value.refusal.code


@pytest.mark.parametrize(
    "fields",
    [
        [("Authorization", "Bearer abc")],
        [("Authorization", "bearer abc")],
        [("Authorization", "BEARER   abc  ")],
        [("X-API-Key", "abc")],
        [("X-API-Key", " abc ")],
        [("Authorization", "Bearer abc"), ("X-API-Key", "abc")],
        [("Authorization", "Basic dXNlcjpwYXNz"), ("X-API-Key", "abc")],
        [("Authorization", "Bearer abc"), ("X-API-Key", "")],
        [("Authorization", "Bearer"), ("X-API-Key", "abc")],
    ],
)
def test_a_key_is_found_in_either_field(fields: list[tuple[str, str]]) -> None:
    assert asgi_head(asgi(*fields)).token == "abc"
    assert wsgi_head(wsgi(*fields)).token == "abc"


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("Authorization", "")],
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer ")],
        [("Authorization", "Basic abc")],
        [("Authorization", "abc")],
        [("X-API-Key", " ")],
        [("Cookie", "key=abc")],
    ],
)
def test_a_request_without_a_key_says_so(fields: list[tuple[str, str]]) -> None:
    assert refusal_of(asgi_head(asgi(*fields))) == "unauthenticated"
    assert refusal_of(wsgi_head(wsgi(*fields))) == "unauthenticated"


def test_two_keys_that_differ_are_not_chosen_between() -> None:
    both = [("Authorization", "Bearer abc"), ("X-API-Key", "abd")]
    assert refusal_of(asgi_head(asgi(*both))) == "two_credentials"
    assert refusal_of(wsgi_head(wsgi(*both))) == "two_credentials"
    for twice in ("Authorization", "Bearer abc"), ("X-API-Key", "abc"):
        name, value = twice
        assert asgi_head(asgi(twice, twice)).token == "abc"
        assert refusal_of(asgi_head(asgi(twice, (name, value + "d")))) == "two_credentials"


def test_the_peer_is_an_address_or_nothing() -> None:
    for text, address in {
        "203.0.113.9": "203.0.113.9", "2001:db8::1": "2001:db8::1", "fe80::1%eth0": "fe80::1",
        "": None, "testclient": None, "/run/app.sock": None, "unix:": None,
    }.items():  # fmt: skip
        assert asgi_head(asgi(client=(text, 0))).peer == address
        assert wsgi_head(wsgi(peer=text)).peer == address
    assert asgi_head(asgi(client=None)).peer is None
    assert wsgi_head({}).peer is None


def test_a_trusted_proxy_is_asked_and_an_absurd_answer_is_refused() -> None:
    proxies = TrustedProxies(["203.0.113.9"])
    for head in (
        asgi_head(asgi(("X-Forwarded-For", "1.2.3.4"))),
        wsgi_head(wsgi(("X-Forwarded-For", "1.2.3.4"))),
    ):
        assert head.client(proxies) == "1.2.3.4"
        assert head.client(TrustedProxies()) == "203.0.113.9"
    with pytest.raises(RefusedError) as refused:
        asgi_head(asgi(("X-Forwarded-For", "unknown"))).client(proxies)
    assert refused.value.refusal.code == "malformed_forwarded_for"
