"""Who wants to come in takes no turns from those who are in."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack
from typing import Any, cast

from keyturn.server.door import Door
from keyturn.server.measured import Measured

CLIENTS = 50


def test_others_have_their_turn_after_each_client_that_a_full_server_turns_away() -> None:
    turns: list[int] = []

    async def scene(listener: socket.socket) -> None:
        count = 0

        def is_full() -> bool:
            turns.append(count)
            return True

        nothing = cast(Any, None)
        door = Door(listener, nothing, measured=Measured(), make_protocol=nothing, is_full=is_full)
        door.open()
        while len(turns) < CLIENTS:
            count += 1
            await asyncio.sleep(0)
        await door.close()

    with ExitStack() as clients:
        listener = clients.enter_context(socket.create_server(("127.0.0.1", 0), backlog=CLIENTS))
        for _ in range(CLIENTS):
            clients.enter_context(socket.create_connection(listener.getsockname()))
        asyncio.run(scene(listener))
    assert len(set(turns)) == CLIENTS
