"""Digests of tokens."""

from __future__ import annotations

import hashlib


def token_digest(token: str) -> bytes:
    """SHA-256 of a whole token.

    No slow hash: with 128 random bits and more there is nothing to guess (ASVS 6.5.2 asks for 112).
    """
    return hashlib.sha256(token.encode()).digest()
