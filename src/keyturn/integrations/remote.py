"""Verification by a server: pooled connections, and answers that are used again for a moment."""

from __future__ import annotations

import asyncio
from typing import Final

import httpx

from keyturn.client.answers import read, verification_of
from keyturn.client.asking import written
from keyturn.client.sending import Call, Gathering, Sender, pool_settings, unreachable
from keyturn.domain.secret import Secret
from keyturn.domain.verdict import Verification
from keyturn.errors import ConfigurationError, StorageError, shown
from keyturn.integrations.answers import Answers, Asked
from keyturn.integrations.loops import PerLoop
from keyturn.integrations.required import Required
from keyturn.key_store import SecureKeyStore
from keyturn.ports.clock import SYSTEM_CLOCK, Clock
from keyturn.verifier.verifier import DEFAULT_MAX_STALENESS, MAX_STALENESS_RANGE

ANSWER_SECONDS: Final = 2.0  # an answer that took longer is not used
_VERIFY: Final = "/v1/verify"

# A connection that was kept, and that the server has closed meanwhile; a server that is being started again. To ask
# once more changes nothing.
_AGAIN: Final = (httpx.NetworkError, httpx.RemoteProtocolError)

Answered = tuple[int, bytes]


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
        self._pools = PerLoop(lambda: httpx.AsyncClient(**self._settings))
        self._bound = _check_bound(max_staleness)
        self._answers = Answers(self._bound, clock)
        self._steady = clock.steady

    def verify(self, token: str, required: Required, ip: str | None) -> Verification:
        """The answer; the calling thread waits for it."""
        asked = Asked.of(token, required, ip)
        known = self._answers.find(asked)
        if known is not None:
            return known
        asked_at = self._steady()
        return self._taken(asked, asked_at, self._fetch(_question(token, required, ip)))

    async def verify_async(self, token: str, required: Required, ip: str | None) -> Verification:
        """The answer; the event loop goes on meanwhile."""
        asked = Asked.of(token, required, ip)
        known = self._answers.find(asked)
        if known is not None:
            return known
        asked_at = self._steady()
        return self._taken(asked, asked_at, await self._fetch_async(_question(token, required, ip)))

    async def open(self) -> None:
        """Connections are made when they are needed."""

    async def aclose(self) -> None:
        """Close the connections of the running loop, and those of threads."""
        pool = self._pools.take_here()
        if pool is not None:
            await pool.aclose()
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

    def _taken(self, asked: Asked, asked_at: float, answered: Answered) -> Verification:
        """The answer, once it is known to be one, and recent enough; it is kept for the next who ask."""
        body = read(*answered)
        answer = verification_of(body)
        if self._steady() - asked_at > ANSWER_SECONDS:
            # As after a pause of this process: the key may have been revoked long since.
            raise StorageError("the Keyturn server's answer came too late")
        if self._bound and not body.get("rate_limits") and body.get("credits") is None:
            # Where uses are limited, each of them must be counted where the limit is.
            self._answers.keep(asked, answer, asked_at)
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

    async def _fetch_async(self, call: Call) -> Answered:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                try:
                    return await self._exchange_async(call)
                except _AGAIN:
                    return await self._exchange_async(call)
        except (httpx.RequestError, TimeoutError) as error:
            raise unreachable(error) from None

    async def _exchange_async(self, call: Call) -> Answered:
        gather = Gathering()
        async with self._pools.here().stream(call.method, call.path, json=call.body) as response:
            async for part in response.aiter_bytes():
                gather(part)
            return response.status_code, gather.content


def _question(token: str, required: Required, ip: str | None) -> Call:
    asked = {"key": token, "scope": required.scope, "permissions": required.permissions, "ip": ip}
    body = {name: written(value) for name, value in asked.items() if value is not None}
    return Call(method="POST", path=_VERIFY, is_safe=True, body=body)


def _check_bound(seconds: float) -> float:
    most = MAX_STALENESS_RANGE[1]
    if not 0 <= seconds <= most:  # nor is NaN
        raise ConfigurationError(
            f"a bound of {shown(seconds)} on staleness",
            fix=f"Use seconds up to the server's own bound, which is at most {most:.0f}; 0 to ask each time.",
        )
    return seconds
