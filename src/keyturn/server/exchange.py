"""Reading a bounded request and sending an answer, over bare ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

from keyturn.errors import KeyturnError
from keyturn.server.problems import CONTENT_TYPE, encoded, headers_of, problem, problem_of, status_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BODY_SECONDS: Final = 30.0
_JSON_HEADERS: Final = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))


class RefusedRequestError(Exception):
    """A request that is refused as it is read."""

    def __init__(self, status: int, code: str, detail: str, fix: str) -> None:
        super().__init__(detail)
        self.status = status
        self.body = encoded(problem(status, code, detail, fix))


class ClientGoneError(Exception):
    """The client closed the connection: nobody is there to answer."""


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body, at most `limit` bytes and within 30 s; RefusedRequestError past either."""
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body = message.get("body", b"")
        if len(body) <= limit:
            return bytes(body)
        raise _too_large(limit)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _read_on(message, receive, limit)
    except TimeoutError:
        raise RefusedRequestError(
            408, "request_timeout", f"the body did not arrive within {BODY_SECONDS:.0f} s", "Send it faster."
        ) from None


async def _read_on(message: Message, receive: Receive, limit: int) -> bytes:
    body = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        body += message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        if not message.get("more_body"):
            return bytes(body)
        message = await receive()


def _too_large(limit: int) -> RefusedRequestError:
    return RefusedRequestError(
        413, "body_too_large", f"the body has more than {limit:,} bytes", "Send less, or in several requests."
    )


async def send_json(send: Send, body: bytes, status: int = 200) -> None:
    """Answer with JSON that nobody may keep."""
    headers = [*_JSON_HEADERS, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_problem(
    send: Send, status: int, body: bytes, more: Mapping[str, str], *, close: bool = False
) -> None:
    """Answer with a problem; `close` where the rest of the request was not read."""
    headers = [
        (b"content-type", CONTENT_TYPE.encode()),
        (b"cache-control", b"no-store"),
        (b"content-length", b"%d" % len(body)),
        *((name.lower().encode(), value.encode()) for name, value in more.items()),
    ]
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_error(send: Send, error: KeyturnError) -> None:
    """Answer with the problem that an error is."""
    await send_problem(send, status_of(error), encoded(problem_of(error)), headers_of(error))
