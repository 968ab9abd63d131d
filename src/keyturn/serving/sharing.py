"""Work in threads that all who want the same of it share, a bounded number of things at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

_T = TypeVar("_T")


class TooMuchWorkError(Exception):
    """So much is under way or waiting that nothing more is taken on."""


class SharedWork:
    """What the requests of one event loop wait for.

    Attributes:
        pending: what is under way or waits for a thread, by the key that those who share it have in common.
    """

    def __init__(self, threads: Executor, *, most: int, seconds: float) -> None:
        self._threads = threads
        self._most = most
        self._seconds = seconds
        self.pending: dict[str, asyncio.Future[Any]] = {}

    async def shared(self, key: str, work: Callable[[], _T]) -> _T:
        """What `work` returns, done once for all who ask with this key while it goes on; its errors are theirs.

        TooMuchWorkError where there is no room, TimeoutError where it takes too long; it then goes on by itself.
        """
        task = self.pending.get(key)
        if task is None:
            if len(self.pending) >= self._most:
                raise TooMuchWorkError
            task = self._begin(key, work)
        result: _T = await asyncio.wait_for(asyncio.shield(task), self._seconds)
        return result

    def _begin(self, key: str, work: Callable[[], Any]) -> asyncio.Future[Any]:
        task = asyncio.get_running_loop().run_in_executor(self._threads, work)
        self.pending[key] = task

        def ended(done: asyncio.Future[Any]) -> None:
            del self.pending[key]
            if not done.cancelled():
                done.exception()  # whoever waited has seen it; nobody may have

        task.add_done_callback(ended)
        return task
