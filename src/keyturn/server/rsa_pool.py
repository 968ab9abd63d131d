"""RSA keys made ahead: one of 4,096 bits takes 0.4 s and one of 8,192 several, which no request should wait for.

They are made in a thread of the lowest priority. OpenSSL works without the interpreter lock, so verifications go on.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Final

from keyturn.crypto.generation import RsaKeys
from keyturn.crypto.key_pairs import make_rsa_key
from keyturn.errors import PoolEmptyError

KEPT: Final[Mapping[int, int]] = MappingProxyType({3_072: 4, 4_096: 4, 8_192: 1})
START_SECONDS: Final = 5.0  # a server that has just begun has other things to do
AGAIN_SECONDS: Final = 5.0  # after one that could not be made
_RETRY_SECONDS: Final = {3_072: 1, 4_096: 2, 8_192: 10}
_LOWEST: Final = 19
_TURN: Final = 8  # of so many keys one is of the size that was made the longest ago

_log = logging.getLogger("keyturn.rsa_pool")


class RsaPool:
    """Keeps some private keys of each size, as DER; `take` gives one away, and it is made up for."""

    def __init__(
        self,
        make: RsaKeys = make_rsa_key,
        *,
        start_seconds: float = START_SECONDS,
        again_seconds: float = AGAIN_SECONDS,
    ) -> None:
        self._make = make
        self._again_seconds = again_seconds
        self._start_seconds = start_seconds
        self._ready: dict[int, deque[bytes]] = {bits: deque() for bits in KEPT}
        self._made = 0
        self._last: dict[int, int] = dict.fromkeys(KEPT, 0)  # of each size: how many had been made then
        self._wanted = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._fill, name="keyturn-rsa-pool", daemon=True)

    def start(self) -> None:
        """Begin to make keys."""
        self._thread.start()

    def stop(self) -> None:
        """Make no more. One that is being made is not waited for."""
        with self._wanted:
            self._stopping = True
            self._wanted.notify()

    def take(self, bits: int) -> bytes:
        """The DER of a private key; PoolEmptyError where none is ready."""
        with self._wanted:
            try:
                key = self._ready[bits].popleft()
            except IndexError:
                raise PoolEmptyError(
                    f"no RSA key of {bits} bits is ready yet", retry_after=_RETRY_SECONDS[bits]
                ) from None
            finally:
                self._wanted.notify()
        return key

    def sizes(self) -> dict[int, int]:
        """How many keys of each size are ready."""
        return {bits: len(ready) for bits, ready in self._ready.items()}

    def _fill(self) -> None:
        if sys.platform == "linux":
            with suppress(OSError):  # a sandbox that forbids it: keys are made all the same
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
        self._pause(self._start_seconds)
        while (bits := self._await_shortage()) is not None:
            try:
                key = self._make(bits)
            except Exception:  # noqa: BLE001 - without this thread there would be no key until the next start
                _log.exception("an RSA key of %d bits could not be made", bits)
                self._pause(self._again_seconds)
                continue
            with self._wanted:
                self._ready[bits].append(key)
                self._made += 1
                self._last[bits] = self._made

    def _pause(self, seconds: float) -> None:
        with self._wanted:
            self._wanted.wait_for(lambda: self._stopping, seconds)

    def _await_shortage(self) -> int | None:
        """The size to make next; None when it is time to stop."""
        with self._wanted:
            self._wanted.wait_for(lambda: self._stopping or self._shortage() is not None)
            return None if self._stopping else self._shortage()

    def _shortage(self) -> int | None:
        """The quickest to make of those that are short; none of them waits for ever while others ask for that one."""
        short = [bits for bits, count in KEPT.items() if len(self._ready[bits]) < count]
        if short and self._made % _TURN == 0:
            return min(short, key=self._last.__getitem__)
        return next(iter(short), None)
