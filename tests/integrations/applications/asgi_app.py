from __future__ import annotations

import asyncio
import json
from typing import Any

from keyturn.integrations import Guard
from keyturn.integrations.asgi import KeyMiddleware
from tests.integrations.applications.configured import OPTIONS, ROUTES, URL, said

guard = Guard(URL, **OPTIONS)


async def answer(send: Any, body: object) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


async def who(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, said(scope["state"]["key"]))


PROTECTED = {path: KeyMiddleware(who, guard, **required) for path, required in ROUTES.items()}


async def live(scope: Any, receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def app(scope: Any, receive: Any, send: Any) -> None:
    path = scope.get("path", "")
    if scope["type"] == "lifespan":
        await KeyMiddleware(live, guard)(scope, receive, send)
    elif path in PROTECTED:
        await PROTECTED[path](scope, receive, send)
    elif path.startswith("/revoke/"):
        await asyncio.to_thread(lambda: guard.store.revoke_key(path.removeprefix("/revoke/")))
        await answer(send, "revoked")
    else:
        await answer(send, "open")
