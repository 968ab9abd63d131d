"""The outermost ASGI application: answers the hot paths itself and passes everything else on to the framework.

The framework costs several times what a decision does, so verifications do not go through it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from codecs import BOM_UTF8
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from keyturn.domain.members import RepeatedMemberError, parse_unambiguous
from keyturn.errors import KeyturnError
from keyturn.server.exchange import (
    ClientGoneError,
    Message,
    Receive,
    RefusedRequestError,
    Scope,
    Send,
    fields_of,
    read_body,
    send_error,
    send_json,
    send_problem,
)
from keyturn.server.problems import INTERNAL, STOPPING, encoded, problem
from keyturn.server.verifying import VerifyEndpoint

MAX_MANAGEMENT_BYTES: Final = 1_048_576
_LIVE: Final = b'{"status":"live"}'

Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Answer = Callable[[str | None, bytes], bytes | Coroutine[Any, Any, bytes]]
"""Takes the client's address and the body; gives the answer's JSON, or what fetches it."""

_log = logging.getLogger("keyturn.http")


class Dispatcher:
    """Routes by exact path. Whatever goes wrong, the client gets a problem and no traceback.

    Attributes:
        plain: for these paths what, given the Authorization header, answers a POST that is a plain one (see
            `keyturn.server.connection`).
    """

    def __init__(self, *, endpoint: VerifyEndpoint, management: Application) -> None:
        self._management = management
        self.plain: Final[Mapping[bytes, Callable[[str], Answer]]] = {b"/v1/verify": endpoint.asker}
        self._hot = {"/v1/verify": endpoint.verify, "/v1/verify/batch": endpoint.verify_batch}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass on the lifespan."""
        if scope["type"] == "http":
            await self._guarded(self._answer, scope, receive, send)
        else:
            await self._management(scope, _until_cancelled(receive), send)

    def sending(self, answer: Coroutine[Any, Any, bytes]) -> Application:
        """An application that sends what `answer` gives."""

        async def send_it(_: Scope, __: Receive, send: Send) -> None:
            await send_json(send, await answer)

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            await self._guarded(send_it, scope, receive, send)

        return guarded

    async def _guarded(self, answer: Application, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noting_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await answer(scope, receive, noting_send)
        except ClientGoneError:
            return
        except asyncio.CancelledError:
            # The server is stopping, and did not wait any longer. It stops whether or not this can still be sent.
            if not started:
                with suppress(asyncio.CancelledError):
                    await send_problem(send, 503, STOPPING, {}, close=True)
        except RefusedRequestError as refused:
            await send_problem(send, refused.status, refused.body, {}, close=True)
        except KeyturnError as error:
            await send_error(send, error)
        except Exception:  # noqa: BLE001 - the last resort: a client never sees a traceback
            _log.exception("a request failed")
            if not started:
                await send_problem(send, 500, INTERNAL, {}, close=True)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        answer = self._hot.get(path)
        if answer is not None:
            if scope["method"] != "POST":
                await self._refuse_method(scope, receive, send, "POST")
                return
            await answer(scope, receive, send)
        elif path == "/livez":
            await send_json(send, _LIVE)
        else:
            _check_path(scope["raw_path"])
            body = await read_body(scope, receive, MAX_MANAGEMENT_BYTES)
            _check_json(scope, body)
            await self._management(scope, _replaying(body, receive), send)

    async def _refuse_method(self, scope: Scope, receive: Receive, send: Send, allowed: str) -> None:
        await read_body(scope, receive, MAX_MANAGEMENT_BYTES)
        members = problem(405, "method_not_allowed", "this path does not take this method", f"Use {allowed}.")
        await send_problem(send, 405, encoded(members), {"Allow": allowed})


def _check_path(raw_path: bytes) -> None:
    """An id in another encoding would be read as another id."""
    try:
        unquote_to_bytes(raw_path).decode()
    except UnicodeDecodeError:
        raise RefusedRequestError(
            400, "malformed_path", "the path is not UTF-8", "Percent-encode the bytes of its UTF-8."
        ) from None


def _check_json(scope: Scope, body: bytes) -> None:
    """A body is JSON in UTF-8 (RFC 8259, section 8.1), and says so; Python would guess other encodings."""
    if not body:
        return
    content_type = b",".join(fields_of(scope, b"content-type")).partition(b";")[0].strip().lower()
    if content_type != b"application/json" and not content_type.endswith(b"+json"):
        raise RefusedRequestError(
            415,
            "unsupported_media_type",
            "the body is not said to be JSON",
            "Send it as JSON, with Content-Type: application/json.",
        )
    try:
        if body.startswith(BOM_UTF8) or b"\0" in body:
            raise ValueError("another encoding")
        body.decode()
    except ValueError:
        raise RefusedRequestError(
            400, "malformed_json", "the body is not JSON in UTF-8", "Send UTF-8 without a byte order mark."
        ) from None
    _check_values(body)


def _check_values(body: bytes) -> None:
    """What the framework would take, or refuse in words that do not help; it says itself what is no JSON."""
    try:
        parse_unambiguous(body)
    except RepeatedMemberError as error:
        raise RefusedRequestError(400, "malformed_json", f"the body: {error}", "Send it once.") from None
    except json.JSONDecodeError:
        return
    except RecursionError:
        raise RefusedRequestError(
            400, "malformed_json", "the body nests too deeply", "Send fewer objects and lists within others."
        ) from None
    except ValueError:
        raise RefusedRequestError(
            400, "malformed_json", "a number in the body has too many digits", "Send it as a text."
        ) from None


def _until_cancelled(receive: Receive) -> Receive:
    """The lifespan's messages. A server that is told twice to stop cancels it: that ends it too, and in order."""

    async def receive_or_end() -> Message:
        try:
            return await receive()
        except asyncio.CancelledError:
            return {"type": "lifespan.shutdown"}

    return receive_or_end


def _replaying(body: bytes, receive: Receive) -> Receive:
    """The body, already read, as the framework expects to read it."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay
