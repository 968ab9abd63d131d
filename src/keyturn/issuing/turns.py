"""Turns: within one process, changes of one row are made one after the other.

The ledger refuses a change whose row moved meanwhile, so that order does not matter for what is right; it matters for
who gets through. Of many who change one key at once all but one would lose each time, and a revocation among them could
be kept waiting for as long as the others go on. So whoever waits is served in order, and an act that ends a key before
those that do not.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

STRIPES: Final = (
    256  # rows share these; two that share one wait for each other, which costs a few milliseconds
)
WAIT_SECONDS: Final = 5.0  # then the change is tried out of turn: the ledger has the last word


class _Turn:
    """A lock that is handed over in order, to the urgent first."""

    __slots__ = ("_guard", "_is_taken", "_waiting")

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._is_taken = False
        self._waiting: deque[threading.Lock] = deque()

    def take(self, is_urgent: bool) -> bool:
        """Wait for the turn; False where it did not come in time."""
        with self._guard:
            if not self._is_taken:
                self._is_taken = True
                return True
            mine = threading.Lock()
            mine.acquire()
            if is_urgent:
                self._waiting.appendleft(mine)
            else:
                self._waiting.append(mine)
        try:
            if mine.acquire(timeout=WAIT_SECONDS):
                return True
        except BaseException:
            if not self._gave_up(mine):
                self.pass_on()
            raise
        return not self._gave_up(mine)

    def pass_on(self) -> None:
        """Let the next one go on."""
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_taken = False

    def _gave_up(self, mine: threading.Lock) -> bool:
        """Leave the queue; False where the turn has come in this moment."""
        with self._guard:
            if mine in self._waiting:
                self._waiting.remove(mine)
                return True
            return False


class Turns:
    """The turns of one node's rows."""

    def __init__(self) -> None:
        self.start_afresh()
        _ALL.add(self)

    def start_afresh(self) -> None:
        """Forget who waits: in a new process none of them is there."""
        self._stripes = tuple(_Turn() for _ in range(STRIPES))

    @contextmanager
    def taken(self, row_id: str, *, is_urgent: bool = False) -> Iterator[None]:
        """Hold a row's turn. One that does not come within WAIT_SECONDS is done without."""
        turn = self._stripes[hash(row_id) % STRIPES]
        has_it = turn.take(is_urgent)
        try:
            yield
        finally:
            if has_it:
                turn.pass_on()


_ALL: Final[weakref.WeakSet[Turns]] = weakref.WeakSet()


def _start_afresh_in_child() -> None:
    for turns in list(_ALL):
        turns.start_afresh()


os.register_at_fork(after_in_child=_start_afresh_in_child)
