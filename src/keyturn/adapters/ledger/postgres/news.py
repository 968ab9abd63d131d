"""Hearing that the log may have grown."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from time import monotonic

import psycopg

from keyturn.adapters.ledger.postgres.connecting import DeadlineConnection
from keyturn.errors import KeyturnError

__all__ = ["Listener"]


class Listener:
    """One connection that listens; of the threads that wait, one listens and the others wait for that one.

    Without a connection it sleeps, so that a caller who polls in between polls at its own pace.
    """

    def __init__(self, make: Callable[[float], DeadlineConnection]) -> None:
        self._make = make
        self._closing = threading.Event()
        self._connection: DeadlineConnection | None = None
        self._inherited: list[DeadlineConnection | None] = []
        self._turn = threading.Lock()

    def start_afresh(self) -> None:
        """For a forked child: listen anew, and leave the parent's connection open and unused."""
        self._inherited.append(self._connection)
        self._connection = None
        self._turn = threading.Lock()

    def wait(self, timeout: float) -> None:
        """Return at news, or after `timeout` seconds, or when closed."""
        deadline = monotonic() + timeout
        if not self._turn.acquire(timeout=max(0.0, timeout)):
            return
        try:
            if not self._closing.is_set() and monotonic() < deadline:
                self._listen(deadline)
        except (psycopg.Error, KeyturnError, OSError):
            self._drop()
            self._closing.wait(max(0.0, deadline - monotonic()))
        finally:
            if self._closing.is_set():
                self._drop()
            self._turn.release()

    def close(self) -> None:
        """Wake whoever waits, and close the connection."""
        self._closing.set()
        connection = self._connection
        if connection is not None:
            _hang_up(connection)
        if self._turn.acquire(timeout=1.0):  # whoever listens closes the connection when it wakes
            try:
                self._drop()
            finally:
                self._turn.release()

    def _listen(self, deadline: float) -> None:
        if self._connection is None:
            self._connection = self._make(deadline)
            # What was committed before this has sent its news: the caller looks once more.
            self._connection.execute("LISTEN keyturn")
            return
        for _ in self._connection.notifies(timeout=max(0.0, deadline - monotonic()), stop_after=1):
            pass

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _hang_up(connection: DeadlineConnection) -> None:
    """End the conversation without closing the file descriptor that another thread waits on."""
    try:
        with socket.socket(fileno=os.dup(connection.fileno())) as twin:
            twin.shutdown(socket.SHUT_RDWR)
    except (OSError, psycopg.Error):
        return  # closed meanwhile
