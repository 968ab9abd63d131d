"""Waiting for a turn: among the threads of one process, and among processes.

SQLite's own busy handler sleeps for ever longer times while newcomers slip in, so that some writers starve. Here
threads queue up in order, and processes pass through a turnstile.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from keyturn.errors import StorageBusyError, StorageError

__all__ = ["Queue", "Turnstile", "poll"]

_FIRST_PAUSE: Final = 50e-6  # seconds; a commit takes a few times as long
_LONGEST_PAUSE: Final = 2e-3
_GROWTH: Final = 1.5


def poll(attempt: Callable[[], bool], deadline: float) -> bool:
    """Try again and again, after growing pauses, until it succeeds or the deadline (monotonic) has passed."""
    pause = _FIRST_PAUSE
    while not attempt():
        left = deadline - monotonic()
        if left <= 0:
            return False
        sleep(min(pause, left))
        pause = min(pause * _GROWTH, _LONGEST_PAUSE)
    return True


class Queue:
    """A lock for threads that is handed over in the order of asking, which `threading.Lock` does not promise."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._is_held = False
        self._waiting: deque[threading.Lock] = deque()

    @contextmanager
    def hold(self, deadline: float) -> Iterator[None]:
        """Hold the lock; StorageBusyError when its turn does not come in time."""
        self.acquire(deadline)
        try:
            yield
        finally:
            self.release()

    def acquire(self, deadline: float) -> None:
        """Take the lock, to be given back with `release`; StorageBusyError when its turn does not come in time."""
        with self._guard:
            if not self._is_held:
                self._is_held = True
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        try:
            turn.acquire(timeout=max(0.0, deadline - monotonic()))
        except BaseException:
            if not self._gives_up(turn):
                self.release()
            raise
        if self._gives_up(turn):
            raise StorageBusyError("other threads of this process kept the store busy for too long")

    def _gives_up(self, turn: threading.Lock) -> bool:
        """Leave the queue; False where the lock was handed over meanwhile."""
        with self._guard:
            if turn not in self._waiting:
                return False
            self._waiting.remove(turn)
            return True

    def release(self) -> None:
        """Hand the lock to whoever has waited longest."""
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_held = False


class Turnstile:
    """Two advisory locks beside the database, so that processes take turns.

    Whoever waits to write holds `next` meanwhile: the process that has just written must queue behind it. Threads
    of one process must not use one turnstile at once.
    """

    def __init__(self, database: Path) -> None:
        self._writing = _FileLock(database.with_name(f"{database.name}.lock"))
        self._next = _FileLock(database.with_name(f"{database.name}.lock-next"))

    @contextmanager
    def hold(self, deadline: float) -> Iterator[None]:
        """Be the one process that writes; StorageBusyError when its turn does not come in time."""
        with self._next.hold(deadline):
            self._writing.acquire(deadline)
        try:
            yield
        finally:
            self._writing.release()

    def close(self) -> None:
        """Close both files; they are opened again when they are needed."""
        self._next.close()
        self._writing.close()


class _FileLock:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    @contextmanager
    def hold(self, deadline: float) -> Iterator[None]:
        self.acquire(deadline)
        try:
            yield
        finally:
            self.release()

    def acquire(self, deadline: float) -> None:
        if not poll(self._try_to_lock, deadline):
            raise StorageBusyError(f"another process held {self._path} for too long")

    def release(self) -> None:
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        # No LOCK_UN: in a forked child this descriptor is shared with the parent, whose lock it would release.
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _try_to_lock(self) -> bool:
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise StorageError(
                f"cannot lock {self._path}: {error.strerror}",
                fix=f"Let this user write to {self._path.parent}, and keep the store on a local file system.",
            ) from error
        return True
