"""uvicorn's server, with a `Door` of ours in the place of its listening sockets: it knows no bounds on handshakes."""

from __future__ import annotations

import asyncio
import socket

import uvicorn

from keyturn.server.bounded import MAX_CONNECTIONS
from keyturn.server.connection import Connection
from keyturn.server.door import Door
from keyturn.server.measured import Measured
from keyturn.server.tls import Identity


class TlsServer(uvicorn.Server):
    """Answers on one socket, over TLS."""

    def __init__(
        self, config: uvicorn.Config, listener: socket.socket, identity: Identity, measured: Measured
    ) -> None:
        super().__init__(config)
        self._door = Door(
            listener, identity, measured=measured, make_protocol=self._connection, is_full=self._is_full
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002
        """Begin, with no socket that uvicorn would listen on by itself."""
        await super().startup(sockets=[])
        if not self.should_exit:
            self._door.open()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002
        """Let nobody in any more, and end as uvicorn does."""
        await self._door.close()
        await super().shutdown(sockets=[])

    def _connection(self) -> asyncio.Protocol:
        return Connection(self.config, server_state=self.server_state, app_state=self.lifespan.state)

    def _is_full(self) -> bool:
        return len(self.server_state.connections) + self._door.waiting >= MAX_CONNECTIONS
