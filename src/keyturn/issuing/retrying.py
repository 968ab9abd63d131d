"""Trying a change again when somebody else was first."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final, TypeVar

from keyturn.errors import ConflictError
from keyturn.issuing.turns import Turns
from keyturn.ports.clock import Clock

ATTEMPTS: Final = 10
ENDING_SECONDS: Final = 5.0  # for which an act that ends a key is tried
ENDING_ATTEMPTS: Final = 1_000  # in that time, by a clock that goes on
FIRST_PAUSE: Final = 0.001  # seconds at most; doubled with each attempt
LONGEST_PAUSE: Final = 0.016

_T = TypeVar("_T")


class Retrying:
    """Makes changes of one row in turn, and again where another process was first."""

    def __init__(self, *, turns: Turns, clock: Clock) -> None:
        self._turns = turns
        self._steady = clock.steady

    def change(self, row_id: str, attempt: Callable[[], _T]) -> _T:
        """What `attempt` returns; it reads anew each time. ConflictError once it has lost ten times in a row."""
        with self._turns.taken(row_id):
            return _tried(attempt, lambda lost: lost < ATTEMPTS)

    def end(self, row_id: str, attempt: Callable[[], _T]) -> _T:
        """As `change`, for what takes a key out of use: before others, and ConflictError only after five seconds.

        Whoever may change a key could otherwise keep it alive by changing it all the time.
        """
        until = self._steady() + ENDING_SECONDS
        with self._turns.taken(row_id, is_urgent=True):
            return _tried(attempt, lambda lost: lost < ENDING_ATTEMPTS and self._steady() < until)


def _tried(attempt: Callable[[], _T], may_go_on: Callable[[int], bool]) -> _T:
    lost, pause = 0, FIRST_PAUSE
    while True:
        try:
            return attempt()
        except ConflictError:
            lost += 1
            if not may_go_on(lost):
                raise
        # Random, so that those who lost to one another do not meet again.
        time.sleep(random.uniform(0.0, pause))  # noqa: S311 - no secret
        pause = min(2 * pause, LONGEST_PAUSE)
