"""`GET /metrics`: for Prometheus on the same machine, or for whoever holds `metrics.read`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from ipaddress import ip_address
from typing import Annotated, Final

from fastapi import APIRouter, Request, Response
from fastapi.security import HTTPAuthorizationCredentials

from keyturn.bootstrap import Node
from keyturn.errors import KeyturnError
from keyturn.ports.ledger import Position
from keyturn.server.access import BEARER, TheNode
from keyturn.server.collecting import Collector
from keyturn.server.deciding import Decider
from keyturn.server.exchange import Scope, authorization_of, client_of, fields_of
from keyturn.server.exposition import CONTENT_TYPE, prometheus_text
from keyturn.server.process import process_families

PERMISSION: Final = "metrics.read"
HEAD_SECONDS: Final = 0.25  # for the log's head: a store that is slower is told of by what is measured of it

# A proxy on this machine comes from a loopback address too, with requests from anywhere; most say so in one of these.
_FORWARDED: Final = (
    b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip",
)  # fmt: skip

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"content": {CONTENT_TYPE: {"schema": {"type": "string"}}}, "description": "Text format 0.0.4."}
    },
    openapi_extra={"security": [{}]},  # beside that with a key: none is needed on the same machine
)
async def metrics(
    request: Request, node: TheNode, _: Annotated[HTTPAuthorizationCredentials | None, BEARER]
) -> Response:
    """What this server has counted and measured, for Prometheus.

    A request from this machine that no proxy has passed on needs no key; any other needs metrics.read.
    """
    if not is_local(request.scope):
        decider: Decider = request.app.state.decider
        await decider.principal(authorization_of(request.scope), PERMISSION, client_of(request.scope))
    collector: Collector = request.app.state.collector
    head, process = await asyncio.gather(head_of(node), asyncio.to_thread(lambda: list(process_families())))
    return Response(prometheus_text([*collector.families(head), *process]), media_type=CONTENT_TYPE)


def is_local(scope: Scope) -> bool:
    """Whether the request was made on this machine, as far as can be told; a key is asked for where it was not."""
    peer = scope["client"]
    try:
        is_loopback = peer is not None and ip_address(peer[0]).is_loopback
    except ValueError:
        return False
    return is_loopback and not any(fields_of(scope, name) for name in (*_FORWARDED, b"authorization"))


async def head_of(node: Node) -> Position | None:
    """The log's head, None where the store does not say it in time."""
    with suppress(KeyturnError, TimeoutError):
        async with asyncio.timeout(HEAD_SECONDS):
            return await asyncio.to_thread(node.ledger.head)
    return None
