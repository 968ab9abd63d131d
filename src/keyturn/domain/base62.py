"""Numbers as text in 0-9A-Za-z: most significant digit first, padded with `0` to a fixed width."""

from __future__ import annotations

from typing import Final

ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def encode(number: int, width: int) -> str:
    """`number` in exactly `width` digits; OverflowError, as `int.to_bytes`, if it is negative or does not fit.

    >>> encode(61, 3)
    '00z'
    """
    if not 0 <= number < 62**width:
        raise OverflowError(f"the number does not fit {width} base62 digits")
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))


def is_base62(text: str) -> bool:
    """Whether `text` is one or more of 0-9A-Za-z."""
    return text.isascii() and text.isalnum()
