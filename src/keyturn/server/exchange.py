"""Reading a bounded request and sending an answer, over bare ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from types import MappingProxyType
from typing import Any, Final

from keyturn.errors import KeyturnError
from keyturn.server.bodies import HELD, Held
from keyturn.server.problems import CONTENT_TYPE, encoded, headers_of, problem, problem_of, status_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Field = tuple[bytes, bytes]
"""A header field: its name in lower case, and its value."""

BODY_SECONDS: Final = 30.0
MAX_DISCARDED_BYTES: Final = (
    16_777_216  # of a body that is too large, so that its sender sees why it was refused
)


_NO_FIELDS: Final[Mapping[str, str]] = MappingProxyType({})


CACHE_CONTROL: Final = b"cache-control"
_KEPT: Final = "keyturn.kept"


def leave_caching_to(scope: Scope, answer: Callable[[], None]) -> None:
    """Let `answer` be called by the one who answers this request with a Cache-Control of its own."""
    scope[_KEPT] = answer


def with_own_caching(scope: Scope) -> None:
    """The answer to this request says for how long it may be kept: it is not marked as one that may not be."""
    allow = scope.get(_KEPT)
    if allow is not None:
        allow()


class RefusedRequestError(Exception):
    """A request that is refused as it is read; `fields` are more header fields of the answer."""

    def __init__(
        self, status: int, code: str, detail: str, fix: str, fields: Mapping[str, str] = _NO_FIELDS
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.members = problem(status, code, detail, fix)
        self.fields = fields


class ClientGoneError(Exception):
    """The client closed the connection: nobody is there to answer."""


def client_of(scope: Scope) -> str | None:
    """The address at the other end of the connection."""
    return address_of(scope["client"])


def address_of(client: tuple[str, int] | None) -> str | None:
    """The address of a connection's other end, without the zone, which means something on this machine only."""
    return client[0].partition("%")[0] if client else None


def authorization_of(scope: Scope) -> str:
    """The Authorization header; empty where there is none."""
    return field_of(scope, "Authorization") or ""


def field_of(scope: Scope, name: str) -> str | None:
    """The value of a header field; None where there is none. Two of them are a refusal: which one counts?"""
    found = fields_of(scope, name.lower().encode())
    if len(found) > 1:
        raise RefusedRequestError(
            400, "duplicate_header", f"the {name} header is there twice", "Send it once."
        )
    return found[0].decode("latin-1") if found else None


def fields_of(scope: Scope, name: bytes) -> list[bytes]:
    """The values of a header field, one for each time that it was sent."""
    return [value for field, value in scope["headers"] if field == name]


def has_body(scope: Scope) -> bool:
    """Whether the head announces a body."""
    lengths = fields_of(scope, b"content-length")
    return any(int(length) for length in lengths) or bool(fields_of(scope, b"transfer-encoding"))


def awaits_leave(scope: Scope) -> bool:
    """Whether the client waits for leave to send its body; refused, it may send it all the same or go on without."""
    return bool(fields_of(scope, b"expect"))


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body, at most `limit` bytes and within 30 s; RefusedRequestError past either.

    Also where all requests together hold too much. What is held is released when the request has been answered.
    """
    return await _read_in_time(scope, receive, limit, scope[HELD])


async def skip_body(scope: Scope, receive: Receive, limit: int) -> None:
    """Read the whole body within the same bounds, and keep nothing of it: whoever sends it is not known yet."""
    await _read_in_time(scope, receive, limit, None)


async def _read_in_time(scope: Scope, receive: Receive, limit: int, held: Held | None) -> bytes:
    if _may_stop_short(scope, limit):
        raise _too_large(limit)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _read(receive, limit, held)
    except TimeoutError:
        raise RefusedRequestError(
            408, "request_timeout", f"the body did not arrive within {BODY_SECONDS:.0f} s", "Send it faster."
        ) from None


def _may_stop_short(scope: Scope, limit: int) -> bool:
    """Whether to refuse unread: the client waits for leave to send, or would send too much even to throw away."""
    length = max((int(value) for value in fields_of(scope, b"content-length")), default=0)
    return length > limit and (length > limit + MAX_DISCARDED_BYTES or awaits_leave(scope))


async def _read(receive: Receive, limit: int, held: Held | None) -> bytes:
    """The body; nothing of it without `held`. One for which there is no room is read to its end, and not kept.

    Refused in the middle, the client would go on sending, have its connection reset, and never see the answer.
    """
    body, total, discarded = bytearray(), 0, 0
    refusal: RefusedRequestError | None = None
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part = message.get("body", b"")
        total += len(part)
        if refusal is None:
            refusal = _refusal_of(len(part), total, limit, held)
        if refusal is not None:
            body.clear()
            if held is not None:
                held.release()
            discarded += len(part)
        elif held is not None:
            body += part
        if not message.get("more_body") or discarded > MAX_DISCARDED_BYTES:
            break
    if refusal is not None:
        raise refusal
    return bytes(body)


def _refusal_of(count: int, total: int, limit: int, held: Held | None) -> RefusedRequestError | None:
    """Why a body that has come to `total` bytes by these `count` is refused."""
    if total > limit:
        return _too_large(limit)
    return None if held is None or held.take(count) else _busy()


def _busy() -> RefusedRequestError:
    return RefusedRequestError(
        503,
        "server_busy",
        "the server holds as much of its clients' requests as it can",
        "Send it again after the time in Retry-After.",
        {"Retry-After": "1"},
    )


def _too_large(limit: int) -> RefusedRequestError:
    return RefusedRequestError(
        413, "body_too_large", f"the body has more than {limit:,} bytes", "Send less, or in several requests."
    )


async def send_json(send: Send, body: bytes, status: int = 200) -> None:
    """Answer with JSON."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_problem(
    send: Send, status: int, body: bytes, more: Mapping[str, str], *, close: bool = False
) -> None:
    """Answer with a problem; `close` where the rest of the request was not read."""
    headers = [
        (b"content-type", CONTENT_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        *((name.lower().encode(), value.encode()) for name, value in more.items()),
    ]
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_error(send: Send, error: KeyturnError, *, close: bool = False) -> None:
    """Answer with the problem that an error is."""
    await send_problem(send, status_of(error), encoded(problem_of(error)), headers_of(error), close=close)
