"""What nobody foresaw: told once, whole, under the id that the client was given."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NoReturn, cast

import pytest

from keyturn.server.authorizing import AuthorizeEndpoint
from keyturn.server.dispatcher import Dispatcher
from keyturn.server.logs import to_stderr
from keyturn.server.management import management_app
from keyturn.server.measured import Measured
from keyturn.server.proxies import TrustedProxies
from keyturn.server.verifying import VerifyEndpoint
from tests.http.served import unknown_token


class Broken:
    """A node that fails in a way of its own, and names what it should not."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError(f"the plan is {self._secret}")


@pytest.mark.parametrize("path", ["/readyz", "/v1/keys", "/v1/verify"])
def test_a_failure_is_logged_with_its_traceback_under_the_id_in_the_answer(
    path: str, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = unknown_token()
    with to_stderr(is_production=True):
        problem = asyncio.run(answer_of(Broken(secret), path))
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    (failure,) = (line for line in lines if "exception" in line)
    assert problem["code"] == "internal"
    assert failure["level"] == "error"
    assert failure["request_id"] == problem["request_id"]
    assert "RuntimeError: the plan is " in failure["exception"]
    assert secret not in json.dumps([problem, *lines])
    assert [line["request_id"] for line in lines if line["logger"] == "keyturn.calls"] == (
        [] if path == "/v1/verify" else [problem["request_id"]]
    )


async def answer_of(node: Any, path: str) -> dict[str, Any]:
    """The problem that a broken node's application answers a request with."""
    measured = Measured()
    application = Dispatcher(
        endpoint=VerifyEndpoint(verifier=node, decider=node, log=node, measured=measured),
        gateways=AuthorizeEndpoint(verifier=node, decider=node, measured=measured),
        proxies=TrustedProxies(),
        management=management_app(node, node, node, cast(Any, None)),
        admits=node,
        measured=measured,
    )
    sent: list[dict[str, Any]] = []
    waiting = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        return waiting.pop()

    async def note(message: Any) -> None:
        sent.append(message)

    method = "POST" if path == "/v1/verify" else "GET"
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(b"authorization", b"Bearer a")], "client": ("127.0.0.1", 50_000), "server": ("127.0.0.1", 8_700),
    }  # fmt: skip
    await application(scope, receive, note)
    assert sent[0]["status"] == 500
    problem = json.loads(sent[1]["body"])
    assert dict(sent[0]["headers"])[b"x-request-id"].decode() == problem["request_id"]
    return dict(problem)
