"""Decisions on an event loop: inline where memory answers, in a bounded pool of threads where it does not.

The loop never waits for a store. One read of the log serves all requests that found this node stale, and one load
serves all that ask for the same credential.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from keyturn.domain.token import ParsedToken
from keyturn.domain.verdict import Code, Verification
from keyturn.errors import IntegrityError, KeyturnError
from keyturn.records.log_reader import LogReader
from keyturn.verifier.decision import Demand
from keyturn.verifier.verifier import Loaded, Miss, Verifier

CATCH_UP_SECONDS: Final = 0.25
LOAD_SECONDS: Final = 1.0
LOAD_THREADS: Final = 8
MAX_LOADS: Final = 512  # under way or waiting; past it a cold credential is throttled

_ATTEMPTS: Final = (
    3  # for one request, each made useless by a change of the key or by a pause of this process
)


class _CatchUp(NamedTuple):
    """A read of the log under way, and the loop's time until which requests wait for it."""

    read: asyncio.Future[None]
    deadline: float


class Decider:
    """Decides for the requests of one event loop."""

    def __init__(self, *, verifier: Verifier, log: LogReader) -> None:
        self._verifier = verifier
        self._log = log
        self._threads = ThreadPoolExecutor(LOAD_THREADS, thread_name_prefix="keyturn-load")
        self._catching_up: _CatchUp | None = None
        self._loads: dict[str, asyncio.Future[Loaded]] = {}

    @property
    def loads(self) -> int:
        """How many credentials are being loaded, or wait for it; at most MAX_LOADS."""
        return len(self._loads)

    def close(self) -> None:
        """Let the threads go; those at work end within the store's own bounds."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def decide(self, token: str, demand: Demand, ip: str | None) -> Verification:
        """The answer on a credential."""
        outcome = self._verifier.decide(token, demand, ip)
        if type(outcome) is Verification:
            return outcome
        return await self.resolve(outcome, token, demand, ip)

    async def resolve(
        self, outcome: Verification | Miss, token: str, demand: Demand, ip: str | None
    ) -> Verification:
        """The answer once what `Verifier.decide` lacked has been fetched."""
        for _ in range(_ATTEMPTS):
            if outcome is Miss.STALE:
                code = await self._catch_up()
                if code is not None:
                    return self._verifier.refuse(code, demand, ip)
                outcome = self._verifier.decide(token, demand, ip)
            if outcome is Miss.COLD:
                screened = self._verifier.screen(token, demand, ip)
                if isinstance(screened, Verification):
                    return screened
                outcome = await self._load(screened, token, demand, ip)
            if not isinstance(outcome, Miss):
                return outcome
        return self._verifier.refuse(Code.STALE, demand, ip)

    async def _catch_up(self) -> Code | None:
        """Share one read of the log; the code to refuse with where it fails or takes too long."""
        loop = asyncio.get_running_loop()
        shared = self._catching_up
        if shared is None:
            read = loop.run_in_executor(self._threads, self._log.catch_up)
            shared = self._catching_up = _CatchUp(read, loop.time() + CATCH_UP_SECONDS)
            read.add_done_callback(self._caught_up)
        try:
            # The time is the read's and not each request's own: a batch must not wait once for each of its items.
            async with asyncio.timeout_at(shared.deadline):
                await asyncio.shield(shared.read)
        except IntegrityError:
            return Code.INTEGRITY_FAILED
        except (KeyturnError, TimeoutError):
            return Code.STALE
        return None

    def _caught_up(self, done: asyncio.Future[None]) -> None:
        self._catching_up = None
        if not done.cancelled():
            done.exception()  # whoever waited has seen it; nobody may have

    async def _load(
        self, parsed: ParsedToken, token: str, demand: Demand, ip: str | None
    ) -> Verification | Miss:
        load = self._loads.get(parsed.credential_id)
        if load is None:
            if len(self._loads) >= MAX_LOADS:
                return self._verifier.refuse(Code.THROTTLED, demand, ip)
            load = self._begin_load(parsed.credential_id)
        try:
            loaded = await asyncio.wait_for(asyncio.shield(load), LOAD_SECONDS)
        except IntegrityError:
            return self._verifier.refuse(Code.INTEGRITY_FAILED, demand, ip)
        except (KeyturnError, TimeoutError):
            return self._verifier.refuse(Code.STALE, demand, ip)
        return self._verifier.decide_loaded(token, loaded, demand, ip)

    def _begin_load(self, credential_id: str) -> asyncio.Future[Loaded]:
        loop = asyncio.get_running_loop()
        load = loop.run_in_executor(self._threads, self._verifier.load, credential_id)
        self._loads[credential_id] = load

        def ended(done: asyncio.Future[Loaded]) -> None:
            del self._loads[credential_id]
            if not done.cancelled():
                done.exception()

        load.add_done_callback(ended)
        return load
