"""A connection on which plain verifications, and gateways' plain questions, are answered at once.

Where a request is plain and nothing else is unfinished on its connection, it is answered in the callback in which its
last byte came, without a task or an ASGI scope. Anything else goes on to ASGI before a byte is written, so that answers
keep the order of their requests.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import uvicorn

from keyturn.server.bounded import IDLE_SECONDS, MAX_CONNECTIONS, STATUS_LINES, BoundedConnection
from keyturn.server.calls import new_request_id
from keyturn.server.exchange import CACHE_CONTROL, address_of, leave_caching_to
from keyturn.server.gateway_answers import Reply
from keyturn.server.problems import CONTENT_TYPE, INTERNAL, encoded
from keyturn.server.proxies import FORWARDED_FOR

if TYPE_CHECKING:
    from asyncio import Transport
    from collections.abc import Callable, Coroutine

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from keyturn.server.dispatcher import Answer, Dispatcher, Found
    from keyturn.server.exchange import Scope

MAX_PLAIN_BYTES: Final = 16_384  # of a body that is answered here
STOP_SECONDS: Final = 10  # for requests under way when the server stops

# On every answer: any of them may hold a secret or a decision, and neither may be kept on the way. Who answers with
# what everybody may keep says so (`with_own_caching`).
_HEADERS: Final = [(CACHE_CONTROL.decode(), "no-store"), ("x-content-type-options", "nosniff")]
_NOT_PLAIN: Final = frozenset((b"transfer-encoding", b"upgrade", b"expect", b"connection"))

_FOUND: Final = STATUS_LINES[200] + b"%scontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"

_log = logging.getLogger("keyturn.http")


def uvicorn_config(
    application: Dispatcher, *, host: str, port: int, most_connections: int = MAX_CONNECTIONS
) -> uvicorn.Config:
    """How uvicorn is to serve: our protocol class, our logging, and no header that a client could forge."""
    return uvicorn.Config(
        application,
        host=host,
        port=port,
        http=type("Connection", (Connection,), {"most_connections": most_connections}),
        ws="none",
        interface="asgi3",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        headers=_HEADERS,
        reset_contextvars=True,  # a request that waited for its turn is begun while another one is being answered
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )


class _Known(NamedTuple):
    """A head that was found plain, as its bytes, the size of its request, and what answers it."""

    head: bytes
    size: int
    answer: Answer


class Connection(BoundedConnection):
    """A connection of one client."""

    def __init__(self, config: uvicorn.Config, *more: Any, **named: Any) -> None:
        super().__init__(config, *more, **named)
        self._dispatcher = cast("Dispatcher", config.app)
        self._plain: Answer | None = None  # what answers the request that is being received
        self._body = b""
        self._answered: list[Answer] = []  # in what is being parsed
        self._known: _Known | None = None
        self._address: str | None = None
        self._not_plain = _NOT_PLAIN
        self._default_headers: object = None
        self._default_bytes = b""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._address = address_of(self.client)
        if self._dispatcher.proxies.trusts(self._address):
            self._not_plain |= {FORWARDED_FOR}  # which says that the request is another's

    def data_received(self, data: bytes) -> None:
        known = self._known
        # Clients send the same head again and again: the same bytes need not be taken apart again.
        if (
            known is not None
            and len(data) == known.size
            and data.startswith(known.head)
            and self._is_at_rest()
        ):
            self._unset_keepalive_if_required()
            self._send(known.answer, data[len(known.head) :])
            return
        is_whole = self._is_at_rest()
        super().data_received(data)
        if is_whole and len(self._answered) == 1 and self._is_at_rest():
            self._remember(data)
        self._answered.clear()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        def own_caching() -> None:
            cycle.default_headers = [field for field in cycle.default_headers if field[0] != CACHE_CONTROL]

        leave_caching_to(cast("Scope", cycle.scope), own_caching)
        super()._start_asgi_task(cycle, app)

    def _is_at_rest(self) -> bool:
        """Whether nothing is unfinished, in either direction."""
        return not (
            self._unclaimed
            or self._in_head
            or self._in_body
            or self._unfed
            or self._is_deaf
            or self.flow.write_paused
            or (self.cycle is not None and not self.cycle.response_complete)
        )

    def _remember(self, data: bytes) -> None:
        """Keep the head of the one request that `data` was."""
        head = data[: len(data) - len(self._body)]
        if head.endswith(b"\r\n\r\n"):
            self._known = _Known(head, len(data), self._answered[0])

    def _note_refusal(self, code: str) -> None:
        self._dispatcher.measured.refused.add(code)

    def _is_in_a_hurry(self) -> bool:
        return self._in_head or self._plain is not None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._known = None  # what the parser knows is of another request from here on

    def _begin_request(self) -> None:
        self._plain, self._body = self._as_plain(), b""
        if self._plain is None:
            super()._begin_request()

    def _as_plain(self) -> Answer | None:
        """What answers the request, if it may be answered here."""
        if self._is_busy() or self.flow.write_paused or self.parser.get_http_version() != "1.1":
            return None
        answering = self._dispatcher.plain.get(self.url)
        if answering is None:
            return self._as_plain_question()
        return self._as_plain_post(answering) if self.parser.get_method() == b"POST" else None

    def _as_plain_question(self) -> Answer | None:
        """What answers a gateway, which asks with its client's method and without a body."""
        for name, value in self.headers:
            if name in _NOT_PLAIN or (name == b"content-length" and value != b"0"):
                return None
        # To a HEAD the answer has no body; what a fragment means, which no request has, is for uvicorn to say.
        if self.parser.get_method() == b"HEAD" or b"#" in self.url:
            return None
        return self._dispatcher.plain_question(self.url, self.headers, self._address)

    def _as_plain_post(self, answering: Callable[[str], Answer]) -> Answer | None:
        length, authorization = -1, None
        for name, value in self.headers:
            if name == b"authorization":
                if authorization is not None:
                    return None
                authorization = value.decode("latin-1")
            elif name == b"content-length":
                length = int(value)
            elif name in self._not_plain:
                return None
        return answering(authorization or "") if 0 <= length <= MAX_PLAIN_BYTES else None

    def on_body(self, body: bytes) -> None:
        if self._plain is None:
            super().on_body(body)
        else:
            self._unclaimed = 0
            self._body += body

    def on_message_complete(self) -> None:
        plain, self._plain = self._plain, None
        if plain is None:
            super().on_message_complete()
            return
        self._unclaimed = 0
        self._in_body = False
        self._stop("head")
        self._answered.append(plain)
        self._send(plain, self._body)

    def _send(self, answering: Answer, body: bytes) -> None:
        try:
            answer = answering(self._address, body)
        except Exception:  # noqa: BLE001 - the last resort: a client never sees a traceback
            request_id = new_request_id()
            _log.exception("a verification failed", extra={"request_id": request_id})
            self._write(500, CONTENT_TYPE, encoded({**INTERNAL, "request_id": request_id}), request_id)
            return
        if type(answer) is bytes:
            self.transport.write(_FOUND % (self._defaults(), len(answer), answer))
            self._idle_since = self.loop.time()
        elif type(answer) is Reply:
            line = STATUS_LINES[answer.status]
            self.transport.write(b"%s%s%s\r\n%s" % (line, self._defaults(), answer.head, answer.body))
            self._idle_since = self.loop.time()
        else:
            self._go_on(cast("Coroutine[Any, Any, Found]", answer))

    def _defaults(self) -> bytes:
        """Header fields of every answer: the same for a second, until uvicorn sets its clock."""
        fields = self.server_state.default_headers
        if fields is not self._default_headers:
            self._default_headers = fields
            self._default_bytes = b"".join(b"%s: %s\r\n" % field for field in fields)
        return self._default_bytes

    def _go_on(self, answer: Coroutine[Any, Any, Found]) -> None:
        """Let ASGI send what memory did not have; requests that come meanwhile queue behind it."""
        plain: Any = self.app
        self.app = cast(Any, self._dispatcher.sending(answer))
        self._to_asgi()
        self.app = plain
        BoundedConnection.on_message_complete(self)
