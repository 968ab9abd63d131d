"""The framework's part of the server: management calls, readiness and the API's documentation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

import keyturn
from keyturn.bootstrap import Node
from keyturn.errors import MAX_SHOWN_CHARACTERS, IntegrityError, KeyturnError, StaleError
from keyturn.server import keys
from keyturn.server.access import TheNode
from keyturn.server.deciding import Decider
from keyturn.server.models import ProblemBody
from keyturn.server.problems import CONTENT_TYPE, encoded, headers_of, problem, problem_of, status_of

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": ProblemBody} for status in (400, 401, 403, 404, 409, 422, 429, 503)
}
_FIXES: Final = {
    404: "Look the path up in /docs.",
    405: "Look the path's methods up in /docs.",
    400: "Send JSON with Content-Type: application/json.",
}
_CODES: Final = {404: "not_found", 405: "method_not_allowed", 400: "malformed_json"}


def management_app(node: Node, decider: Decider, lifespan: Lifespan) -> FastAPI:
    """The FastAPI application over a node."""
    app = FastAPIOffline(
        title="Keyturn",
        version=keyturn.__version__,
        summary=keyturn.__doc__.partition("\n")[0] if keyturn.__doc__ else None,
        lifespan=lifespan,
        responses=_PROBLEMS,
        redoc_url=None,
    )
    app.state.node = node
    app.state.decider = decider
    app.include_router(keys.router)
    app.add_api_route("/readyz", readiness, tags=["health"])
    app.add_exception_handler(KeyturnError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    return app


async def readiness(node: TheNode) -> dict[str, str]:
    """Whether this node can decide: it has read the log within its bound, and the log holds."""
    if node.records.log.is_broken:
        raise IntegrityError("the log does not hold; this node decides nothing")
    if not node.verifier.is_fresh:
        raise StaleError("this node has not read the log within its bound")
    return {"status": "ready", "as_of": node.records.log.as_of}


def _answer(status: int, members: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    return Response(encoded(members), status, headers, media_type=CONTENT_TYPE)


async def _known(_: Request, error: Exception) -> Response:
    assert isinstance(error, KeyturnError)
    return _answer(status_of(error), problem_of(error), headers_of(error))


async def _invalid(_: Request, error: Exception) -> Response:
    """The first thing that is wrong, by name; the value is not repeated, for it may be a secret."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return _answer(400, problem(400, "malformed_json", "the body is not JSON", _FIXES[400]))
    # A name that is no field's may be anything: what is long is not repeated either.
    path = [str(part) for part in first["loc"][1:]]
    field = ".".join(part if len(part) <= MAX_SHOWN_CHARACTERS else "..." for part in path)
    fix = "Leave it out: it is not known." if first["type"] == "extra_forbidden" else "Look it up in /docs."
    detail = f"{field or 'the body'}: {first['msg']}"
    return _answer(422, problem(422, "invalid_request", detail, fix, field=field))


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = error.status_code
    code, fix = _CODES.get(status, "invalid_request"), _FIXES.get(status, "Look it up in /docs.")
    headers = dict(error.headers) if error.headers else None
    return _answer(status, problem(status, code, str(error.detail), fix), headers)
