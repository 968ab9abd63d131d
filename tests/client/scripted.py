"""A peer that answers what a test says, as no Keyturn server would: for what a client must bear.

with Scripted(b"HTTP/1.1 503 ...", HANG) as peer:
    Client(peer.url, key)           # the first request gets those bytes, the second nothing at all
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from typing import Final, Self

CLOSE: Final = b""  # the connection, without an answer
HANG: Final = None  # say nothing, and keep the connection open

Said = bytes | None


def answer(status: int, body: object, *, content_type: str = "application/json", **fields: str) -> bytes:
    """The bytes of an answer; `body` is text, or becomes JSON."""
    content = (body if isinstance(body, str) else json.dumps(body)).encode()
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    head = (
        f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(content)}\r\n{more}\r\n"
    )
    return head.encode() + content


def problem(status: int, code: str, **fields: str) -> bytes:
    """A problem of that code."""
    members = {"type": f"urn:keyturn:problem:{code}", "title": "X", "status": status, "detail": "it says", "code": code,
               "fix": "do this"}  # fmt: skip
    return answer(status, members, content_type="application/problem+json", **fields)


class Scripted:
    """Answers one request a connection, each with the next of its answers; the last one is given again and again.

    An answer may depend on the request: a function of its bytes.
    """

    def __init__(self, *answers: Said | Callable[[bytes], Said], port: int = 0) -> None:
        self._answers = list(answers)
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", port))
        self._held: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.requests: list[bytes] = []

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        """The port of that, which refuses until the block is entered."""
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        self._listener.listen()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()
        for connection in self._held:
            connection.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.requests.append(_request(connection))
            given = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
            said = given(self.requests[-1]) if callable(given) else given
            if said is None:
                self._held.append(connection)
                continue
            if said:
                connection.sendall(said.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            connection.close()


def _request(connection: socket.socket) -> bytes:
    """A request's bytes, its body included."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65_536)
    head, _, body = received.partition(b"\r\n\r\n")
    length = next(
        (
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        ),
        0,
    )
    while len(body) < length:
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body
