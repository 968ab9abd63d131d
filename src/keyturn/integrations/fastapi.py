"""Keys for FastAPI's routes, as a dependency.

from keyturn.integrations.fastapi import KeyGuard

guard = KeyGuard("sqlite:///keys.db")

@app.get("/documents")
async def documents(key: Annotated[Verification, Depends(guard.require(scope="read"))]): ...
"""

# No `from __future__ import annotations`: FastAPI reads the annotations of the dependency below as they stand.

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import HTTPException
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from starlette.requests import HTTPConnection
from starlette.responses import Response

from keyturn.domain.scope import KeyScope
from keyturn.domain.verdict import Verification
from keyturn.integrations.guard import Guard
from keyturn.integrations.heads import asgi_head
from keyturn.integrations.required import Required
from keyturn.serving.refusals import Refusal, RefusedError

__all__ = ["KeyGuard", "KeyRefused"]


class KeyRefused(HTTPException):
    """A request without a key that is good for its route. `refusal` is what it is answered with.

    A handler of your own for it, `@app.exception_handler(KeyRefused)`, answers in its place.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.status, refusal.problem, dict(refusal.headers))
        self.refusal = refusal


class Requirement(SecurityBase):
    """A dependency whose value is the Verification. In the API's documentation it is where a key is entered."""

    def __init__(self, guard: Guard, required: Required) -> None:
        self.model = HTTPBearer(description="An API key; X-API-Key will do as well.")
        self.scheme_name = "API key"
        self._guard = guard
        self._required = required

    async def __call__(self, connection: HTTPConnection) -> Verification:
        """The Verification of a request or a websocket; KeyRefused where it does not pass."""
        try:
            return await self._guard.check_async(asgi_head(connection.scope), self._required)
        except RefusedError as refused:
            _know_how_to_answer(connection)
            raise KeyRefused(refused.refusal) from None


class KeyGuard(Guard):
    """A guard whose `require` makes dependencies."""

    def require(self, *, scope: KeyScope | str | None = None, permissions: str | None = None) -> Requirement:
        """A dependency, for a parameter of a route or for ``dependencies=[...]`` of a route, a router or all of it.

        Args:
            scope: the key's scope must cover it.
            permissions: what its permissions must meet.
        """
        return Requirement(self, Required.of(scope, permissions))

    @asynccontextmanager
    async def lifespan(self, _: Any) -> AsyncIterator[None]:
        """For ``FastAPI(lifespan=guard.lifespan)``: what is wrong with the store is then said when the server starts.

        Without it the store is opened by the first request, and closed when the process ends.
        """
        await self.start()
        try:
            yield
        finally:
            await self.stop()


def _know_how_to_answer(connection: HTTPConnection) -> None:
    """Have the framework answer KeyRefused with a problem, without a line in the application.

    Where it keeps its handlers elsewhere, it answers as it does for any HTTPException: the status is the same.
    """
    handlers = connection.scope.get("starlette.exception_handlers", ({}, {}))[0]
    handlers.setdefault(KeyRefused, _answer)


async def _answer(_: HTTPConnection, refused: Exception) -> Response:
    assert isinstance(refused, KeyRefused)
    refusal = refused.refusal
    return Response(refusal.body, refusal.status, dict(refusal.fields))
