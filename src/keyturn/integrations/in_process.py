"""Verification in the application's own process, on the store itself.

Nothing is opened before the first question: a server that forks its workers imports the application in their parent.
Each process opens a node of its own, follows the log and writes down what it counted in threads of its own; it touches
nothing that its parent had opened, in which locks may be held by threads that it does not have.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic
from typing import Final

from keyturn.bootstrap import Node, ledger_module
from keyturn.domain.fields import check_tenant
from keyturn.domain.ids import DEFAULT_TENANT
from keyturn.domain.secret import Secret
from keyturn.domain.verdict import Verification
from keyturn.errors import KeyturnError, StorageBusyError
from keyturn.integrations.loops import PerLoop
from keyturn.integrations.required import Required
from keyturn.key_store import SecureKeyStore
from keyturn.opening import node_at
from keyturn.serving.background import Background
from keyturn.serving.deciding import Decider
from keyturn.verifier.verifier import DEFAULT_MAX_STALENESS, check_staleness

OPEN_SECONDS: Final = 5.0  # that a request waits for the store to be opened
AGAIN_SECONDS: Final = 1.0  # before opening is tried again once it has failed

OpenNode = Callable[[], Node]


class InProcess:
    """A source on the store at a URL; the errors are those of SecureKeyStore, when it is opened."""

    def __init__(
        self,
        url: str,
        *,
        encryption_key: bytes | str | Secret | None = None,
        tenant: str = DEFAULT_TENANT,
        max_staleness: float = DEFAULT_MAX_STALENESS,
    ) -> None:
        ledger_module(url)  # a scheme that is not known, or a driver that is missing, is said at once
        self._tenant = check_tenant(tenant)
        self._open_node: OpenNode = partial(node_at, url, encryption_key, check_staleness(max_staleness))
        # Forked children inherit what their parents put here, and leave it alone.
        self._processes: dict[int, _Process] = {}

    def verify(self, token: str, required: Required, ip: str | None) -> Verification:
        """The answer, reading the store in this thread where that is needed."""
        running = self._here().opened()
        return running.node.verifier.authenticate(token, required.demand(self._tenant), ip)

    async def verify_async(self, token: str, required: Required, ip: str | None) -> Verification:
        """The answer: from memory at once, otherwise once a thread has read what is missing."""
        running = await self._here().opened_beside()
        return await running.deciders.here().decide(token, required.demand(self._tenant), ip)

    async def open(self) -> None:
        """Open the store."""
        await self._here().opened_beside()

    async def aclose(self) -> None:
        """As `close`, in a thread: it writes what was counted."""
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Write what was counted and close the store."""
        self._here().close()

    @property
    def store(self) -> SecureKeyStore:
        """The store that this process verifies on."""
        return SecureKeyStore.over(self._here().opened().node, tenant=self._tenant)

    def _here(self) -> _Process:
        pid = os.getpid()
        # setdefault: of two threads that come here first, both must get the same one.
        return self._processes.get(pid) or self._processes.setdefault(pid, _Process(self._open_node))


class _Running:
    """A node that is open, and what is done for it beside answering, until `end` or the end of the process."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.deciders = PerLoop(partial(Decider, verifier=node.verifier, log=node.records.log))
        background = Background(node)
        self.end = weakref.finalize(self, _end, os.getpid(), node, background, self.deciders)
        background.start()


def _end(pid: int, node: Node, background: Background, deciders: PerLoop[Decider]) -> None:
    if os.getpid() != pid:
        return  # a forked child that ends: it is its parent that has counted, and whose threads these are
    background.stop()
    for decider in deciders.take_all():
        decider.close()
    node.close()


class _Process:
    """What one process has open."""

    def __init__(self, open_node: OpenNode) -> None:
        self._open_node = open_node
        self._opening = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="keyturn-open")
        self._running: _Running | None = None
        self._failure: KeyturnError | None = None
        self._failed_at = 0.0

    def opened(self) -> _Running:
        """The node, opened in this thread if it is not open; KeyturnError where that fails, or has just failed."""
        running = self._running
        if running is not None:
            return running
        if not self._opening.acquire(timeout=OPEN_SECONDS):
            raise StorageBusyError("the store is still being opened")
        try:
            if self._running is None:
                self._running = _Running(self._opened_node())
            return self._running
        finally:
            self._opening.release()

    async def opened_beside(self) -> _Running:
        """The same, in a thread."""
        running = self._running
        if running is not None:
            return running
        opening = asyncio.get_running_loop().run_in_executor(self._thread, self.opened)
        try:
            return await asyncio.wait_for(opening, OPEN_SECONDS)
        except TimeoutError:
            raise StorageBusyError("the store is still being opened") from None

    def close(self) -> None:
        """Close the node if it is open."""
        with self._opening:
            running, self._running = self._running, None
        if running is not None:
            running.end()

    def _opened_node(self) -> Node:
        # Requests that wait for a store that does not answer must not each wait for it anew.
        if self._failure is not None and monotonic() - self._failed_at < AGAIN_SECONDS:
            raise self._failure.with_traceback(None)
        try:
            return self._open_node()
        except KeyturnError as error:
            self._failure, self._failed_at = error, monotonic()
            raise
