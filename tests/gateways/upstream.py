"""A tiny application behind a gateway: it answers with what it was sent, and keeps count.

with Application() as application:
    ...                                     # requests through a gateway
    assert application.seen[-1].field("X-Keyturn-Owner") == "acme"
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

MARK = "X-Application"


@dataclass(frozen=True)
class Seen:
    """A request that arrived."""

    method: str
    target: str
    fields: tuple[tuple[str, str], ...]
    body: bytes

    def all(self, name: str) -> list[str]:
        """The values of a field."""
        return [value for field, value in self.fields if field.lower() == name.lower()]

    def field(self, name: str) -> str | None:
        """The value of a field that may be there once."""
        values = self.all(name)
        assert len(values) <= 1, self.fields
        return values[0] if values else None

    @property
    def names(self) -> set[str]:
        """The names of all fields, in lower case."""
        return {name.lower() for name, _ in self.fields}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A gateway that drops a connection is no failure here; what is answered wrongly, tests see."""


class Application:
    """The server, in a thread of this process."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        application = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return self.answer
                raise AttributeError(name)

            def answer(self) -> None:
                seen = Seen(self.command, self.path, tuple(self.headers.items()), self.body())
                application.seen.append(seen)
                status = int(seen.field("Wanted-Status") or 200)
                self.send_response(status)
                self.send_header(MARK, "reached")
                self.send_header("Content-Length", "2")
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(b"ok")

            def body(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
