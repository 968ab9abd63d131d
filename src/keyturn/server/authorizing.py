"""`/v1/authorize`: whether a request may pass a gateway, asked before the gateway passes it on.

nginx `auth_request`, Envoy `ext_authz`, HAProxy, Traefik and Caddy ask with the client's own header fields, and look at
the status. So two callers are in one request: the gateway, by `Keyturn-Gateway-Key`, and its client, by `Authorization`
or `X-API-Key`. What goes wrong with the former has a code that begins with `gateway_`.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Mapping
from time import perf_counter
from typing import Any, Final, NamedTuple

from keyturn.domain.verdict import Verification
from keyturn.errors import IntegrityError, InvalidInputError, KeyturnError, StaleError, UnauthenticatedError
from keyturn.server.deciding import ANY_TENANT, Decider, principal_of
from keyturn.server.exchange import Field, Receive, Scope, Send, skip_body
from keyturn.server.gateway_answers import Reply, answer_to, refusal, reply_to, send_reply
from keyturn.server.measured import Measured
from keyturn.server.problems import headers_of, status_of
from keyturn.server.proxies import forwarded_client_of, peer_of
from keyturn.server.requiring import demand_of
from keyturn.server.verifying import PERMISSION
from keyturn.serving.bearer import bearer_in
from keyturn.serving.refusals import NO_KEY, TWO_KEYS, Refusal
from keyturn.verifier.decision import Demand
from keyturn.verifier.entries import Entry
from keyturn.verifier.verifier import Miss, Verifier

AUTHORIZE: Final = "/v1/authorize"
MAX_BODY_BYTES: Final = 1_048_576  # read and thrown away: gateways are told not to send any

MAX_GATEWAYS: Final = 256  # known by their keys; beyond it they are looked up again

GATEWAY_KEY: Final = b"keyturn-gateway-key"
REQUIRE: Final = b"keyturn-require"
AUTHORIZATION: Final = b"authorization"
API_KEY: Final = b"x-api-key"
_READ: Final = frozenset((GATEWAY_KEY, REQUIRE, AUTHORIZATION, API_KEY))
_FIX_GATEWAY: Final = (
    "Have the gateway send a provisioning key that holds keys.verify, as Keyturn-Gateway-Key."
)


class _RefusedError(Exception):
    """A request that is answered before the client's key is decided on."""

    def __init__(self, code: str, reply: Reply) -> None:
        super().__init__()
        self.code = code
        self.reply = reply


