"""Connections that are made within a time: names become addresses, and each address is tried.

names, deadline = Names(), monotonic() + 15
connection = connected(names.addresses("hooks.example.org", 443, deadline), 443, deadline)
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Final

MAX_LOOK_UPS: Final = 16  # at a time, those included that nobody waits for any more
MAX_TRIED: Final = 4  # addresses of one name

Resolve = Callable[[str, int], Sequence[str]]
"""The addresses of a name; OSError where it has none."""


def left(deadline: float) -> float:
    """Seconds until then by the monotonic clock; TimeoutError where there are none."""
    seconds = deadline - monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def resolved(host: str, port: int) -> Sequence[str]:
    """The addresses that the system gives for a name, in its order."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Names:
    """Looks names up, each in a thread of its own: the system's resolver knows no deadline."""

    def __init__(self, resolve: Resolve = resolved) -> None:
        self._resolve = resolve
        self._room = threading.Semaphore(MAX_LOOK_UPS)

    def addresses(self, host: str, port: int, deadline: float) -> Sequence[str]:
        """The addresses of a name; OSError where it has none, and TimeoutError where they do not come in time."""
        if not self._room.acquire(timeout=left(deadline)):
            raise TimeoutError
        answer: SimpleQueue[Sequence[str] | Exception] = SimpleQueue()

        def look_up() -> None:
            try:
                answer.put(self._resolve(host, port))
            except Exception as error:  # noqa: BLE001 - it is raised where the answer is waited for
                answer.put(error)
            finally:
                self._room.release()

        try:
            threading.Thread(target=look_up, name="keyturn-look-up", daemon=True).start()
        except BaseException:
            self._room.release()
            raise
        try:
            found = answer.get(timeout=left(deadline))
        except Empty:
            raise TimeoutError from None
        if isinstance(found, UnicodeError):
            raise OSError("the name is none") from None
        if isinstance(found, Exception):
            raise found
        return found


def connected(addresses: Sequence[str], port: int, deadline: float) -> socket.socket:
    """A connection to the first address that takes it, each having its part of the time; else the last one's error."""
    tried = addresses[:MAX_TRIED]
    failure = OSError("the name has no address")
    for number, address in enumerate(tried):
        try:
            return socket.create_connection((address, port), left(deadline) / (len(tried) - number))
        except OSError as error:
            failure = error
    raise failure
