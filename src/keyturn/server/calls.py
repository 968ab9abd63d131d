"""The call that is being answered: its id, who makes it, and what became of it.

Whatever is done for a call, in whichever thread, finds it by `current`: log lines and problems carry its id.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from keyturn.domain import token
from keyturn.verifier.entries import Entry

if TYPE_CHECKING:
    from keyturn.domain.verdict import Verification
    from keyturn.server.exchange import Message, Scope, Send

HEADER: Final = b"x-request-id"

_FIT: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_TOKENS: Final = re.compile(token.SCANNER_PATTERN)


class Call:
    """One request.

    Attributes:
        request_id: the client's own, or one that was made for it.
        actor: who makes the call, as `key:<key_id>`, and in which `tenant`; None where that is not known.
        status: of the answer; None where there is none yet.
        trace_id: of the trace that it belongs to; empty where nothing is traced.
    """

    __slots__ = ("actor", "request_id", "status", "tenant", "trace_id")

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.actor: str | None = None
        self.tenant: str | None = None
        self.status: int | None = None
        self.trace_id = ""


_CURRENT: Final[ContextVar[Call | None]] = ContextVar("keyturn_call", default=None)


def current() -> Call | None:
    """The call that is being answered here."""
    return _CURRENT.get()


def note_caller(verification: Verification) -> None:
    """Keep who makes the present call, for its line in the log, whether or not they may make it."""
    call, caller = _CURRENT.get(), verification.presented
    if call is not None and isinstance(caller, Entry) and verification:
        call.actor, call.tenant = f"key:{caller.key_id}", caller.tenant


@contextmanager
def answering(scope: Scope) -> Iterator[Call]:
    """The call that a request is, for as long as it is being answered; the present one where there is one."""
    call = _CURRENT.get()
    if call is not None:
        yield call
        return
    call = Call(request_id_of(scope))
    before = _CURRENT.set(call)
    try:
        yield call
    finally:
        _CURRENT.reset(before)


def request_id_of(scope: Scope) -> str:
    """The request's own id where it has one that may be written down, and else a new one."""
    sent = [value for name, value in scope["headers"] if name == HEADER]
    if len(sent) != 1 or not _FIT.fullmatch(sent[0]):
        return new_request_id()
    text = sent[0].decode()
    # What stands in the wrong place is often a key, and this will be in every log on the way.
    return new_request_id() if _TOKENS.search(text) else text


def new_request_id() -> str:
    """An id that nothing else has."""
    return secrets.token_hex(16)


def stamped(send: Send, call: Call) -> Send:
    """Sends the same, with the call's id in the answer's head, and notes the answer's status."""

    async def send_stamped(message: Message) -> None:
        if message["type"] == "http.response.start":
            call.status = message["status"]
            message["headers"] = [*message.get("headers", ()), (HEADER, call.request_id.encode())]
        await send(message)

    return send_stamped
