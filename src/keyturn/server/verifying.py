"""`POST /v1/verify` and `/v1/verify/batch`: from bytes to bytes, without a framework."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import lru_cache
from time import perf_counter
from typing import Any, Final

import orjson

from keyturn.domain.network import check_address
from keyturn.domain.principal import Principal
from keyturn.domain.scope import KeyScope, parse_scope
from keyturn.domain.verdict import Code, Verification
from keyturn.errors import IntegrityError, InvalidInputError, KeyturnError, StaleError, shown
from keyturn.records.log_reader import LogReader
from keyturn.server.deciding import ANY_TENANT, Decider, bearer_of, principal_of
from keyturn.server.exchange import (
    Receive,
    RefusedRequestError,
    Scope,
    Send,
    authorization_of,
    client_of,
    read_body,
    send_json,
)
from keyturn.server.measured import Measured, Verdicts
from keyturn.verifier.decision import Demand
from keyturn.verifier.entries import Entry
from keyturn.verifier.verifier import Miss, Verifier
from keyturn.views import verification_view

MAX_VERIFY_BYTES: Final = 16_384
MAX_BATCH_BYTES: Final = 4_194_304  # 1,000 of the longest tokens, each with the longest permission query
MAX_BATCH: Final = 1_000
PERMISSION: Final = "keys.verify"

_MEMBERS: Final = frozenset(("key", "scope", "permissions", "ip"))
_MAX_DEMANDS: Final = 4_096
_TOGETHER: Final = 16  # of a batch, decided at the same time

_VALID: Final = Code.VALID

Question = tuple[str, Demand, str | None]


class VerifyEndpoint:
    """Answers verifications for callers that hold `keys.verify`."""

    def __init__(self, *, verifier: Verifier, decider: Decider, log: LogReader, measured: Measured) -> None:
        self._verifier = verifier
        self._decider = decider
        self._log = log
        self._measured = measured

    def asker(self, authorization: str) -> Asker:
        """What answers verifications that come with this Authorization header."""
        return Asker(self, self._verifier, self._measured.verdicts["verify"], authorization)

    async def verify(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One verification: 200, whatever the answer, once the caller is known and the question makes sense."""
        asker = self.asker(authorization_of(scope))
        answer = asker(client_of(scope), await read_body(scope, receive, MAX_VERIFY_BYTES))
        await send_json(send, answer if isinstance(answer, bytes) else await answer)

    async def verify_batch(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Up to 1,000 verifications, answered in order; 503 where the caller's own key can't be decided on."""
        who = (authorization_of(scope), PERMISSION, client_of(scope))
        await self._decider.admit(*who)
        body = await read_body(scope, receive, MAX_BATCH_BYTES)
        caller = await self._decider.principal(*who)
        questions = await _questions(_items(_parsed(body)), caller)
        began = perf_counter()
        answers = await self._decide_all(questions)
        self._measured.batches.observe(perf_counter() - began)
        for answer in answers:
            self._measured.verdicts["batch"][answer.reason] += 1
        await send_json(send, orjson.dumps({"items": [verification_view(answer) for answer in answers]}))

    async def _decide_all(self, questions: list[Question]) -> list[Verification]:
        """In order; what memory lacks is loaded some at a time, so that one batch does not take all the room."""
        answers: list[Verification] = []
        for start in range(0, len(questions), _TOGETHER):
            some = (self._decider.decide(*asked) for asked in questions[start : start + _TOGETHER])
            answers += await asyncio.gather(*some)
        return answers

    async def ask(self, caller: Verification | Miss, token: str, client: str | None, body: bytes) -> bytes:
        """Begin with the caller's own key, which memory did not accept."""
        began = perf_counter()
        try:
            known = principal_of(await self._decider.resolve(caller, token, ANY_TENANT, client), PERMISSION)
        except (StaleError, IntegrityError) as error:
            code = Code.STALE if isinstance(error, StaleError) else Code.INTEGRITY_FAILED
            return self._after_wait(Verification(code, self._log.as_of), began)
        return self._after_wait(await self._decider.decide(*question(_parsed(body), known)), began)

    async def resolve(self, miss: Miss, asked: Question) -> bytes:
        """Fetch what memory lacks for an answer."""
        began = perf_counter()
        return self._after_wait(await self._decider.resolve(miss, *asked), began)

    def _after_wait(self, answer: Verification, began: float) -> bytes:
        self._measured.verdicts["verify"][answer.reason] += 1
        self._measured.waited["verify"].observe(perf_counter() - began)
        return _encoded(answer)


class Asker:
    """A caller, who asks again and again: who it is need not be looked up each time, only whether that still holds."""

    __slots__ = ("_authorization", "_endpoint", "_entry", "_principal", "_verdicts", "_verifier")

    def __init__(
        self, endpoint: VerifyEndpoint, verifier: Verifier, verdicts: Verdicts, authorization: str
    ) -> None:
        self._endpoint = endpoint
        self._verifier = verifier
        self._verdicts = verdicts
        self._authorization = authorization
        self._entry: Entry | None = None
        self._principal: Principal | None = None

    def __call__(self, client: str | None, body: bytes) -> bytes | Coroutine[Any, Any, bytes]:
        """One verification: the answer's JSON where memory has it, otherwise what fetches it.

        Awaiting the latter raises what the call is to be answered with: KeyturnError or RefusedRequestError.
        """
        verifier, entry = self._verifier, self._entry
        try:
            caller = Miss.COLD if entry is None else verifier.decide_again(entry, ANY_TENANT, client)
            if caller is Miss.COLD:
                caller = verifier.decide(bearer_of(self._authorization), ANY_TENANT, client)
            if type(caller) is not Verification or caller.reason is not _VALID:
                return self._endpoint.ask(caller, bearer_of(self._authorization), client, body)
            if caller.presented is not entry or self._principal is None:
                self._remember(caller)
            assert self._principal is not None
            asked = question(_parsed(body), self._principal)
        except (KeyturnError, RefusedRequestError) as error:
            return _raising(error)
        answer = verifier.decide(*asked)
        if type(answer) is not Verification:
            return self._endpoint.resolve(answer, asked)
        self._verdicts[answer.reason] += 1
        return _encoded(answer)

    def _remember(self, caller: Verification) -> None:
        """Who calls, once it is known that they may."""
        self._entry = None
        self._principal = principal_of(caller, PERMISSION)
        if isinstance(caller.presented, Entry):
            self._entry = caller.presented


async def _raising(error: Exception) -> bytes:
    raise error


def _encoded(answer: Verification) -> bytes:
    """The answer as JSON: what of a key is always the same is written once, and kept with it."""
    entry = answer.presented
    if type(entry) is not Entry:
        return orjson.dumps(verification_view(answer))
    if entry.rendered is None:
        view = verification_view(answer)
        known = {name: value for name, value in view.items() if name not in ("valid", "code", "as_of")}
        entry.rendered = orjson.dumps(known)[1:-1]
    opening = _OPENINGS[answer.reason]
    return b'%s%s,"as_of":"%s"}' % (opening, entry.rendered, answer.as_of.encode())


_OPENINGS: Final = {
    code: b'{"valid":%s,"code":"%s",' % (b"true" if code is Code.VALID else b"false", code.value.encode())
    for code in Code
}


async def _questions(items: list[Any], caller: Principal) -> list[Question]:
    """What a batch asks, before any of it is decided; others have their turn in between, for parsing takes time."""
    questions: list[Question] = []
    for start in range(0, len(items), _TOGETHER):
        questions += [question(item, caller) for item in items[start : start + _TOGETHER]]
        await asyncio.sleep(0)
    return questions


def question(item: Any, caller: Principal) -> Question:
    """What one verification asks: the token, what it must meet, and the client's address."""
    if not isinstance(item, dict):
        raise InvalidInputError("a verification is an object", fix='Send {"key": "..."}.')
    if not item.keys() <= _MEMBERS:
        unknown = min(item.keys() - _MEMBERS)
        fix = f"Known are: {', '.join(sorted(_MEMBERS))}."
        raise InvalidInputError(f"unknown field {shown(unknown)}", field=unknown, fix=fix)
    token = _text(item, "key")
    if token is None:
        raise InvalidInputError("a verification names a key", field="key", fix='Send {"key": "..."}.')
    demand = _demand(caller.tenant, _text(item, "scope"), _text(item, "permissions"))
    ip = item.get("ip")
    return token, demand, None if ip is None else check_address(ip)


def _text(item: dict[str, Any], name: str) -> str | None:
    value = item.get(name)
    if value is not None and type(value) is not str:
        raise InvalidInputError(f"{name} is a string", field=name)
    return value


@lru_cache(maxsize=_MAX_DEMANDS)
def _demand(tenant: str, scope: str | None, permissions: str | None) -> Demand:
    named: KeyScope | None = None if scope is None else parse_scope(scope)
    return Demand.of(tenant=tenant, scope=named, permissions=permissions)


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise RefusedRequestError(
            400, "malformed_json", "the body is not JSON", "Send a JSON object."
        ) from None


def _items(parsed: Any) -> list[Any]:
    items = parsed.get("items") if isinstance(parsed, dict) and parsed.keys() == {"items"} else None
    if not isinstance(items, list) or not 1 <= len(items) <= MAX_BATCH:
        raise InvalidInputError(
            f"a batch has 1 to {MAX_BATCH} items", field="items", fix='Send {"items": [{"key": "..."}]}.'
        )
    return items
