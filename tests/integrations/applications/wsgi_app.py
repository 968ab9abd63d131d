from __future__ import annotations

import json
from typing import Any

from keyturn.integrations import Guard
from keyturn.integrations.wsgi import KEY, KeyMiddleware
from tests.integrations.applications.configured import OPTIONS, ROUTES, URL, said

guard = Guard(URL, **OPTIONS)


def answer(start_response: Any, body: object) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]


def who(environ: Any, start_response: Any) -> list[bytes]:
    return answer(start_response, said(environ[KEY]))


PROTECTED = {path: KeyMiddleware(who, guard, **required) for path, required in ROUTES.items()}


def app(environ: Any, start_response: Any) -> Any:
    path = environ["PATH_INFO"]
    if path in PROTECTED:
        return PROTECTED[path](environ, start_response)
    if path.startswith("/revoke/"):
        guard.store.revoke_key(path.removeprefix("/revoke/"))
        return answer(start_response, "revoked")
    return answer(start_response, "open")
