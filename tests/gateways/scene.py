"""A client, a real gateway, a real Keyturn and a tiny application behind them.

answer, seen = scene.ask("/a?b=c", key=scene.reader)
assert (answer.status, seen.field("X-Keyturn-Owner")) == (200, "ada")
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

from tests.free_ports import free_port
from tests.gateways import running
from tests.gateways.running import Gateway, Ports
from tests.gateways.upstream import MARK, Application, Seen
from tests.running_server import RunningServer

GATEWAYS: Final[dict[str, Callable[[Path, Ports, str], Gateway]]] = {
    "nginx": running.nginx,
    "haproxy": running.haproxy,
    "envoy": running.envoy,
}
Fields = tuple[tuple[str, str], ...]

_SOURCES: Final = count(2)


def another_source() -> str:
    """An address of this machine from which no client has come yet."""
    number = next(_SOURCES)
    return f"127.2.{number // 250}.{number % 250 + 1}"


@dataclass(frozen=True)
class Answer:
    """What a client gets."""

    status: int
    fields: Fields
    body: bytes

    def all(self, name: str) -> list[str]:
        """The values of a field."""
        return [value for found, value in self.fields if found.lower() == name.lower()]

    @property
    def is_the_applications(self) -> bool:
        """Whether the application has answered, and not the gateway."""
        return self.all(MARK) == ["reached"]


@dataclass
class Client:
    """A client's connection to the gateway."""

    connection: http.client.HTTPConnection

    def ask(
        self,
        target: str,
        *,
        key: str | None = None,
        fields: Fields = (),
        method: str = "GET",
        body: bytes = b"",
    ) -> Answer:
        """The answer to a request; fields are sent as they are, those that are there twice too."""
        connection = self.connection
        connection.putrequest(method, target, skip_accept_encoding=True)
        given = {name.lower() for name, _ in fields}
        if key is not None:
            connection.putheader("Authorization", f"Bearer {key}")
        for name, value in fields:
            connection.putheader(name, value)
        if body and "transfer-encoding" not in given:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body or None)
        answer = connection.getresponse()
        return Answer(answer.status, tuple(answer.getheaders()), answer.read())


@dataclass
class Scene:
    """All of it, with some keys."""

    name: str
    server: RunningServer
    application: Application
    gateway: Gateway
    gateway_key: str
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)

    def issue(self, **wanted: Any) -> str:
        """A new key: its token."""
        return str(self.server.issue(**wanted)["key"])

    def token(self, name: str) -> str:
        """One of the keys that all tests share."""
        return str(self.keys[name]["key"])

    @contextmanager
    def client(self, source: str = "127.0.0.1") -> Iterator[Client]:
        """A client that comes from this address."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.gateway.port, timeout=30, source_address=(source, 0)
        )
        try:
            yield Client(connection)
        finally:
            connection.close()

    def ask(self, target: str, *, source: str = "127.0.0.1", **asked: Any) -> tuple[Answer, list[Seen]]:
        """The answer to one request on a connection of its own, and what reached the application meanwhile."""
        before = len(self.application.seen)
        with self.client(source) as client:
            answer = client.ask(target, **asked)
        return answer, self.application.seen[before:]

    def passes(self, target: str = "/", **asked: Any) -> Seen:
        """What reaches the application, as it must."""
        answer, seen = self.ask(target, **asked)
        assert answer.is_the_applications, answer
        assert len(seen) == 1, seen
        return seen[0]

    def stops(self, target: str = "/", **asked: Any) -> Answer:
        """The answer of the gateway, which must not ask the application."""
        answer, seen = self.ask(target, **asked)
        assert not seen, seen
        assert answer.status >= 400, answer
        assert not answer.is_the_applications
        return answer


SHARED: Final[dict[str, dict[str, Any]]] = {
    "reader": {"scope": "read", "owner": "ada", "permissions": ["documents.read", "documents.list"]},
    "writer": {"scope": "write"},
    "admin": {"scope": "full", "permissions": ["documents.*"]},
    "nobody's": {"scope": "read"},
}


@contextmanager
def scene_of(name: str, folder: Path, gateway_key: str | None = None) -> Iterator[Scene]:
    """A scene with one of the GATEWAYS, whose key is a good one unless another is given."""
    url = f"sqlite:///{folder / 'keys.db'}"
    running_server = RunningServer(url, KEYTURN_TRUSTED_PROXIES="127.0.0.1", KEYTURN_PORT=str(free_port()))
    with Application() as application, running_server as server:
        key = gateway_key
        if key is None:
            wanted = {"type": "provisioning", "permissions": ["keys.verify"], "profile": {"scope": "read"}}
            key = str(server.issue(**wanted)["key"])
        own = folder / "gateway"
        own.mkdir()
        gateway = GATEWAYS[name](own, Ports(free_port(), server.port, application.port), key)
        gateway.start()
        try:
            scene = Scene(name, server, application, gateway, key)
            scene.keys.update({name: server.issue(**wanted) for name, wanted in SHARED.items()})
            yield scene
        finally:
            gateway.stop()
