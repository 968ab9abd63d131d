"""Verification by a server: pooled connections, and answers that are used again for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import httpx

from keyturn.client.answers import items_of, read, verification_of
from keyturn.client.asking import written
from keyturn.client.sending import Call, Gathering, Sender, pool_settings, unreachable
from keyturn.domain.secret import Secret
from keyturn.domain.verdict import Verification
from keyturn.errors import ConfigurationError, KeyturnError, StorageError, shown
from keyturn.integrations.answers import Answers
from keyturn.integrations.loops import PerLoop
from keyturn.integrations.required import Required
from keyturn.integrations.together import Question, Together
from keyturn.key_store import SecureKeyStore
from keyturn.ports.clock import SYSTEM_CLOCK, Clock
from keyturn.verifier.verifier import DEFAULT_MAX_STALENESS, MAX_STALENESS_RANGE

ANSWER_SECONDS: Final = 2.0  # an answer that took longer is not used
_VERIFY: Final = "/v1/verify"
_VERIFY_MANY: Final = "/v1/verify/batch"

# A connection that was kept, and that the server has closed meanwhile; a server that is being started again. To ask
# once more changes nothing.
_AGAIN: Final = (httpx.NetworkError, httpx.RemoteProtocolError)

Answered = tuple[int, bytes]


class _OnLoop:
    """What one event loop asks with."""

    def __init__(self, pool: httpx.AsyncClient, together: Together) -> None:
        self.pool = pool
        self.together = together


class Remote:
    """A source that asks a server.

    Args:
        url: the server's.
        key: a provisioning key that holds ``keys.verify``; its tenant's keys are verified.
        max_staleness: seconds for which an answer is used again, from before it was asked for; at most the server's own
            bound. With 0 every request asks.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | Secret,
        max_staleness: float = DEFAULT_MAX_STALENESS,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._settings = pool_settings(url, key, ANSWER_SECONDS)
        self._sender = Sender(self._settings, ANSWER_SECONDS)
        self._loops = PerLoop(self._on_loop)
        self._bound = _check_bound(max_staleness)
        self._answers = Answers(self._bound, clock)
        self._steady = clock.steady

    def verify(self, token: str, required: Required, ip: str | None) -> Verification:
        """The answer; the calling thread waits for it."""
        question = Question(token, required, ip)
        known = self._answers.find(question.asked)
        if known is not None:
            return known
        asked_at = self._steady()
        return self._taken(question, asked_at, read(*self._fetch(_call(_VERIFY, _written(question)))))

    async def verify_async(self, token: str, required: Required, ip: str | None) -> Verification:
        """The answer; the event loop goes on meanwhile."""
        question = Question(token, required, ip)
        known = self._answers.find(question.asked)
        if known is not None:
            return known
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._loops.here().together.ask(question)
        except TimeoutError as error:
            raise unreachable(error) from None

    async def open(self) -> None:
        """Connections are made when they are needed."""

    async def aclose(self) -> None:
        """Close the connections of the running loop, and those of threads."""
        on_loop = self._loops.take_here()
        if on_loop is not None:
            await on_loop.pool.aclose()
        self.close()

    def close(self) -> None:
        """Close the connections of threads."""
        sender, self._sender = self._sender, Sender(self._settings, ANSWER_SECONDS)
        sender.close()

    @property
    def store(self) -> SecureKeyStore:
        """ConfigurationError: the store is the server's."""
        raise ConfigurationError(
            "keys are verified by a server, and the store is there", fix="Use keyturn.Client to work on it."
        )

    def _taken(self, question: Question, asked_at: float, body: Any) -> Verification:
        """The answer, once it is known to be one, and recent enough; it is kept for the next who ask."""
        answer = verification_of(body)
        if self._steady() - asked_at > ANSWER_SECONDS:
            # As after a pause of this process: the key may have been revoked long since.
            raise StorageError("the Keyturn server's answer came too late")
        if self._bound and not body.get("rate_limits") and body.get("credits") is None:
            # Where uses are limited, each of them must be counted where the limit is.
            self._answers.keep(question.asked, answer, asked_at)
        return answer

    def _fetch(self, call: Call) -> Answered:
        try:
            try:
                status, _, content = self._sender.exchange(call)
            except _AGAIN:
                status, _, content = self._sender.exchange(call)
        except httpx.RequestError as error:
            raise unreachable(error) from None
        return status, content

    # -- on an event loop

    def _on_loop(self) -> _OnLoop:
        pool = httpx.AsyncClient(**self._settings)
        return _OnLoop(pool, Together(partial(self._ask_all, pool)))

    async def _ask_all(
        self, pool: httpx.AsyncClient, questions: Sequence[Question]
    ) -> list[Verification | KeyturnError]:
        asked_at = self._steady()
        call = _call(_VERIFY_MANY, {"items": [_written(question) for question in questions]})
        bodies = items_of(read(*await _fetch_async(pool, call)), lambda body: body, count=len(questions))
        return [self._answer_or_error(*pair, asked_at) for pair in zip(questions, bodies, strict=True)]

    def _answer_or_error(self, question: Question, body: Any, asked_at: float) -> Verification | KeyturnError:
        try:
            return self._taken(question, asked_at, body)
        except KeyturnError as error:
            return error


async def _fetch_async(pool: httpx.AsyncClient, call: Call) -> Answered:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            try:
                return await _exchange(pool, call)
            except _AGAIN:
                return await _exchange(pool, call)
    except (httpx.RequestError, TimeoutError) as error:
        raise unreachable(error) from None


async def _exchange(pool: httpx.AsyncClient, call: Call) -> Answered:
    gather = Gathering()
    async with pool.stream(call.method, call.path, json=call.body) as response:
        async for part in response.aiter_bytes():
            gather(part)
        return response.status_code, gather.content


def _call(path: str, body: object) -> Call:
    return Call(method="POST", path=path, is_safe=True, body=body)


def _written(question: Question) -> dict[str, str]:
    scope, permissions = question.required
    asked = {"key": question.token, "scope": scope, "permissions": permissions, "ip": question.ip}
    return {name: written(value) for name, value in asked.items() if value is not None}


def _check_bound(seconds: float) -> float:
    most = MAX_STALENESS_RANGE[1]
    if not 0 <= seconds <= most:  # nor is NaN
        raise ConfigurationError(
            f"a bound of {shown(seconds)} on staleness",
            fix=f"Use seconds up to the server's own bound, which is at most {most:.0f}; 0 to ask each time.",
        )
    return seconds
