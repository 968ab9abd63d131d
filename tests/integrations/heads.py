"""Heads of requests, for tests that ask a guard itself."""

from __future__ import annotations

from keyturn.integrations.heads import Head


def bearer(token: str, ip: str | None = "127.0.0.1") -> Head:
    """A request with this key."""
    return Head((f"Bearer {token}",), (), (), ip)
