"""What the dispatcher does before a management call reaches the framework."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from keyturn.server.dispatcher import MAX_MANAGEMENT_BYTES, Dispatcher
from keyturn.server.measured import Measured
from keyturn.server.proxies import TrustedProxies

SCOPE = {
    "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
    "path": "/v1/keys", "raw_path": b"/v1/keys", "query_string": b"", "root_path": "",
    "client": ("127.0.0.1", 50_000), "server": ("127.0.0.1", 8_700),
}  # fmt: skip


class Turns:
    """How often others had their turn on the event loop between the end of a body and the call."""

    def __init__(self) -> None:
        self.at_body = self.at_call = self.count = 0

    async def others(self) -> None:
        """Have a turn, again and again."""
        while True:
            self.count += 1
            await asyncio.sleep(0)

    async def passed(self, body: bytes) -> int:
        """Send a body; how many turns there were until the framework was called with it."""
        nothing = cast(Any, None)
        dispatcher = Dispatcher(
            endpoint=cast(Any, self), gateways=nothing, management=self._manage, admits=self._admits,
            proxies=TrustedProxies(), measured=Measured(),
        )  # fmt: skip
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        others = asyncio.create_task(self.others())

        async def receive() -> dict[str, Any]:
            self.at_body = self.count
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            raise AssertionError(message)

        await dispatcher({**SCOPE, "headers": headers}, receive, send)
        others.cancel()
        return self.at_call - self.at_body

    async def _manage(self, *_: object) -> None:
        self.at_call = self.count

    async def _admits(self, _: object) -> bool:
        return True

    asker = verify = verify_batch = None


@pytest.mark.parametrize("item", [b"{}", b'{"a":1}', b"[]"])
def test_others_have_their_turn_while_a_large_body_is_looked_at(item: bytes) -> None:
    count = (MAX_MANAGEMENT_BYTES - 20) // (len(item) + 1)
    body = b'{"items":[' + b",".join([item] * count) + b"]}"
    assert asyncio.run(Turns().passed(body)) > 0


def test_a_small_body_is_looked_at_at_once() -> None:
    assert asyncio.run(Turns().passed(b'{"items":[]}')) == 0
