"""What clients may hold of a server that speaks TLS: so many handshakes, each for so long, and then as without TLS."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from keyturn.server.door import HANDSHAKE_SECONDS, MAX_HANDSHAKES
from tests.contract.waiting import until
from tests.http.raw import request
from tests.http.served import Served
from tests.ops.certificates import Authority
from tests.ops.made import serving
from tests.ops.tls_clients import HALF_A_HELLO, HOST, answer_on, connected, rest_of
from tests.running_server import RunningServer

EARLY: Final = 1.0  # seconds that a client may think that it began later
LATE: Final = 8.0  # that a busy machine may add

Story = Callable[[int, Authority], bytes]


def silent(port: int, _: Authority) -> bytes:
    """Connect and say nothing."""
    with socket.create_connection((HOST, port), HANDSHAKE_SECONDS * 4) as client:
        return rest_of(client)


def half(port: int, _: Authority) -> bytes:
    """Begin a handshake."""
    with socket.create_connection((HOST, port), HANDSHAKE_SECONDS * 4) as client:
        client.sendall(HALF_A_HELLO)
        return rest_of(client)


def dripping(port: int, _: Authority) -> bytes:
    """Go on with it, a byte a second."""
    with socket.create_connection((HOST, port), HANDSHAKE_SECONDS * 4) as client:
        client.sendall(HALF_A_HELLO)
        try:
            for _each in range(int(HANDSHAKE_SECONDS * 4)):
                time.sleep(1)
                client.sendall(b"\0")
        except ConnectionError:
            return b""
        return b"it went on"


def half_a_head(port: int, authority: Authority) -> bytes:
    """Be done with the handshake, and send half a request."""
    with connected(port, authority) as client:
        client.settimeout(HANDSHAKE_SECONDS * 4)
        client.sendall(b"POST /v1/verify HTTP/1.1\r\nHost: a\r\n")
        status, problem = answer_on(client)
        assert (status, problem["code"]) == (408, "request_timeout")
        return rest_of(client)


STORIES: Final[Mapping[str, Story]] = {
    story.__name__: story for story in (silent, half, dripping, half_a_head)
}


@pytest.fixture(scope="module")
def seconds(secure: RunningServer, authority: Authority) -> Iterator[dict[str, float]]:
    """How long each of them was held, all at once; what it got before its end is nothing."""

    def told(story: Story) -> float:
        began = time.monotonic()
        assert story(secure.port, authority) == b""
        return time.monotonic() - began

    with ThreadPoolExecutor(len(STORIES)) as threads:
        yield dict(zip(STORIES, threads.map(told, STORIES.values()), strict=True))


@pytest.mark.parametrize("name", STORIES)
def test_who_does_not_come_to_the_point_is_disconnected_in_time(
    seconds: dict[str, float], secure: RunningServer, name: str
) -> None:
    assert HANDSHAKE_SECONDS - EARLY <= seconds[name] <= HANDSHAKE_SECONDS + LATE
    assert secure.call("GET", "/livez")[0] == 200


def test_handshakes_without_number_take_no_more_than_their_room_and_keep_nobody_out(
    authority: Authority, tmp_path: Path
) -> None:
    with serving(authority.issue(tmp_path), tmp_path) as server, ExitStack() as clients:
        served = Served(server, "")
        question = request(
            "POST", "/v1/verify", json.dumps({"key": server.first_key}).encode(), key=server.first_key
        )
        before = served.open_sockets()
        known = clients.enter_context(connected(server.port, authority))
        for _ in range(MAX_HANDSHAKES + 500):
            clients.enter_context(socket.create_connection((HOST, server.port)))
        until(lambda: served.open_sockets() > before + MAX_HANDSHAKES / 2)
        for _ in range(10):
            with connected(server.port, authority) as other:
                for client in (known, other):
                    client.sendall(question)
                    assert answer_on(client)[1]["valid"]
            assert served.open_sockets() <= before + MAX_HANDSHAKES + 3
        until(lambda: served.open_sockets() <= before + 1)
        assert " ERROR " not in server.stderr


def test_many_clients_come_in_at_the_same_time(secure: RunningServer, authority: Authority) -> None:
    def ask(_: int) -> bool:
        with connected(secure.port, authority) as client:
            client.sendall(request("GET", "/livez"))
            return answer_on(client) == (200, {"status": "live"})

    with ThreadPoolExecutor(32) as threads:
        assert all(threads.map(ask, range(300)))
