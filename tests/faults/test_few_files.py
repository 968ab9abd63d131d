"""A server that may open few files: clients who hold connections open take none of those that the store needs."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.running_server import RunningServer

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


def test_a_server_takes_as_many_files_as_it_may(store_url: str) -> None:
    with RunningServer(store_url, limited(FILES, 1_000)) as server:
        assert "At most 872 connections at once; the limit of open files is 1000" in server.stderr
