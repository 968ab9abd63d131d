"""A few connections, shared by the threads of one process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from keyturn.adapters.ledger.postgres.connecting import DeadlineConnection
from keyturn.errors import StorageBusyError, StorageError

__all__ = ["Pool"]


class Pool:
    """At most `size` connections at a time, made by `make(deadline)`, the latest used lent first.

    A forked child begins with none (`start_afresh`): its parent's connections stay the parent's.
    """

    def __init__(self, make: Callable[[float], DeadlineConnection], size: int) -> None:
        self._make = make
        self._size = size
        self._is_closed = False
        self._idle: list[DeadlineConnection] = []
        self._inherited: list[DeadlineConnection] = []
        self.start_afresh()

    def start_afresh(self) -> None:
        """For a forked child: keep the parent's connections open and unused; to close them ends its sessions."""
        self._inherited += self._idle
        self._idle = []
        self._places = threading.BoundedSemaphore(self._size)
        self._lock = threading.Lock()

    @contextmanager
    def lend(self, deadline: float) -> Iterator[DeadlineConnection]:
        """A connection whose deadline is set; afterwards it is kept if it is in order.

        Raises StorageBusyError when none becomes free in time, and whatever `make` raises.
        """
        places = self._places
        if not places.acquire(timeout=max(0.0, deadline - monotonic())):
            raise StorageBusyError("every connection to the store is in use")
        try:
            connection = self._take() or self._make(deadline)
            connection.deadline = deadline
            try:
                yield connection
            finally:
                self._give_back(connection)
        finally:
            places.release()

    def close(self) -> None:
        """Close what is idle now, and the rest when it is given back."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self) -> DeadlineConnection | None:
        while True:
            with self._lock:
                if self._is_closed:
                    raise StorageError("the ledger is closed")
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if connection.is_quiet():
                return connection
            connection.close()

    def _give_back(self, connection: DeadlineConnection) -> None:
        if connection.is_quiet():
            with self._lock:
                if not self._is_closed:
                    self._idle.append(connection)
                    return
        connection.close()
