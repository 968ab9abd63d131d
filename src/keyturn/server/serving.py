"""Running the server: everything between a wired node and an open port."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import uvicorn
from fastapi import FastAPI

from keyturn.bootstrap import Node
from keyturn.errors import ConfigurationError
from keyturn.key_generator import SecureKeyGenerator
from keyturn.server.connection import uvicorn_config
from keyturn.server.deciding import Decider
from keyturn.server.dispatcher import Dispatcher
from keyturn.server.management import management_app
from keyturn.server.rsa_pool import RsaPool
from keyturn.server.verifying import VerifyEndpoint
from keyturn.serving.background import Background

_BACKLOG: Final = 2_048


def application(node: Node) -> Dispatcher:
    """The ASGI application over a node. Its lifespan starts and stops the background work; the node stays open."""
    decider = Decider(verifier=node.verifier, log=node.records.log)
    background, pool = Background(node), RsaPool()
    generator = SecureKeyGenerator(clock=node.clock, rsa_keys=pool.take)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        background.start()
        pool.start()
        try:
            yield
        finally:
            pool.stop()
            background.stop()
            decider.close()

    return Dispatcher(
        endpoint=VerifyEndpoint(verifier=node.verifier, decider=decider, log=node.records.log),
        management=management_app(node, decider, generator, lifespan),
    )


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; ConfigurationError where the address cannot be had. Port 0 is any free one."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host} port {port}: {error.strerror or error}",
            fix="Choose another with --port or KEYTURN_PORT, or stop what uses it.",
        ) from None
    return listener


def serve(node: Node, listener: socket.socket) -> None:
    """Answer on a listening socket until SIGINT or SIGTERM."""
    host, port = listener.getsockname()[:2]
    server = uvicorn.Server(uvicorn_config(application(node), host=host, port=port))
    server.run(sockets=[listener])
