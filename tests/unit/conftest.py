"""Unit tests talk to nobody."""

from __future__ import annotations

import socket
from typing import NoReturn

import pytest


class SocketUseError(AssertionError):
    """A unit test reached for the network."""


@pytest.fixture(autouse=True)
def _no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse what reaches another process; a socket pair, as every event loop has, stays inside this one."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise SocketUseError("unit tests use no sockets: move this test, or pass in a stand-in for the port")

    for method in ("bind", "connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, method, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
