"""Running the server: everything between a wired node and an open port."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import uvicorn
from fastapi import FastAPI

from keyturn.bootstrap import Node
from keyturn.domain.notices.announcements import DEFAULT_TERMS, Terms
from keyturn.errors import ConfigurationError
from keyturn.key_generator import SecureKeyGenerator
from keyturn.ports.notifier import Notifier
from keyturn.server.admission import Admission
from keyturn.server.authorizing import AuthorizeEndpoint
from keyturn.server.bounded import MAX_CONNECTIONS
from keyturn.server.collecting import Collector
from keyturn.server.connection import uvicorn_config
from keyturn.server.deciding import Decider
from keyturn.server.descriptors import room_for_connections
from keyturn.server.dispatcher import Dispatcher
from keyturn.server.jwks import KeySets
from keyturn.server.management import ROUTERS, management_app
from keyturn.server.measured import Measured
from keyturn.server.proxies import TrustedProxies
from keyturn.server.rsa_pool import RsaPool
from keyturn.server.telemetry import telemetry_from
from keyturn.server.tls import Identity
from keyturn.server.tls_server import TlsServer
from keyturn.server.verifying import VerifyEndpoint
from keyturn.serving.background import Background

_BACKLOG: Final = 2_048


def application(
    node: Node,
    trusted_proxies: Sequence[str] = (),
    notifiers: Mapping[str, Notifier] | None = None,
    announced: Terms = DEFAULT_TERMS,
) -> Dispatcher:
    """The ASGI application over a node. Its lifespan starts and stops the background work; the node stays open."""
    decider = Decider(verifier=node.verifier, log=node.records.log)
    background = Background(node, notifiers, announced=announced)
    measured, pool = Measured(), RsaPool()
    generator = SecureKeyGenerator(clock=node.clock, rsa_keys=pool.take)
    collector = Collector(node=node, decider=decider, measured=measured, pool=pool)
    key_sets = KeySets(node.published, max_staleness=node.verifier.max_staleness)
    telemetry = telemetry_from(os.environ, collector.everything)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        background.start()
        pool.start()
        watch = asyncio.create_task(measured.watch_loop())
        try:
            yield
        finally:
            watch.cancel()
            pool.stop()
            background.stop()
            decider.close()
            key_sets.close()
            if telemetry is not None:
                telemetry.close()

    management = management_app(node, decider, generator, lifespan)
    management.state.collector = collector
    management.state.key_sets = key_sets
    management.state.notifiers = notifiers
    return Dispatcher(
        endpoint=VerifyEndpoint(
            verifier=node.verifier, decider=decider, log=node.records.log, measured=measured
        ),
        gateways=AuthorizeEndpoint(verifier=node.verifier, decider=decider, measured=measured),
        management=management,
        admits=Admission(ROUTERS, decider),
        proxies=TrustedProxies(trusted_proxies),
        measured=measured,
        tracing=None if telemetry is None else telemetry.tracing,
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


def serve(
    node: Node,
    listener: socket.socket,
    identity: Identity | None = None,
    *,
    trusted_proxies: Sequence[str] = (),
    notifiers: Mapping[str, Notifier] | None = None,
    announced: Terms = DEFAULT_TERMS,
) -> None:
    """Answer on a listening socket until SIGINT or SIGTERM; over TLS, where there is an identity to show."""
    host, port = listener.getsockname()[:2]
    dispatcher = application(node, trusted_proxies, notifiers, announced)
    room = room_for_connections(MAX_CONNECTIONS)
    config = uvicorn_config(dispatcher, host=host, port=port, most_connections=room)
    server = uvicorn.Server(config)
    if identity is not None:
        server = TlsServer(config, listener, identity, dispatcher.measured, room=room)
    dispatcher.measured.connections = lambda: len(server.server_state.connections)
    server.run(sockets=[listener])
