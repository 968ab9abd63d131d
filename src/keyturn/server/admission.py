"""Whose body is taken in: decided on the head, so that whoever may do nothing cannot make the server hold anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fastapi import APIRouter
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.routing import Match

from keyturn.server.access import permission_behind
from keyturn.server.deciding import Decider
from keyturn.server.exchange import Scope, authorization_of, client_of


class Admission:
    """Admits bodies for the routes of some routers, from callers who may use them.

    Any other request goes to the framework without its body.
    """

    def __init__(self, routers: Iterable[APIRouter], decider: Decider) -> None:
        self._decider = decider
        routes = (route for router in routers for route in router.routes if isinstance(route, APIRoute))
        self._routes = [(route, tuple(_permissions(route.dependant))) for route in routes]

    async def __call__(self, scope: Scope) -> bool:
        """Whether the body is to be read; raises what the caller is to be answered with where they may not."""
        for route, permissions in self._routes:
            if permissions and route.matches(scope)[0] is Match.FULL:
                scope["route"] = route  # as the framework does: refusals are counted by it too
                for permission in permissions:
                    await self._decider.admit(authorization_of(scope), permission, client_of(scope))
                return True
        return False


def _permissions(dependant: Dependant) -> Iterator[str]:
    """All that is asked for before a route is called."""
    permission = permission_behind(dependant.call)
    if permission is not None:
        yield permission
    for other in dependant.dependencies:
        yield from _permissions(other)
