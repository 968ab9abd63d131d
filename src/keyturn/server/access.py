"""What management calls depend on: the node, and a caller who may make them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request

from keyturn.bootstrap import Node
from keyturn.domain.principal import Principal
from keyturn.errors import UnauthenticatedError
from keyturn.server.deciding import Decider


def may(permission: str) -> Callable[[Request], Awaitable[Principal]]:
    """A dependency: the caller, behind a provisioning key that holds `permission`."""

    async def authorised(request: Request) -> Principal:
        headers = request.headers.getlist("authorization")
        if len(headers) > 1:
            raise UnauthenticatedError("the Authorization header is there twice", fix="Send it once.")
        client = request.client.host if request.client else None
        decider: Decider = request.app.state.decider
        return await decider.principal(headers[0] if headers else "", permission, client)

    return authorised


async def the_node(request: Request) -> Node:
    """The node that the application serves."""
    node: Node = request.app.state.node
    return node


TheNode = Annotated[Node, Depends(the_node)]
MayCreate = Annotated[Principal, Depends(may("keys.create"))]
MayRead = Annotated[Principal, Depends(may("keys.read"))]
MayUpdate = Annotated[Principal, Depends(may("keys.update"))]
MayRevoke = Annotated[Principal, Depends(may("keys.revoke"))]
MayDestroy = Annotated[Principal, Depends(may("keys.destroy"))]
