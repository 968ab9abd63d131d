"""The key in an Authorization field."""

from __future__ import annotations


def bearer_in(authorization: str) -> str | None:
    """The token of `Bearer <token>` (RFC 6750, section 2.1); empty where none follows, None for another scheme."""
    scheme, _, token = authorization.strip(" \t").partition(" ")
    return token.strip(" \t") if scheme.lower() == "bearer" else None
