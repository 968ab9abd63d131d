"""uvicorn's server, with a `Door` of ours in the place of its listening sockets: it knows no bounds on handshakes."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn

from keyturn.server.door import MAX_HANDSHAKES, Door
from keyturn.server.measured import Measured
from keyturn.server.tls import Identity


class TlsServer(uvicorn.Server):
    """Answers on one socket, over TLS, with room for so many connections; handshakes are among them."""

    def __init__(
        self,
        config: uvicorn.Config,
        listener: socket.socket,
        identity: Identity,
        measured: Measured,
        *,
        room: int,
    ) -> None:
        super().__init__(config)
        self._room = room
        self._door = Door(
            listener,
            identity,
            measured=measured,
            make_protocol=self._connection,
            is_full=self._is_full,
            most=min(MAX_HANDSHAKES, room // 4),
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
        make: Any = self.config.http_protocol_class  # with its own bound on connections
        made: asyncio.Protocol = make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made

    def _is_full(self) -> bool:
        return len(self.server_state.connections) + self._door.waiting >= self._room
