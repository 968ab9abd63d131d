"""A middleware for anything that speaks ASGI: every request and every websocket needs a key.

from keyturn.integrations.asgi import KeyMiddleware

app = KeyMiddleware(app, "sqlite:///keys.db", scope="read")

The application finds the Verification in ``scope["state"]["key"]``, which Starlette calls ``request.state.key``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Unpack

from keyturn.domain.scope import KeyScope
from keyturn.errors import KeyturnError
from keyturn.integrations.guard import Guard, GuardOptions, guard_of
from keyturn.integrations.heads import asgi_head
from keyturn.integrations.required import Required
from keyturn.serving.refusals import Refusal, RefusedError

__all__ = ["KeyMiddleware"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY_VIOLATION = 1008  # RFC 6455, section 7.4.1


class KeyMiddleware:
    """Lets requests pass that carry a valid key, and answers the others itself.

    Args:
        app: the application.
        guard: the URL of the store or the server that says which keys are valid, with the options of a Guard; or a
            Guard, which several may share.
        scope: the key's scope must cover it.
        permissions: what its permissions must meet.

    Attributes:
        guard: its `store` is the one to issue and revoke with.
    """

    def __init__(
        self,
        app: Application,
        guard: str | Guard,
        *,
        scope: KeyScope | str | None = None,
        permissions: str | None = None,
        **options: Unpack[GuardOptions],
    ) -> None:
        self._app = app
        self._required = Required.of(scope, permissions)
        self.guard = guard_of(guard, options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, websocket, or lifespan."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        try:
            verification = await self.guard.check_async(asgi_head(scope), self._required)
        except RefusedError as refused:
            await _refuse(refused.refusal, scope, receive, send)
            return
        state = {**scope.get("state", {}), "key": verification}
        await self._app({**scope, "state": state}, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Open what is needed before the application starts, and close it when it has ended."""
        started = await receive()
        try:
            await self.guard.start()
        except KeyturnError as error:
            await send({"type": "lifespan.startup.failed", "message": f"Keyturn: {error}. {error.fix}"})
            return
        waiting = [started]

        async def receive_again() -> Message:
            return waiting.pop() if waiting else await receive()

        async def send_last(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                await self.guard.stop()
            await send(message)

        await self._app(scope, receive_again, send_last)


async def _refuse(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer in the application's place."""
    kind = scope["type"]
    if kind == "websocket":
        await receive()  # the handshake
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": refusal.code})
            return
        kind = "websocket.http"
    headers = [(name.lower().encode(), value.encode()) for name, value in refusal.fields]
    await send({"type": f"{kind}.response.start", "status": refusal.status, "headers": headers})
    await send({"type": f"{kind}.response.body", "body": refusal.body})
