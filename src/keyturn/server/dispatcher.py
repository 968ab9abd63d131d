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
from functools import partial
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from keyturn.domain.members import RepeatedMemberError, parse_unambiguous
from keyturn.errors import KeyturnError
from keyturn.server.authorizing import AUTHORIZE, AuthorizeEndpoint
from keyturn.server.bodies import HELD, Bodies
from keyturn.server.calls import answering, current, stamped
from keyturn.server.exchange import (
    ClientGoneError,
    Field,
    Message,
    Receive,
    RefusedRequestError,
    Scope,
    Send,
    awaits_leave,
    fields_of,
    has_body,
    read_body,
    send_error,
    send_json,
    send_problem,
)
from keyturn.server.gateway_answers import Reply, send_reply
from keyturn.server.measured import Measured
from keyturn.server.observing import Observer, Tracing
from keyturn.server.problems import INTERNAL, STOPPING, encoded, problem
from keyturn.server.proxies import TrustedProxies
from keyturn.server.verifying import VerifyEndpoint

MAX_MANAGEMENT_BYTES: Final = 1_048_576
MAX_INLINE_BYTES: Final = 16_384  # of a body that is looked at on the event loop
_AUTHORIZE: Final = AUTHORIZE.encode()
_AUTHORIZE_PATH: Final = _AUTHORIZE + b"/"
_AUTHORIZE_PREFIX: Final = f"{AUTHORIZE}/"
_LIVE: Final = b'{"status":"live"}'

Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Found = bytes | Reply
"""An answer: the JSON of a 200, or whatever else it is."""

Answer = Callable[[str | None, bytes], Found | Coroutine[Any, Any, Found]]
"""Takes the address of the connection's other end, and the body; gives the answer, or what fetches it."""

_log = logging.getLogger("keyturn.http")


class Dispatcher:
    """Routes by exact path. Whatever goes wrong, the client gets a problem and no traceback.

    Attributes:
        measured: what is counted of requests.
        plain: for these paths what, given the Authorization header, answers a POST that is a plain one (see
            `keyturn.server.connection`).
        proxies: those that may say where a request comes from.
    """

    def __init__(
        self,
        *,
        endpoint: VerifyEndpoint,
        gateways: AuthorizeEndpoint,
        management: Application,
        admits: Callable[[Scope], Awaitable[bool]],
        proxies: TrustedProxies,
        measured: Measured,
        tracing: Tracing | None = None,
    ) -> None:
        self._gateways = gateways
        self.proxies: Final = proxies
        self._management = management
        self._admits = admits
        self._bodies = Bodies()
        self._observed = Observer(partial(self._guarded, self._manage), measured=measured, tracing=tracing)
        self.measured = measured
        self.plain: Final[Mapping[bytes, Callable[[str], Answer]]] = {b"/v1/verify": endpoint.asker}
        self._hot = {"/v1/verify": endpoint.verify, "/v1/verify/batch": endpoint.verify_batch}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass on the lifespan."""
        if scope["type"] == "http":
            await self._guarded(self._answer, scope, receive, send)
        else:
            await self._management(scope, _until_cancelled(receive), send)

    def plain_question(self, url: bytes, headers: list[Field], peer: str | None) -> Answer | None:
        """What answers a plain request without a body, if it is a gateway's."""
        path, _, query = url.partition(b"?")
        if path == _AUTHORIZE:
            asked = query
        elif path.startswith(_AUTHORIZE_PATH):
            asked = b""
        else:
            return None
        try:
            client = self.proxies.client_behind(peer, headers)
        except RefusedRequestError:
            return None  # ASGI will say so
        return lambda *_: self._gateways.answer(headers, asked, peer, client)

    def sending(self, answer: Coroutine[Any, Any, Found]) -> Application:
        """An application that sends what `answer` gives."""

        async def send_it(_: Scope, __: Receive, send: Send) -> None:
            found = await answer
            await (send_reply(send, found) if isinstance(found, Reply) else send_json(send, found))

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            await self._guarded(send_it, scope, receive, send)

        return guarded

    async def _guarded(self, answer: Application, scope: Scope, receive: Receive, send: Send) -> None:
        started = False
        held = scope[HELD] = self._bodies.hold()

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
                    await send_problem(send, 503, encoded(STOPPING), {}, close=True)
        except Exception as error:  # noqa: BLE001 - the last resort: a client never sees a traceback
            await self._send_refusal(scope, send, error, started=started)
        finally:
            held.release()

    async def _send_refusal(self, scope: Scope, send: Send, error: Exception, *, started: bool) -> None:
        is_observed = current() is not None
        with answering(scope) as call:
            if not is_observed:
                self.measured.refused.add(getattr(error, "code", "internal"))
                send = stamped(send, call)
            match error:
                case RefusedRequestError():
                    await send_problem(send, error.status, encoded(error.members), error.fields, close=True)
                case KeyturnError():
                    await send_error(send, error, close=awaits_leave(scope))
                case _:
                    _log.error("a request failed", exc_info=error)
                    if not started:
                        await send_problem(send, 500, encoded(INTERNAL), {}, close=True)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.proxies.place(scope)
        path = scope["path"]
        answer = self._hot.get(path)
        if answer is not None:
            if scope["method"] != "POST":
                await self._refuse_method(scope, send, "POST")
                return
            await answer(scope, receive, send)
        elif path == AUTHORIZE or path.startswith(_AUTHORIZE_PREFIX):
            await self._gateways.authorize(scope, receive, send)
        elif path == "/livez":
            if scope["method"] in ("GET", "HEAD"):
                await send_json(send, _LIVE)
            else:
                await self._refuse_method(scope, send, "GET, HEAD")
        else:
            await self._observed(scope, receive, send)

    async def _manage(self, scope: Scope, receive: Receive, send: Send) -> None:
        _check_path(scope["raw_path"])
        body = b""
        if has_body(scope) and await self._admits(scope):
            body = await read_body(scope, receive, MAX_MANAGEMENT_BYTES)
            await _checked(scope, body)
        await self._management(scope, _replaying(body, receive), send)

    async def _refuse_method(self, scope: Scope, send: Send, allowed: str) -> None:
        members = problem(405, "method_not_allowed", "this path does not take this method", f"Use {allowed}.")
        self.measured.refused.add("method_not_allowed")
        with answering(scope) as call:
            fields = {"Allow": allowed}
            await send_problem(stamped(send, call), 405, encoded(members), fields, close=awaits_leave(scope))


def _check_path(raw_path: bytes) -> None:
    """An id in another encoding would be read as another id."""
    try:
        unquote_to_bytes(raw_path).decode()
    except UnicodeDecodeError:
        raise RefusedRequestError(
            400, "malformed_path", "the path is not UTF-8", "Percent-encode the bytes of its UTF-8."
        ) from None


async def _checked(scope: Scope, body: bytes) -> None:
    """Check a body without keeping others waiting: a mebibyte of small objects takes a tenth of a second."""
    if len(body) <= MAX_INLINE_BYTES:
        _check_json(scope, body)
    else:
        await asyncio.to_thread(_check_json, scope, body)


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
