"""What management calls depend on: the node, and a caller who may make them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Final

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from keyturn.bootstrap import Node
from keyturn.domain.principal import Principal
from keyturn.key_generator import SecureKeyGenerator
from keyturn.server.deciding import Decider
from keyturn.server.exchange import authorization_of, client_of

BEARER: Final = Security(HTTPBearer(auto_error=False, description="A provisioning key."))
"""For the documentation, which then has a place for the key. The header itself is read where it is decided on."""


def may(permission: str) -> Callable[..., Awaitable[Principal]]:
    """A dependency: the caller, behind a provisioning key that holds `permission`."""

    async def authorised(
        request: Request, _: Annotated[HTTPAuthorizationCredentials | None, BEARER]
    ) -> Principal:
        decider: Decider = request.app.state.decider
        return await decider.principal(authorization_of(request.scope), permission, client_of(request.scope))

    return authorised


async def the_node(request: Request) -> Node:
    """The node that the application serves."""
    node: Node = request.app.state.node
    return node


async def the_generator(request: Request) -> SecureKeyGenerator:
    """What makes keys for the application: RSA keys come from those made ahead."""
    generator: SecureKeyGenerator = request.app.state.generator
    return generator


TheGenerator = Annotated[SecureKeyGenerator, Depends(the_generator)]
TheNode = Annotated[Node, Depends(the_node)]
MayCreate = Annotated[Principal, Depends(may("keys.create"))]
MayRead = Annotated[Principal, Depends(may("keys.read"))]
MayUpdate = Annotated[Principal, Depends(may("keys.update"))]
MayRevoke = Annotated[Principal, Depends(may("keys.revoke"))]
MaySign = Annotated[Principal, Depends(may("keys.sign"))]
MayDestroy = Annotated[Principal, Depends(may("keys.destroy"))]
