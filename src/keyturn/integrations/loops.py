"""What belongs to one event loop: futures, and connections whose sockets it watches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

_Thing = TypeVar("_Thing")


class PerLoop(Generic[_Thing]):
    """One thing for each event loop, made when it is first asked for on that loop.

    A process may have several: a test client starts one for each request. Those that were closed are let go when the
    next one comes.
    """

    def __init__(self, make: Callable[[], _Thing]) -> None:
        self._make = make
        self._made: dict[asyncio.AbstractEventLoop, _Thing] = {}

    def here(self) -> _Thing:
        """The thing of the running loop."""
        loop = asyncio.get_running_loop()
        made = self._made.get(loop)
        if made is None:
            for known in list(self._made):
                if known.is_closed():
                    self._made.pop(known, None)
            made = self._made[loop] = self._make()
        return made

    def take_here(self) -> _Thing | None:
        """The same, if it was made; it is kept no more."""
        return self._made.pop(asyncio.get_running_loop(), None)

    def take_all(self) -> list[_Thing]:
        """All of them; none is kept any more."""
        made, self._made = self._made, {}
        return list(made.values())
