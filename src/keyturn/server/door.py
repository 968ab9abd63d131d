"""Where TLS connections come in: so many handshakes at a time, each within so many seconds.

A client gets its place among the connections when the handshake is done. Until then it can be put out at any time, and
when there are too many of these, the one that has taken longest is.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from keyturn.measures import Family, Labels, Tally, counted, gauge
from keyturn.server.measured import Measured
from keyturn.server.tls import LOOK_SECONDS, Identity

MAX_HANDSHAKES: Final = 1_024  # at a time, where there is room; each may hold some 60 kB
HANDSHAKE_SECONDS: Final = 10.0
FAREWELL_SECONDS: Final = 2.0  # for a client to agree that the connection ends
_AGAIN_SECONDS: Final = 0.5  # after the operating system had no room for another connection

_ENDINGS: Final[Mapping[Labels, float]] = {("done",): 0, ("failed",): 0, ("put_out",): 0}

_log = logging.getLogger("keyturn.tls")


class Door:
    """Lets clients in from a listening socket."""

    def __init__(
        self,
        listener: socket.socket,
        identity: Identity,
        *,
        measured: Measured,
        make_protocol: Callable[[], asyncio.Protocol],
        is_full: Callable[[], bool],
        most: int = MAX_HANDSHAKES,
    ) -> None:
        self._listener = listener
        self._identity = identity
        self._make_protocol = make_protocol
        self._is_full = is_full
        self._most = most
        self._handshakes = Tally()
        self._shaking: dict[asyncio.Task[None], None] = {}  # the oldest first
        self._duties: list[asyncio.Task[None]] = []
        measured.tls = self.families

    @property
    def waiting(self) -> int:
        """How many handshakes are under way."""
        return len(self._shaking)

    def open(self) -> None:
        """Begin."""
        self._listener.setblocking(False)
        self._duties = [asyncio.create_task(duty) for duty in (self._accept(), self._look_after_identity())]

    async def close(self) -> None:
        """Let nobody in any more."""
        tasks = [*self._duties, *self._shaking]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listener.close()

    def families(self) -> Iterator[Family]:
        """What is to be told of it."""
        yield counted(
            "keyturn_tls_handshakes_total",
            "TLS handshakes by how they ended: done, failed, or put_out by others when there were too many.",
            ("result",),
            {**_ENDINGS, **self._handshakes.read()},
        )
        yield gauge("keyturn_tls_handshakes_pending", "TLS handshakes under way.", len(self._shaking))
        yield gauge(
            "keyturn_tls_certificate_end_timestamp_seconds",
            "When the certificate that is shown ends, in seconds since the epoch.",
            self._identity.ends_at.timestamp(),
        )

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(self._listener)
            except OSError as error:
                _log.warning("no connection can be accepted: %s", error.strerror or error)
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            self._let_in(client)
            await asyncio.sleep(0)  # where more are waiting to be let in, others have their turn all the same

    def _let_in(self, client: socket.socket) -> None:
        if self._is_full():
            client.close()
            return
        if len(self._shaking) >= self._most:
            next(iter(self._shaking)).cancel()
        task = asyncio.get_running_loop().create_task(self._shake_hands(client))
        self._shaking[task] = None
        task.add_done_callback(self._shaking.pop)

    async def _shake_hands(self, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                self._make_protocol,
                client,
                ssl=self._identity.context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=FAREWELL_SECONDS,
            )
        except OSError:  # among them: no TLS, none that both speak, nothing for too long
            self._handshakes.add("failed")
        except asyncio.CancelledError:
            self._handshakes.add("put_out")
            raise
        else:
            self._handshakes.add("done")

    async def _look_after_identity(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await asyncio.to_thread(self._identity.refresh)
            except Exception:  # noqa: BLE001 - whatever it is, the next look may go well
                _log.exception("the TLS certificate's files could not be looked at")
