"""Clients of a server that speaks TLS, well-behaved and otherwise.

with connected(server.port, authority) as client:
    client.sendall(request("GET", "/livez"))
    assert answer_on(client).ok() == {"status": "live"}
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from typing import Any, Final

from tests.ops.certificates import Authority

SECONDS: Final = 30.0
HOST: Final = "127.0.0.1"

# The first bytes of a ClientHello that says it has 512 bytes.
HALF_A_HELLO: Final = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


def connected(port: int, authority: Authority, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
    """A connection after its handshake, in which the server has shown a certificate of this authority."""
    context = context or authority.trusted()
    client = socket.create_connection((HOST, port), SECONDS)
    try:
        return context.wrap_socket(client, server_hostname=HOST)
    except BaseException:
        client.close()
        raise


def serial_of(client: ssl.SSLSocket) -> int:
    """The number of the certificate that the server has shown."""
    shown: Any = client.getpeercert()
    return int(shown["serialNumber"], 16)


def answer_on(client: ssl.SSLSocket) -> tuple[int, Any]:
    """The next answer on a connection: its status and its JSON."""
    answer = http.client.HTTPResponse(client)
    answer.begin()
    return answer.status, json.loads(answer.read())


def rest_of(client: socket.socket) -> bytes:
    """What comes until the server ends the connection, in whatever way."""
    received = b""
    while True:
        try:
            more = client.recv(65_536)
        except (ConnectionError, ssl.SSLError):
            return received
        if not more:
            return received
        received += more
