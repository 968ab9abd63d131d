"""A key that is changed all the time by as many connections as there are is revoked at the first attempt."""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.running_server import RunningServer, program_environment, run_program

CONNECTIONS = 40


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'keys.db'}"


@pytest.fixture
def server(store_url: str) -> Iterator[RunningServer]:
    with RunningServer(store_url) as running:
        yield running


@contextmanager
def changing(server: RunningServer, victim: dict[str, Any]) -> Iterator[Counter[int]]:
    """The key changes itself over many connections; how often each status was answered."""
    statuses: Counter[int] = Counter()
    stop, begun = threading.Event(), threading.Semaphore(0)
    headers = {"Authorization": f"Bearer {victim['key']}", "Content-Type": "application/json"}

    def change(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        again = 0
        while not stop.is_set():
            again += 1
            body = json.dumps({"name": f"{number} {again}"})
            connection.request("PATCH", f"/v1/keys/{victim['key_id']}", body, headers)
            answer = connection.getresponse()
            answer.read()
            statuses[answer.status] += 1
            begun.release()
            if answer.status == 401:
                break
        connection.close()

    threads = [threading.Thread(target=change, args=(number,), daemon=True) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for _ in range(CONNECTIONS):
        assert begun.acquire(timeout=60)
    yield statuses
    stop.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def victim_of(server: RunningServer) -> dict[str, Any]:
    return server.issue(type="provisioning", scope="read", permissions=["keys.update"])


def test_a_revocation_gets_through_at_the_first_attempt(server: RunningServer) -> None:
    victim = victim_of(server)
    with changing(server, victim) as statuses:
        path = f"/v1/keys/{victim['key_id']}/revoke"
        status, answer = server.call("POST", path, {"reason": "keyCompromise"}, key=server.first_key)
        assert (status, answer["state"]) == (200, "compromised")
    assert statuses[200] > 0
    assert not server.verify(victim["key"])["valid"]


def test_a_revocation_from_another_process_gets_through_too(server: RunningServer, store_url: str) -> None:
    victim = victim_of(server)
    with changing(server, victim):
        revoked = run_program(program_environment(store_url), "revoke", victim["key_id"])
        assert revoked.returncode == 0, revoked.stderr
