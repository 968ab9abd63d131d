"""Bytes as text: base64url without padding (RFC 4648, section 5), one form for each value."""

from __future__ import annotations

import base64
import binascii


def to_base64url(raw: bytes) -> str:
    """`raw` as unpadded base64url."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def from_any_base64(text: str) -> bytes:
    """The bytes in base64 of either alphabet, padded or not; ValueError for any other text."""
    return from_base64url(text.rstrip("=").replace("+", "-").replace("/", "_"))


def from_base64url(text: str) -> bytes:
    """The bytes that `to_base64url` turns into exactly `text`; ValueError for any other text."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not unpadded base64url") from None
    if to_base64url(raw) != text:
        raise ValueError("not canonical base64url")
    return raw
