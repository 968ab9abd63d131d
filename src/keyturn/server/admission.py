"""Whose body is taken in: decided on the head, so that whoever may do nothing cannot make the server hold anything."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.routing import Match

from keyturn.server.access import permission_behind
from keyturn.server.deciding import Decider
from keyturn.server.exchange import Scope, authorization_of, client_of


class Admission:
    """Admits bodies for the routes of some routers. What no route takes is left to the framework, without its body."""

    def __init__(self, routers: Iterable[APIRouter], decider: Decider) -> None:
        self._decider = decider
        routes = (route for router in routers for route in router.routes if isinstance(route, APIRoute))
        self._routes = [(route, _permission(route)) for route in routes]

    async def __call__(self, scope: Scope) -> bool:
        """Whether somebody will read the body; raises what the caller is to be answered with where they may not."""
        for route, permission in self._routes:
            if route.matches(scope)[0] is Match.FULL:
                await self._decider.admit(authorization_of(scope), permission, client_of(scope))
                return True
        return False


def _permission(route: APIRoute) -> str:
    found = [permission_behind(dependency.call) for dependency in route.dependant.dependencies]
    (permission,) = (permission for permission in found if permission is not None)
    return permission
