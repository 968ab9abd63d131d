"""Commits that wait together travel together.

A commit costs a write to the disk, whatever it holds. The first caller sends its own; those who come
meanwhile queue, and the first of them sends for all. There is no thread for it: whoever sends is a caller.
"""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final, TypeAlias

from keyturn.errors import KeyturnError, OutcomeUnknownError, StorageBusyError

__all__ = ["Coalescer", "Outcome", "Send"]

MAX_TOGETHER: Final = 64  # ChangeSets in one call
MAX_CHARACTERS: Final = 4_000_000  # of their encoding, unless one alone is longer

Outcome: TypeAlias = int | KeyturnError
Send: TypeAlias = Callable[[Sequence[str], float], Sequence[Outcome]]
"""Sends encoded ChangeSets before a deadline (of the monotonic clock); one outcome for each, in order."""


class _Turn:
    """One caller's ChangeSet and what became of it; the coalescer's lock guards it."""

    __slots__ = ("deadline", "encoded", "is_leader", "is_queued", "outcome", "woken")

    def __init__(self, encoded: str, deadline: float) -> None:
        self.encoded = encoded
        self.deadline = deadline
        self.woken = threading.Event()
        self.is_leader = False
        self.is_queued = True
        self.outcome: Outcome | None = None


class Coalescer:
    """Hands ChangeSets to `send`, one call at a time, as many together as wait."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.start_afresh()

    def start_afresh(self) -> None:
        """Forget whoever waits: for a forked child, in which their threads do not exist."""
        self._lock = threading.Lock()
        self._queue: deque[_Turn] = deque()
        self._is_led = False

    @property
    def waiting(self) -> int:
        """How many ChangeSets wait to be sent."""
        with self._lock:
            return len(self._queue)

    def submit(self, encoded: str, deadline: float) -> int:
        """The position that the ChangeSet got.

        Raises its own outcome where that is an error, StorageBusyError when it was never sent, and
        OutcomeUnknownError when it was sent and the deadline passed.
        """
        turn = _Turn(encoded, deadline)
        with self._lock:
            self._queue.append(turn)
            if not self._is_led:
                self._is_led = True
                self._appoint()
        try:
            turn.woken.wait(max(0.0, deadline - monotonic()))
            if turn.is_leader and monotonic() < deadline:
                self._lead(turn)
        finally:
            was_queued = self._leave(turn)
        if turn.outcome is None and was_queued:
            raise StorageBusyError("earlier changes kept the store busy for too long; nothing was written")
        if turn.outcome is None:
            raise OutcomeUnknownError("the store did not answer in time; the change may have been made")
        if isinstance(turn.outcome, KeyturnError):
            raise turn.outcome
        return turn.outcome

    def _appoint(self) -> None:
        """Make the first in the queue the leader; the lock is held."""
        self._is_led = bool(self._queue)
        if self._queue:
            self._queue[0].is_leader = True
            self._queue[0].woken.set()

    def _leave(self, turn: _Turn) -> bool:
        """Take `turn` out of the queue and pass its leadership on; returns whether it was still queued."""
        with self._lock:
            was_queued = turn.is_queued
            if was_queued:
                turn.is_queued = False
                self._queue.remove(turn)
            if turn.is_leader:
                turn.is_leader = False
                self._appoint()
            return was_queued

    def _lead(self, leader: _Turn) -> None:
        outcomes: Sequence[Outcome] = []
        batch: list[_Turn] = []
        try:
            batch = self._next_batch()
            outcomes = self._send([turn.encoded for turn in batch], leader.deadline)
        except KeyturnError as error:
            outcomes = [error] * len(batch)
        finally:
            self._deliver(batch, outcomes or [OutcomeUnknownError("the sender was interrupted")] * len(batch))

    def _deliver(self, batch: Sequence[_Turn], outcomes: Sequence[Outcome]) -> None:
        with self._lock:
            for turn, outcome in zip(batch, outcomes, strict=True):
                turn.outcome = _own_copy(outcome) if isinstance(outcome, KeyturnError) else outcome
                turn.woken.set()

    def _next_batch(self) -> list[_Turn]:
        batch: list[_Turn] = []
        characters = 0
        with self._lock:
            while self._queue and len(batch) < MAX_TOGETHER:
                characters += len(self._queue[0].encoded)
                if batch and characters > MAX_CHARACTERS:
                    break
                turn = self._queue.popleft()
                turn.is_queued = False
                batch.append(turn)
        return batch


def _own_copy(error: KeyturnError) -> KeyturnError:
    """The error for one caller: one that several threads raise would collect the tracebacks of all."""
    mine = copy.copy(error)
    mine.__cause__ = error.__cause__
    return mine
