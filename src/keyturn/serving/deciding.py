"""Decisions on an event loop: inline where memory answers, in a bounded pool of threads where it does not.

The loop never waits for a store. One read of the log serves all requests that found this node stale, and one load
serves all that ask for the same credential.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, NamedTuple

from keyturn.crypto.digests import token_digest
from keyturn.domain.verdict import Code, Verification
from keyturn.errors import IntegrityError, KeyturnError
from keyturn.records.log_reader import LogReader
from keyturn.serving.sharing import SharedWork, TooMuchWorkError
from keyturn.verifier.decision import Demand
from keyturn.verifier.loading import Loaded
from keyturn.verifier.verifier import Miss, Verifier

CATCH_UP_SECONDS: Final = 0.25
LOAD_SECONDS: Final = 1.0
LOAD_THREADS: Final = 8
MAX_LOADS: Final = 512  # under way or waiting; past it a cold credential is throttled
# Of imported password hashes, whose computation takes up to a quarter of a gigabyte and some seconds each.
COMPUTING_SECONDS: Final = 8.0
COMPUTING_THREADS: Final = 2
MAX_COMPUTATIONS: Final = 64

_IMPORTS: Final = "imports"  # no handle, and no digest

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
        self._loading = SharedWork(self._threads, most=MAX_LOADS, seconds=LOAD_SECONDS)
        self._loads = self._loading.pending
        self._computers = ThreadPoolExecutor(COMPUTING_THREADS, thread_name_prefix="keyturn-compute")
        self._computations = SharedWork(self._computers, most=MAX_COMPUTATIONS, seconds=COMPUTING_SECONDS)

    @property
    def loads(self) -> int:
        """How many credentials are being loaded, or wait for it; at most MAX_LOADS."""
        return len(self._loads)

    def close(self) -> None:
        """Let the threads go; those at work end within the store's own bounds."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._computers.shutdown(wait=False, cancel_futures=True)

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
                outcome = await self._look_up(token, demand, ip)
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

    async def _look_up(self, token: str, demand: Demand, ip: str | None) -> Verification | Miss:
        verifier = self._verifier
        screened = verifier.screen(token, demand, ip)
        if isinstance(screened, Verification):
            return screened
        try:
            if screened is not None:
                handle = screened.credential_id
                loaded = await self._loading.shared(handle, partial(verifier.load, handle))
                if not (verifier.may_be_imported(token, loaded) and await self._has_imports()):
                    return verifier.decide_loaded(token, loaded, demand, ip)
            else:
                refused = verifier.screen_foreign(demand, ip, are_there=await self._has_imports())
                if refused is not None:
                    return refused
            return verifier.decide_loaded(token, await self._foreign(token), demand, ip)
        except TooMuchWorkError:
            return verifier.refuse(Code.THROTTLED, demand, ip)
        except IntegrityError:
            return verifier.refuse(Code.INTEGRITY_FAILED, demand, ip)
        except (KeyturnError, TimeoutError):
            return verifier.refuse(Code.STALE, demand, ip)

    async def _has_imports(self) -> bool:
        """Whether the store has tokens that were issued elsewhere: all who do not know share one glance at it."""
        imports = self._verifier.imports
        known = imports.known
        return await self._loading.shared(_IMPORTS, imports.ask) if known is None else known

    async def _foreign(self, token: str) -> Loaded:
        """A token that was issued elsewhere; what has to be computed for it has threads of its own."""
        digest = token_digest(token).hex()
        found = await self._loading.shared(digest, partial(self._verifier.load_foreign, token))
        if isinstance(found, Loaded):
            return found
        compute = partial(self._verifier.compute, token, found)
        return await self._computations.shared(digest, compute)
