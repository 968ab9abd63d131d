"""What each framework has beside requests: documentation, websockets, lifespans, its own ways to answer and to test."""

# No `from __future__ import annotations`: FastAPI reads the annotations of the routes below as they stand.

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from keyturn import KeyScope, SecureKeyGenerator, SecureKeyStore, Verification
from keyturn.integrations import Guard
from keyturn.integrations.asgi import KeyMiddleware as AsgiMiddleware
from keyturn.integrations.fastapi import KeyGuard, KeyRefused
from keyturn.integrations.wsgi import KEY
from keyturn.integrations.wsgi import KeyMiddleware as WsgiMiddleware
from tests.http.served import Served
from tests.integrations.conftest import BY_THE_SERVER, ON_THE_STORE, Guarded, guard_options
from tests.integrations.running_app import ROOT, RunningApp
from tests.running_server import KEK

DENIAL: Final = ["websocket.http.response.start", "websocket.http.response.body"]
DJANGO: Final = [f"{name}, {ON_THE_STORE}" for name in ("django wsgi", "django asgi")]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'keys.db'}"


@pytest.fixture
def token(url: str) -> str:
    """A key that may read."""
    with SecureKeyStore.open(url, KEK) as store:
        key = SecureKeyGenerator().generate_api_key(key_scope=KeyScope.READ, owner="acme")
        store.store_key(key)
        return key.secret.reveal()


@pytest.fixture
def guard(url: str) -> Iterator[KeyGuard]:
    made = KeyGuard(url, encryption_key=KEK)
    yield made
    made.close()


def with_key(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def get(app: Any, path: str, token: str | None = None) -> httpx.Response:
    """The answer of an ASGI application, on an event loop of its own."""

    async def once() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as client:
            return await client.get(path, headers=None if token is None else with_key(token))

    return asyncio.run(once())


def asgi_answer(app: Any, scope: dict[str, Any], *received: dict[str, Any]) -> list[dict[str, Any]]:
    """What an ASGI application sends."""
    waiting, sent = list(received), []

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(message: Any) -> None:
        sent.append(dict(message))

    asyncio.run(app(scope, receive, send))
    return sent


def handshake(*headers: tuple[bytes, bytes], **more: Any) -> dict[str, Any]:
    """A websocket's scope."""
    return {
        "type": "websocket", "path": "/live", "raw_path": b"/live", "query_string": b"", "headers": list(headers),
        "client": ("127.0.0.1", 1), "extensions": {"websocket.http.response": {}}, **more,
    }  # fmt: skip


# -- FastAPI


def test_the_documentation_has_a_place_for_the_key(guard: KeyGuard) -> None:
    app = FastAPI()
    for path, required in {
        "/read": guard.require(scope="read"),
        "/write": guard.require(scope="write"),
    }.items():
        app.get(path, dependencies=[Depends(required)])(lambda: None)
    app.get("/open")(lambda: None)
    document = app.openapi()
    assert document["components"]["securitySchemes"] == {
        "API key": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key; X-API-Key will do as well.",
        }
    }
    assert document["paths"]["/read"]["get"]["security"] == [{"API key": []}]
    assert document["paths"]["/write"]["get"]["security"] == [{"API key": []}]
    assert "security" not in document["paths"]["/open"]["get"]


def test_a_whole_router_may_require_a_key(guard: KeyGuard, token: str) -> None:
    router = APIRouter(prefix="/v1", dependencies=[Depends(guard.require(scope="read"))])
    router.get("/documents")(lambda: "documents")
    app, mounted = FastAPI(), FastAPI()
    app.include_router(router)
    mounted.include_router(router)
    app.mount("/mounted", mounted)
    for path in ("/v1/documents", "/mounted/v1/documents"):
        assert get(app, path, token).json() == "documents"
        refused = get(app, path)
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
        assert refused.headers["content-type"] == "application/problem+json"


def test_an_application_may_answer_refusals_in_its_own_way(guard: KeyGuard) -> None:
    app = FastAPI()
    app.get("/read", dependencies=[Depends(guard.require())])(lambda: None)

    @app.exception_handler(KeyRefused)
    async def own(_: Request, refused: KeyRefused) -> Response:
        return PlainTextResponse(f"no: {refused.refusal.code}", refused.status_code)

    assert get(app, "/read").text == "no: unauthenticated"


