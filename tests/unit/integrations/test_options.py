"""A guard that makes no sense is refused where it is written, with what to write in its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from keyturn.errors import ConfigurationError, InvalidInputError, KeyturnError
from keyturn.integrations import Guard
from keyturn.integrations.asgi import KeyMiddleware as AsgiMiddleware
from keyturn.integrations.flask import KeyGuard
from keyturn.integrations.required import Required
from keyturn.integrations.wsgi import KeyMiddleware as WsgiMiddleware

SERVER = "http://127.0.0.1:1"
KEY = "kt_a_secret"


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("", {}),
        ("keys.db", {}),
        ("mysql://x", {}),
        ("https://", {"key": KEY}),
        (f"http://user:{KEY}@x", {"key": KEY}),
        (SERVER, {}),
        (SERVER, {"key": ""}),
        (SERVER, {"key": f"{KEY}\n"}),
        (SERVER, {"key": KEY, "encryption_key": bytes(32)}),
        (SERVER, {"key": KEY, "tenant": "acme"}),
        (SERVER, {"key": KEY, "max_staleness": -1}),
        (SERVER, {"key": KEY, "max_staleness": 61}),
        (SERVER, {"key": KEY, "max_staleness": float("nan")}),
        (SERVER, {"key": KEY, "trusted_proxies": "10.0.0.1"}),
        (SERVER, {"key": KEY, "trusted_proxies": ["proxy"]}),
        ("sqlite:///keys.db", {"key": KEY}),
        ("sqlite:///keys.db", {"max_staleness": 0}),
        ("sqlite:///keys.db", {"tenant": "NOT A TENANT"}),
        ("sqlite:///keys.db", {"trusted_proxies": ["0.0.0.0/0"]}),
        ("sqlite:///keys.db", {"unknown": 1}),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(url: str, options: dict[str, Any]) -> None:
    with pytest.raises(KeyturnError) as refused:
        Guard(url, **options)
    assert refused.value.fix
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    ("scope", "permissions"),
    [("reed", None), ("", None), (None, ""), (None, "not a query"), (None, "documents.*")],
)
def test_a_requirement_that_makes_no_sense_is_refused_where_it_is_written(
    scope: str | None, permissions: str | None
) -> None:
    guard = KeyGuard("sqlite:///keys.db")
    for written in (
        lambda: Required.of(scope, permissions),
        lambda: guard.require(scope=scope, permissions=permissions),
        lambda: WsgiMiddleware(lambda *_: [], guard, scope=scope, permissions=permissions),
    ):
        with pytest.raises(InvalidInputError):
            written()


def test_a_scope_may_be_given_by_name() -> None:
    assert Required.of("read_write", None) == Required.of(Required.of("read_write", None).scope, None)


@pytest.mark.parametrize("middleware", [AsgiMiddleware, WsgiMiddleware])
def test_several_middlewares_may_share_a_guard(middleware: Callable[..., Any]) -> None:
    guard = Guard("sqlite:///keys.db")
    assert middleware(None, guard, scope="read").guard is guard
    with pytest.raises(ConfigurationError, match="already"):
        middleware(None, guard, max_staleness=2)


def test_a_server_has_its_store_to_itself() -> None:
    with pytest.raises(ConfigurationError) as refused:
        Guard(SERVER, key=KEY).store  # noqa: B018
    assert "keyturn.Client" in refused.value.fix


def test_a_guard_shows_no_secret() -> None:
    guard = Guard(SERVER, key=KEY)
    assert KEY not in repr(guard) + repr(vars(guard)) + repr(vars(guard._source))
