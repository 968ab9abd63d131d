"""Ports for programs that have to be told theirs before they start."""

from __future__ import annotations

import secrets
import socket
from typing import Final

_FIRST: Final = 10_000
_COUNT: Final = 22_000  # up to those that Linux gives to clients, one of which would take it meanwhile


def free_port() -> int:
    """One of 127.0.0.1 on which nobody listens."""
    while True:
        port = _FIRST + secrets.randbelow(_COUNT)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
