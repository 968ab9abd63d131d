"""The type that every secret travels in."""

from __future__ import annotations

import hmac
from typing import NoReturn, final


@final
class Secret:
    """Text or bytes that does not print, pickle, copy, serialise or compare in variable time.

    `reveal` and `reveal_bytes` are the only ways out, and easy to search for.

    >>> print(Secret("kt_..."))
    Secret(***)
    """

    __slots__ = ("_value",)

    def __init__(self, value: str | bytes) -> None:
        if not isinstance(value, str | bytes):
            # bytes(1234) would be 1,234 zeros: a secret that everybody knows.
            raise TypeError("a secret is text or bytes")
        self._value = value.encode() if isinstance(value, str) else value

    def reveal(self) -> str:
        """The secret as text; UnicodeDecodeError for bytes that are not UTF-8."""
        return self._value.decode()

    def reveal_bytes(self) -> bytes:
        """The secret as bytes."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value, other._value)

    # Equal secrets must not be found by probing a set or a dict.
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __format__(self, _: str) -> str:
        return "Secret(***)"

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError("a secret is never pickled, copied or serialised")

    def __copy__(self) -> NoReturn:
        raise TypeError("a secret is never pickled, copied or serialised")

    def __deepcopy__(self, _: object) -> NoReturn:
        raise TypeError("a secret is never pickled, copied or serialised")
