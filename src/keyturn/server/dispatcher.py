"""The outermost ASGI application: answers the hot paths itself and passes everything else on to the framework.

The framework costs several times what a decision does, so verifications do not go through it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from keyturn.errors import KeyturnError
from keyturn.server.exchange import (
    ClientGoneError,
    Message,
    Receive,
    RefusedRequestError,
    Scope,
    Send,
    read_body,
    send_error,
    send_json,
    send_problem,
)
from keyturn.server.problems import encoded, problem
from keyturn.server.verifying import VerifyEndpoint

MAX_MANAGEMENT_BYTES: Final = 1_048_576
_LIVE: Final = b'{"status":"live"}'

Application = Callable[[Scope, Receive, Send], Awaitable[None]]
_log = logging.getLogger("keyturn.http")


class Dispatcher:
    """Routes by exact path. Whatever goes wrong, the client gets a problem and no traceback."""

    def __init__(self, *, endpoint: VerifyEndpoint, management: Application) -> None:
        self._management = management
        self._hot = {"/v1/verify": endpoint.verify, "/v1/verify/batch": endpoint.verify_batch}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass on the lifespan."""
        if scope["type"] != "http":
            await self._management(scope, receive, send)
            return
        started = False

        async def noting_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._answer(scope, receive, noting_send)
        except ClientGoneError:
            return
        except RefusedRequestError as refused:
            await send_problem(send, refused.status, refused.body, {}, close=True)
        except KeyturnError as error:
            await send_error(send, error)
        except Exception:  # noqa: BLE001 - the last resort: a client never sees a traceback
            _log.exception("a request failed")
            if not started:
                await send_problem(send, 500, _INTERNAL, {}, close=True)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        answer = self._hot.get(path)
        if answer is not None:
            if scope["method"] != "POST":
                await send_problem(send, 405, _NOT_ALLOWED, {"Allow": "POST"}, close=True)
                return
            client = scope["client"]
            await answer(_authorization(scope), client[0] if client else None, receive, send)
        elif path == "/livez":
            await send_json(send, _LIVE)
        else:
            body = await read_body(receive, MAX_MANAGEMENT_BYTES)
            await self._management(scope, _replaying(body, receive), send)


def _authorization(scope: Scope) -> str:
    """The Authorization header; empty where there is none. Two of them are a refusal: which one counts?"""
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(found) > 1:
        raise RefusedRequestError(
            400, "duplicate_header", "the Authorization header is there twice", "Send it once."
        )
    return found[0].decode("latin-1") if found else ""


def _replaying(body: bytes, receive: Receive) -> Receive:
    """The body, already read, as the framework expects to read it."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay


_INTERNAL: Final = encoded(
    problem(500, "internal", "the server failed", "Look into its log; the request may be tried again.")
)
_NOT_ALLOWED: Final = encoded(problem(405, "method_not_allowed", "this path takes POST", "Use POST."))
