"""A server that may open few files: clients who hold connections open take none of those that the store needs."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.http.raw import request
from tests.ops.certificates import Authority, authority
from tests.ops.tls_clients import answer_on, connected
from tests.running_server import RunningServer

__all__ = ["authority"]

FILES = 80
ROOM = 40  # half of them


def limited(soft: int, hard: int) -> tuple[str, ...]:
    """What starts a program with these limits of open files."""
    return ("sh", "-c", f'ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$@"', "sh")


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'keys.db'}"


@pytest.fixture
def server(store_url: str) -> Iterator[RunningServer]:
    with RunningServer(store_url, limited(FILES, FILES)) as running:
        yield running


def test_idle_connections_leave_the_store_its_files(server: RunningServer) -> None:
    assert f"At most {ROOM} connections at once; the limit of open files is {FILES}" in server.stderr
    key = server.issue()
    with ExitStack() as held:
        admin = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        held.callback(admin.close)
        admin.connect()
        for _ in range(2 * FILES):
            held.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
        admin.request(
            "POST",
            f"/v1/keys/{key['key_id']}/revoke",
            headers={"Authorization": f"Bearer {server.first_key}"},
        )
        answer = admin.getresponse()
        assert (answer.status, json.loads(answer.read())["state"]) == (200, "deactivated")
    assert "Too many open files" not in server.stderr
    assert "Traceback" not in server.stderr


def test_handshakes_leave_the_store_its_files_and_keep_nobody_out(
    authority: Authority, store_url: str, tmp_path: Path
) -> None:
    pair = authority.issue(tmp_path)
    cert, key_file = str(pair.certificate), str(pair.key)
    few = limited(FILES, FILES)
    with (
        RunningServer(store_url, few, KEYTURN_TLS_CERT=cert, KEYTURN_TLS_KEY=key_file) as server,
        ExitStack() as held,
    ):
        key = server.issue()
        for _ in range(2 * FILES):
            held.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
        admin = held.enter_context(connected(server.port, authority))
        admin.sendall(request("POST", f"/v1/keys/{key['key_id']}/revoke", key=server.first_key))
        status, revoked = answer_on(admin)
        assert (status, revoked["state"]) == (200, "deactivated")
        for _ in range(2 * FILES):
            with suppress(OSError):  # closed by the server, which is full
                held.enter_context(connected(server.port, authority))
        admin.sendall(request("POST", f"/v1/keys/{key['key_id']}/destroy", key=server.first_key))
        status, destroyed = answer_on(admin)
        assert (status, destroyed["state"]) == (200, "destroyed")
        assert "Too many open files" not in server.stderr
        assert "Traceback" not in server.stderr


def test_a_server_takes_as_many_files_as_it_may(store_url: str) -> None:
    with RunningServer(store_url, limited(FILES, 1_000)) as server:
        assert "At most 872 connections at once; the limit of open files is 1000" in server.stderr
