"""The application that is measured with and without a guard, as the environment says."""

from __future__ import annotations

import os
from typing import Any, Final

from fastapi import Depends, FastAPI

from benchmarks.filling import PERMISSIONS
from keyturn.integrations.asgi import KeyMiddleware
from keyturn.integrations.fastapi import KeyGuard

REQUIRED: Final[dict[str, Any]] = {"scope": "read", "permissions": PERMISSIONS[0]}


def made() -> Any:
    """The application: alone, with a dependency, or within a middleware."""
    url, how = os.environ.get("BENCH_URL"), os.environ.get("BENCH_HOW")
    options: dict[str, Any] = {"key": os.environ["BENCH_KEY"]} if "BENCH_KEY" in os.environ else {}
    if url is None:
        return _application(FastAPI(), [])
    if how == "middleware":
        return KeyMiddleware(_application(FastAPI(), []), url, **REQUIRED, **options)
    guard = KeyGuard(url, **options)
    return _application(FastAPI(lifespan=guard.lifespan), [Depends(guard.require(**REQUIRED))])


def _application(app: FastAPI, dependencies: list[Any]) -> FastAPI:
    @app.get("/documents", dependencies=dependencies)
    async def documents() -> dict[str, list[str]]:
        return {"documents": ["one", "two"]}

    return app
