"""The framework's part of the server: management calls, readiness and the API's documentation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

import keyturn
from keyturn.bootstrap import Node
from keyturn.errors import IntegrityError, KeyturnError, StaleError, may_be_shown
from keyturn.key_generator import SecureKeyGenerator
from keyturn.server import (
    batches,
    jwks,
    key_material,
    key_usage,
    keys,
    metrics,
    pick_ups,
    rotation_policies,
    rotations,
    signing,
    webhooks,
)
from keyturn.server.access import TheNode
from keyturn.server.deciding import Decider
from keyturn.server.described import Ready, described
from keyturn.server.described_gateway import described_gateway
from keyturn.server.exchange import RefusedRequestError
from keyturn.server.openapi import document
from keyturn.server.problems import (
    CONTENT_TYPE,
    INTERNAL,
    encoded,
    headers_of,
    problem,
    problem_of,
    status_of,
)

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

ROUTERS: Final = (
    keys.router,
    batches.router,
    key_material.router,
    key_usage.router,
    signing.router,
    jwks.router,
    rotation_policies.router,
    rotations.router,
    pick_ups.router,
    webhooks.router,
    metrics.router,
)

_FIXES: Final = {
    404: "Look the path up in /docs.",
    405: "Look the path's methods up in /docs.",
    400: "Send a JSON object.",
}
_CODES: Final = {404: "not_found", 405: "method_not_allowed", 400: "malformed_json"}


def management_app(
    node: Node, decider: Decider, generator: SecureKeyGenerator, lifespan: Lifespan
) -> FastAPI:
    """The FastAPI application over a node."""
    app = FastAPIOffline(
        title="Keyturn",
        version=keyturn.__version__,
        summary=keyturn.__doc__.partition("\n")[0] if keyturn.__doc__ else None,
        lifespan=lifespan,
        # What a generated client calls its functions.
        generate_unique_id_function=lambda route: route.name,
        redoc_url=None,
        # A redirect would name the client's own Host and scheme, and take its key there.
        redirect_slashes=False,
        # Traces are made where calls are observed: the framework's own would hold paths and query strings.
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
    )
    app.state.node = node
    app.state.decider = decider
    app.state.generator = generator
    for router in ROUTERS:
        app.include_router(router)
    app.add_api_route("/readyz", get_readiness, tags=["health"], response_model=Ready, responses={503: {}})
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)
    app.openapi = partial(document, app, [*described.routes, *described_gateway.routes])  # type: ignore[method-assign]
    return app


async def get_readiness(node: TheNode) -> dict[str, str]:
    """Say whether this node can decide: it has read the log within its bound, and the log holds."""
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


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedRequestError)
    return _answer(error.status, error.members, dict(error.fields))


async def _unforeseen(_: Request, __: Exception) -> Response:
    return _answer(500, INTERNAL)


async def _invalid(_: Request, error: Exception) -> Response:
    """The first thing that is wrong, by name; the value is not repeated, for it may be a secret."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return _answer(400, problem(400, "malformed_json", "the body is not JSON", _FIXES[400]))
    # A name that is no field's may be anything: what is long is not repeated either.
    path = [str(part) for part in first["loc"][1:]]
    field = ".".join(part if may_be_shown(part) else "..." for part in path)
    fix = "Leave it out: it is not known." if first["type"] == "extra_forbidden" else "Look it up in /docs."
    detail = f"{field or 'the body'}: {first['msg'].removeprefix('Value error, ')}"
    return _answer(422, problem(422, "invalid_request", detail, fix, field=field))


async def _by_framework(request: Request, error: Exception) -> Response:
    """What the framework refuses by itself: paths, methods, bodies that it cannot read."""
    assert isinstance(error, HTTPException)
    status = error.status_code
    code, fix = _CODES.get(status, "invalid_request"), _FIXES.get(status, "Look it up in /docs.")
    headers = {"Allow": ", ".join(_allowed(request))} if status == 405 else None  # noqa: PLR2004
    return _answer(status, problem(status, code, str(error.detail), fix), headers)


def _allowed(request: Request) -> list[str]:
    """The methods of all routes with the request's path; the framework names those of the first."""
    ours = [route for router in ROUTERS for route in router.routes]
    routes = (route for route in [*request.app.routes, *ours] if isinstance(route, Route))
    found = (route for route in routes if route.matches(request.scope)[0] is not Match.NONE)
    return sorted({method for route in found for method in route.methods or ()})


_HANDLERS: Final = {
    KeyturnError: _known,
    RefusedRequestError: _refused,
    RequestValidationError: _invalid,
    HTTPException: _by_framework,
    Exception: _unforeseen,
}
