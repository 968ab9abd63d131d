"""How much of its clients' bodies a server holds: each request so much, and all of them together so much."""

from __future__ import annotations

from typing import Final

MAX_HELD_BYTES: Final = 268_435_456  # 64 of the largest batches, or 256 of the largest other requests

HELD: Final = "keyturn.held"
"""The member of a request's scope with what it holds."""


class Bodies:
    """What may still be held by all requests of one event loop."""

    def __init__(self, most: int = MAX_HELD_BYTES) -> None:
        self.left = most

    def hold(self) -> Held:
        """Nothing yet, for one request, to be released when that has been answered."""
        return Held(self)


class Held:
    """What one request holds."""

    __slots__ = ("_bodies", "_count")

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self._count = 0

    def take(self, count: int) -> bool:
        """Hold so many bytes more; False, and nothing is taken, where there is no room for them."""
        if count > self._bodies.left:
            return False
        self._bodies.left -= count
        self._count += count
        return True

    def release(self) -> None:
        """Hold nothing any more."""
        self._bodies.left += self._count
        self._count = 0