def test_a_framework_that_keeps_its_handlers_elsewhere_answers_with_the_same_status(guard: KeyGuard) -> None:
    required = guard.require()
    scope: dict[str, Any] = {"type": "http", "headers": [], "client": None}
    with pytest.raises(KeyRefused) as refused:
        asyncio.run(required(Request(scope)))
    assert (refused.value.status_code, refused.value.headers) == (401, {"WWW-Authenticate": "Bearer"})
    assert refused.value.detail["code"] == "unauthenticated"  # type: ignore[index]


def test_a_websocket_needs_a_key_as_well(guard: KeyGuard, token: str) -> None:
    app = FastAPI()

    @app.websocket("/live")
    async def live(
        socket: WebSocket, key: Annotated[Verification, Depends(guard.require(scope="read"))]
    ) -> None:
        await socket.accept()
        await socket.send_text(str(key.owner))
        await socket.close()

    connect = {"type": "websocket.connect"}
    accepted = asgi_answer(app, handshake((b"authorization", f"Bearer {token}".encode())), connect)
    assert [message.get("text") for message in accepted] == [None, "acme", None]
    denied = asgi_answer(app, handshake(), connect)
    assert [message["type"] for message in denied] == DENIAL
    assert (denied[0]["status"], json.loads(denied[1]["body"])["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize("way", [ON_THE_STORE, BY_THE_SERVER])
def test_a_guard_serves_one_event_loop_after_another(served: Served, way: str) -> None:
    """As test clients do that start one for each request."""
    options: dict[str, Any] = guard_options(served, way)
    if way == ON_THE_STORE:
        options["encryption_key"] = KEK
    guard = KeyGuard(**options)
    app = FastAPI()

    @app.get("/any")
    async def any_key(key: Annotated[Verification, Depends(guard.require())]) -> str | None:
        return key.owner

    async def live_once(token: str) -> list[str]:
        async with guard.lifespan(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://app", headers=with_key(token)
            ) as client:
                return [(await client.get("/any")).json() for _ in range(3)]

    for number in range(3):
        token = served.issue(owner=f"owner {number}")["key"]
        assert asyncio.run(live_once(token)) == [f"owner {number}"] * 3
    if way == ON_THE_STORE:
        for _ in range(3):
            assert get(app, "/any", token).status_code == 200
    guard.close()


# -- ASGI and WSGI


async def never(*_: object) -> None:
    raise AssertionError("the application was reached")


@pytest.mark.parametrize("extensions", [{}, {"websocket.http.response": {}}])
def test_a_websocket_without_a_key_never_reaches_the_application(
    guard: Guard, extensions: dict[str, Any]
) -> None:
    scope = handshake(extensions=extensions)
    sent = asgi_answer(AsgiMiddleware(never, guard), scope, {"type": "websocket.connect"})
    if extensions:
        assert [message["type"] for message in sent] == DENIAL
        assert sent[0]["status"] == 401
        assert json.loads(sent[1]["body"])["code"] == "unauthenticated"
    else:
        assert sent == [{"type": "websocket.close", "code": 1008, "reason": "unauthenticated"}]


def test_a_websocket_with_a_key_does(guard: Guard, token: str) -> None:
    owners = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        owners.append((scope["type"], scope["state"]["key"].owner, scope["state"]["mine"]))

    scope = handshake((b"authorization", f"Bearer {token}".encode()), state={"mine": 7})
    assert asgi_answer(AsgiMiddleware(app, guard, scope="read"), scope) == []
    assert owners == [("websocket", "acme", 7)]
    assert scope["state"] == {"mine": 7}, "the state that other requests share is left as it was"


def test_an_application_without_a_lifespan_is_served_all_the_same(guard: Guard, token: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", "only requests are known here"

    middleware = AsgiMiddleware(app, guard)
    with pytest.raises(AssertionError):
        asgi_answer(middleware, {"type": "lifespan"}, {"type": "lifespan.startup"})
    headers = [(b"x-api-key", token.encode())]
    assert asgi_answer(middleware, {"type": "http", "headers": headers}) == []


def test_the_wsgi_middleware_keeps_to_the_protocol(guard: Guard, token: str) -> None:
    """Python's own validator looks on from both sides."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(environ[KEY].owner).encode()]

    guarded = validator(WsgiMiddleware(validator(app), guard, scope="read"))

    def call(method: str, **more: str) -> tuple[str, bytes]:
        environ: dict[str, Any] = {"REQUEST_METHOD": method, "QUERY_STRING": "", **more}
        setup_testing_defaults(environ)
        statuses: list[str] = []

        def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
            statuses.append(status)

        body = guarded(environ, start_response)
        try:
            return statuses[0], b"".join(body)
        finally:
            body.close()  # type: ignore[attr-defined]

    assert call("GET", HTTP_AUTHORIZATION=f"Bearer {token}") == ("200 OK", b"acme")
    status, body = call("GET")
    assert (status, json.loads(body)["code"]) == ("401 Unauthorized", "unauthenticated")
    assert call("HEAD") == ("401 Unauthorized", b"")


# -- Django


@pytest.mark.parametrize("guarded", DJANGO, indirect=True)
def test_a_decorated_view_needs_no_csrf_token(guarded: Guarded) -> None:
    """Its key is one that no other site can have a browser send; what the middleware guards keeps Django's rule."""
    token = guarded.served.issue(scope="write", owner="posts")["key"]
    assert guarded.app.ask("POST", "/write", token).ok()["owner"] == "posts"
    guarded.app.ask("POST", "/write").problem(401, "unauthenticated")
    assert guarded.app.ask("POST", "/any", token).status == 403


@pytest.mark.parametrize("guarded", DJANGO, indirect=True)
def test_what_leads_to_no_view_is_not_found(guarded: Guarded) -> None:
    assert guarded.app.get("/nowhere").status == 404


def test_djangos_own_tests_may_change_the_setting(url: str, token: str, tmp_path: Path) -> None:
    """Run as a program: Django is configured once for each process."""
    elsewhere = f"sqlite:///{tmp_path / 'other.db'}"
    options = {"url": url, "encryption_key": f"hex:{KEK.hex()}"}
    program = f"""
import os
os.environ["GUARD"] = {json.dumps(json.dumps(options))}
from tests.integrations.applications import django_app
from django.test import Client, override_settings
from django.test.utils import setup_test_environment
setup_test_environment()
key = {{"Authorization": "Bearer {token}"}}
assert Client(SERVER_NAME="127.0.0.1").get("/any", headers=key).json()["owner"] == "acme"
with override_settings(KEYTURN={{**{options!r}, "url": {elsewhere!r}, "scope": "write"}}):
    assert Client(SERVER_NAME="127.0.0.1").get("/any", headers=key).json()["code"] == "not_found"
assert Client(SERVER_NAME="127.0.0.1").get("/any", headers=key).json()["owner"] == "acme"
with override_settings(KEYTURN={{**{options!r}, "scope": "write"}}):
    assert Client(SERVER_NAME="127.0.0.1").get("/any", headers=key).json()["code"] == "insufficient_scope"
    assert Client(SERVER_NAME="127.0.0.1").get("/read", headers=key).json()["owner"] == "acme"
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_django_says_at_its_start_what_is_wrong_with_the_setting() -> None:
    with RunningApp("django wsgi", {"url": "mysql://keys"}, waiting=False) as app:
        assert app.wait_until_gone() != 0
        assert "unknown store 'mysql'" in app.written


# -- behind a proxy


@pytest.mark.parametrize("framework", ["fastapi", "flask", "django asgi"])
def test_a_trusted_proxy_names_the_client_and_nobody_else_does(served: Served, framework: str) -> None:
    token = served.issue(allowed_ips=["203.0.113.9"])["key"]

    def said(*told: str, source: str = "127.0.0.2") -> int:
        fields = [("X-Forwarded-For", value) for value in told]
        return app.get("/any", token, fields=fields, source=source).status

    options = {**guard_options(served, ON_THE_STORE), "trusted_proxies": ["127.0.0.2", "10.0.0.0/8"]}
    with RunningApp(framework, options) as app:
        assert said("203.0.113.9") == 200
        assert said("198.51.100.1, 203.0.113.9, 10.0.0.7") == 200
        assert said() == 403
        assert said("203.0.113.9, 198.51.100.1") == 403, "what a client writes stands further to the left"
        assert said("203.0.113.9", source="127.0.0.3") == 403, "this one is no proxy of ours"
        assert said("unknown") == 400
        if framework == "fastapi":
            assert said("198.51.100.1", "203.0.113.9") == 200