class AuthorizeEndpoint:
    """Answers gateways whose key holds `keys.verify`."""

    def __init__(self, *, verifier: Verifier, decider: Decider, measured: Measured) -> None:
        self._verifier = verifier
        self._decider = decider
        self._measured = measured
        # Gateways ask again and again: whether one may need not be looked up each time, only whether that still holds.
        self._gateways: dict[str, Entry] = {}

    async def authorize(self, scope: Scope, receive: Receive, send: Send) -> None:
        """200, or why not; whatever the method, and without regard to a body."""
        await skip_body(scope, receive, MAX_BODY_BYTES)
        # Gateways put the client's path and query behind theirs: only on the exact path is the query the gateway's.
        query = scope["query_string"] if scope["path"] == AUTHORIZE else b""
        # The gateway's address is not its client's: without a trusted proxy's word the latter is not known.
        answer = self.answer(scope["headers"], query, peer_of(scope), forwarded_client_of(scope))
        await send_reply(send, answer if isinstance(answer, Reply) else await answer)

    def answer(
        self, headers: Iterable[Field], query: bytes, peer: str | None, client: str | None
    ) -> Reply | Coroutine[Any, Any, Reply]:
        """The answer where memory has it, otherwise what fetches it.

        Args:
            headers: the request's fields, their names in lower case.
            query: what the gateway itself asks for by the query.
            peer: the gateway's address.
            client: the client's address, where it is known.
        """
        try:
            fields = _fields(headers)
            key = fields.get(GATEWAY_KEY)
            if not key:
                raise _gateway_refused(UnauthenticatedError("it carries no key of a gateway"))
            asked = _Asked(fields, query, client)
            known = self._gateways.get(key)
            caller = Miss.COLD if known is None else self._verifier.decide_again(known, ANY_TENANT, peer)
            if caller is Miss.COLD:
                caller = self._verifier.decide(key, ANY_TENANT, peer)
            if isinstance(caller, Miss):
                return self._know_gateway(caller, key, peer, asked)
            return self._answer(self._gateway(caller, key), asked)
        except _RefusedError as refused:
            return self._counted(refused)

    def _counted(self, refused: _RefusedError) -> Reply:
        self._measured.refused.add(refused.code)
        return refused.reply

    async def _know_gateway(self, miss: Miss, key: str, peer: str | None, asked: _Asked) -> Reply:
        began = perf_counter()
        try:
            caller = await self._decider.resolve(miss, key, ANY_TENANT, peer)
            answer = self._answer(self._gateway(caller, key), asked, began)
        except _RefusedError as refused:
            return self._counted(refused)
        return answer if isinstance(answer, Reply) else await answer

    def _gateway(self, caller: Verification, key: str) -> Entry:
        """What is kept of a gateway's own key, when it may ask."""
        gateway = caller.presented
        if caller and gateway is self._gateways.get(key) and isinstance(gateway, Entry):
            return gateway
        gateway = _permitted(caller)
        if len(self._gateways) >= MAX_GATEWAYS:
            self._gateways.clear()
        self._gateways[key] = gateway
        return gateway

    def _answer(
        self, gateway: Entry, asked: _Asked, began: float | None = None
    ) -> Reply | Coroutine[Any, Any, Reply]:
        """The decision on the client's key, for a gateway that may ask; `began` where that had to be waited for."""
        try:
            required = asked.fields.get(REQUIRE)
            demand = demand_of(gateway.tenant, gateway.profile, required, asked.query)
        except InvalidInputError as error:
            detail = f"what the gateway requires: {error}"
            raise _refused(400, "gateway_requirement", detail, error.fix) from None
        token = _credential(asked.fields)
        outcome = self._verifier.decide(token, demand, asked.client)
        if isinstance(outcome, Miss):
            began = perf_counter() if began is None else began
            return self._know_client(outcome, token, demand, asked.client, began)
        return self._decided(outcome, began)

    async def _know_client(
        self, miss: Miss, token: str, demand: Demand, client: str | None, began: float
    ) -> Reply:
        return self._decided(await self._decider.resolve(miss, token, demand, client), began)

    def _decided(self, verification: Verification, began: float | None) -> Reply:
        self._measured.verdicts["authorize"][verification.reason] += 1
        if began is not None:
            self._measured.waited["authorize"].observe(perf_counter() - began)
        return answer_to(verification)


class _Asked(NamedTuple):
    """What a gateway's request says, beside whose it is."""

    fields: Mapping[bytes, str]
    query: bytes
    client: str | None


def _permitted(caller: Verification) -> Entry:
    """What is kept of a key, when it is a gateway's."""
    try:
        principal_of(caller, PERMISSION)
    except (StaleError, IntegrityError) as error:
        raise _refused(status_of(error), error.code, str(error), error.fix, headers_of(error)) from None
    except KeyturnError as error:
        raise _gateway_refused(error) from None
    assert isinstance(caller.presented, Entry)
    return caller.presented


def _gateway_refused(error: KeyturnError) -> _RefusedError:
    headers, fix = headers_of(error), error.fix
    if isinstance(error, UnauthenticatedError):
        headers = {"WWW-Authenticate": 'Keyturn-Gateway realm="keyturn"'}  # a client has no answer to it
        fix = _FIX_GATEWAY
    detail = f"the gateway's own call: {error}"
    return _refused(status_of(error), f"gateway_{error.code}", detail, fix, headers)


def _fields(headers: Iterable[Field]) -> dict[bytes, str]:
    """The fields that are read here; one that is there twice is refused: which one counts?"""
    read = [(name, value.decode("latin-1").strip(" \t")) for name, value in headers if name in _READ]
    fields = dict(read)
    if len(fields) < len(read):
        twice = next(name for name in fields if [field for field, _ in read].count(name) > 1)
        detail = f"the {twice.decode().title()} header is there twice"
        raise _refused(400, "duplicate_header", detail, "Send it once.")
    return fields


def _credential(fields: Mapping[bytes, str]) -> str:
    """The client's key, from either field."""
    bearer = bearer_in(fields.get(AUTHORIZATION, ""))
    api_key = fields.get(API_KEY)
    if bearer is not None and api_key is not None and bearer != api_key:
        raise _of_client(TWO_KEYS)
    found = api_key if bearer is None else bearer
    if not found:
        raise _of_client(NO_KEY)
    return found


def _of_client(refused: Refusal) -> _RefusedError:
    return _RefusedError(refused.code, reply_to(refused))


def _refused(
    status: int, code: str, detail: str, fix: str, headers: Mapping[str, str] | None = None
) -> _RefusedError:
    return _RefusedError(code, refusal(status, code, detail, fix, headers or {}))
