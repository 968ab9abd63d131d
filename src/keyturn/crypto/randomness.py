"""Randomness from the operating system, and nothing else (ASVS 11.5.1)."""

from __future__ import annotations

import os
from typing import Final

from keyturn.domain.base62 import ALPHABET

# 248 is the largest multiple of 62 in a byte: with the eight values from it on dropped, each character is equally
# likely.
_CHARACTERS: Final = bytes(ord(ALPHABET[byte % 62]) for byte in range(256))
_DROPPED: Final = bytes(range(248, 256))


def random_bytes(count: int) -> bytes:
    """`count` random bytes."""
    return os.urandom(count)


def random_base62(count: int) -> str:
    """`count` characters drawn uniformly from 0-9A-Za-z: 5.95 bits each."""
    text = b""
    while len(text) < count:
        wanted = count - len(text)
        text += os.urandom(wanted + wanted // 16 + 8).translate(_CHARACTERS, _DROPPED)
    return text[:count].decode()
