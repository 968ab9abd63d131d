"""What management calls depend on: the node, and a caller who may make them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from keyturn.bootstrap import Node
from keyturn.domain.principal import Principal
from keyturn.key_generator import SecureKeyGenerator
from keyturn.server.deciding import Decider
from keyturn.server.exchange import authorization_of, client_of

_SCHEME: Final = HTTPBearer(
    auto_error=False, scheme_name="provisioning_key", description="A provisioning key."
)


def bearing(*permissions: str) -> Any:
    """For the documentation, which then has a place for the key, and says what it must hold.

    The header itself is read where it is decided on.
    """
    return Security(_SCHEME, scopes=list(permissions))


BEARER: Final = bearing()


def holding(permission: str) -> Any:
    """A dependency: the caller, behind a provisioning key that holds `permission`; the documentation names it too."""
    return Security(may(permission), scopes=[permission])


_PERMISSIONS: Final[dict[object, str]] = {}


def may(permission: str) -> Callable[..., Awaitable[Principal]]:
    """What `holding` depends on."""

    async def authorised(
        request: Request, _: Annotated[HTTPAuthorizationCredentials | None, BEARER]
    ) -> Principal:
        decider: Decider = request.app.state.decider
        return await decider.principal(authorization_of(request.scope), permission, client_of(request.scope))

    _PERMISSIONS[authorised] = permission
    return authorised


def permission_behind(dependency: object) -> str | None:
    """The permission that a dependency asks for, where `may` made it."""
    return _PERMISSIONS.get(dependency)


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
MayCreate = Annotated[Principal, holding("keys.create")]
MayRead = Annotated[Principal, holding("keys.read")]
MayUpdate = Annotated[Principal, holding("keys.update")]
MayRevoke = Annotated[Principal, holding("keys.revoke")]
MaySign = Annotated[Principal, holding("keys.sign")]
MayDestroy = Annotated[Principal, holding("keys.destroy")]
MayReveal = Annotated[Principal, holding("keys.reveal")]
MayReadRotation = Annotated[Principal, holding("rotation.read")]
MayUpdateRotation = Annotated[Principal, holding("rotation.update")]
MayReadWebhooks = Annotated[Principal, holding("webhooks.read")]
MayUpdateWebhooks = Annotated[Principal, holding("webhooks.update")]
MayRotate = Annotated[Principal, holding("rotation.rotate")]
