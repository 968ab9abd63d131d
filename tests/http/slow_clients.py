"""Clients that take their time: each in a thread of its own, so that a minute is waited for once and not by each.

with SlowClients(directory) as clients:
    ...                                                     # other tests
    assert 9 < clients.ended("half a head").answered < 13   # seconds
"""

from __future__ import annotations

import json
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Final, Self

from tests.http.raw import Answer, Raw, ready, request
from tests.http.served import Served
from tests.running_server import RunningServer

PATIENCE: Final = 110.0  # seconds: after the longest of the server's own bounds
CHUNKED: Final = (("Transfer-Encoding", "chunked"),)


@dataclass(frozen=True)
class Ended:
    """How it went: seconds from the first byte until the answer came and until the connection ended, if they did."""

    answer: Answer | None
    answered: float | None
    closed: float | None


Story = Callable[[Served, RunningServer], Ended]


def told(
    data: bytes,
    more: Iterable[bytes] = (),
    *,
    every: float = 0.5,
    before: bytes = b"",
    until_answered: bool = False,
) -> Story:
    """Get `before` answered; then send `data` at once and a piece of `more` every so many seconds."""

    def story(served: Served, _: RunningServer) -> Ended:
        with served.connect() as client:
            if before:
                client.send(before.replace(b"{key}", served.key.encode())).answer()
            return _watched(client, _pieces(served, data, more), every, until_answered=until_answered)

    return story


def _pieces(served: Served, data: bytes, more: Iterable[bytes]) -> Iterator[bytes]:
    """What is sent; the caller's key is filled in."""
    yield data.replace(b"{key}", served.key.encode())
    yield from more


def _watched(client: Raw, pieces: Iterator[bytes], every: float, *, until_answered: bool) -> Ended:
    began = time.monotonic()
    answer, answered = None, None
    while time.monotonic() - began < PATIENCE:
        piece = next(pieces, b"")
        if piece and not client.has_ended:
            client.send_until_closed([piece])
        if not client.is_silent or ready(client.socket, select.POLLIN, every)[0]:
            if client.has_ended or not client.await_more():
                return Ended(answer, answered, time.monotonic() - began)
            answer, answered = client.answer(), time.monotonic() - began
            if until_answered:
                return Ended(answer, answered, None)
    return Ended(answer, answered, None)


def deaf(taking: int) -> Story:
    """Ask as many questions as go out, and take in so many bytes of the answers each tenth of a second.

    Seconds are from when nothing more went out.
    """

    def story(served: Served, _: RunningServer) -> Ended:
        question = request("POST", "/v1/verify", json.dumps({"key": served.key}).encode(), key=served.key)
        with Raw(served.port, buffers=16_384) as client:
            began = time.monotonic()
            gone = select.poll()
            gone.register(client.socket, select.POLLERR | select.POLLHUP)
            try:
                while not gone.poll(100):
                    if client.go_on_sending(question * 10_000):
                        began = time.monotonic()
                    if taking and not client.is_silent:
                        client.socket.recv(taking)
                    assert time.monotonic() - began < PATIENCE
            except ConnectionResetError:
                pass  # the same, met on the way
            return Ended(None, None, time.monotonic() - began)

    return story


def deaf_to_the_end(_: Served, server: RunningServer) -> Ended:
    """Take in no answers from a server that is told to stop."""
    served = Served(server, "")
    question = request("POST", "/v1/verify", json.dumps({"key": served.key}).encode(), key=served.key)
    with Raw(served.port, buffers=16_384) as client:
        for _each in range(100):
            client.go_on_sending(question * 1_000)
            assert served.call("GET", "/livez").status == 200
        began = time.monotonic()
        process = server._process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        return Ended(None, None, time.monotonic() - began)


_HEAD: Final = b"POST /v1/verify HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n"
_QUESTION: Final = _HEAD + b'Content-Length: 78\r\n\r\n{"key":"{key}"}'  # on a key that is known by then
_CHANGE: Final = request("POST", "/v1/keys", key="{key}", fields=[("Content-Type", "application/json")])[:-2]
_BATCH: Final = _HEAD.replace(b"verify", b"verify/batch")
_ASGI: Final = b"GET /v1/keys?limit=1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n"

STORIES: Final[Mapping[str, Story]] = {
    # Refused after 10 s.
    "half a head": told(_HEAD),
    "a head without end": told(_HEAD + b"X: ", repeat(b"a")),
    "fields without end": told(_HEAD, repeat(b"X: a\r\n")),
    "half a line": told(b"GET /liv"),
    "half a head after an answer": told(_HEAD, before=_QUESTION),
    "half a head after an answer by ASGI": told(_HEAD, before=_ASGI),
    "half a question": told(_HEAD + b'Content-Length: 11\r\n\r\n{"k'),
    "a question byte by byte": told(_HEAD + b"Content-Length: 1000\r\n\r\n", repeat(b" ")),
    # Refused after 30 s.
    "half a change": told(_CHANGE + b"Content-Length: 1000\r\n\r\n{"),
    "a change byte by byte": told(_CHANGE + b"Content-Length: 1000\r\n\r\n", repeat(b" ")),
    "a change in chunks without end": told(_CHANGE + b"Transfer-Encoding: chunked\r\n\r\n", repeat(b"1\r\n \r\n")),
    "a question in chunks without end": told(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", repeat(b"1\r\n \r\n")),
    "a batch byte by byte": told(_BATCH + b"Content-Length: 1000\r\n\r\n", repeat(b" ")),
    "a body that was asked for and does not come": told(_CHANGE + b"Expect: a\r\nContent-Length: 10\r\n\r\n"),
    # In time.
    "a slow head": told(b"GET /livez HTTP/1.1\r\nHost: a\r\n", [*[b"X: a\r\n"] * 12, b"\r\n"], until_answered=True),
    "a slow change": told(
        _CHANGE + b"Content-Length: 32\r\n\r\n", [*[b" "] * 30, b"{}"], until_answered=True
    ),
    # Closed without a word.
    "nothing": told(b""),
    "nothing after an answer": told(b"", before=_QUESTION),
    "nothing after an answer by ASGI": told(b"", before=_ASGI),
    "empty lines without end": told(b"", repeat(b"\r\n"), every=1.0),
    "a body that nobody asked for": told(
        b"GET /livez HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", repeat(b"1\r\n \r\n"), every=1.0
    ),
    "deaf": deaf(0),
    "nearly deaf": deaf(1),
    "deaf to the end": deaf_to_the_end,
}  # fmt: skip


class SlowClients:
    """All of them, on a server of their own, and on one more that is stopped."""

    def __init__(self, directory: Path) -> None:
        self._url = f"sqlite:///{directory / 'keys.db'}"
        self._server = RunningServer(self._url)
        self._stopped = RunningServer(f"sqlite:///{directory / 'stopped.db'}")
        self._threads = ThreadPoolExecutor(len(STORIES))
        self._ends: dict[str, Future[Ended]] = {}

    def __enter__(self) -> Self:
        self._server.start()
        self._stopped.start()
        assert self.served.verify(self.served.key)["valid"]
        for name, story in STORIES.items():
            self._ends[name] = self._threads.submit(story, self.served, self._stopped)
        return self

    def __exit__(self, *error: object) -> None:
        self._server.__exit__(*error)  # which ends the stories that have not ended
        self._stopped.__exit__(*error)
        self._threads.shutdown()

    @property
    def served(self) -> Served:
        """The server that they are all connected to."""
        return Served(self._server, self._url)

    def ended(self, name: str) -> Ended:
        """How it went with one of them; waits for it."""
        return self._ends[name].result(PATIENCE)
