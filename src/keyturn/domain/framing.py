"""Several texts as one string of bytes, so that no two lists of texts look alike."""

from __future__ import annotations


def framed(*parts: str) -> bytes:
    """Each part as a u16 length, then UTF-8; OverflowError past 65,535 bytes a part."""
    encoded = (part.encode() for part in parts)
    return b"".join(len(part).to_bytes(2, "big") + part for part in encoded)
