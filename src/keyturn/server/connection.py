"""A connection on which plain verifications are answered at once.

Where a request is plain and nothing else is unfinished on its connection, it is answered in the callback in which its
last byte came, without a task or an ASGI scope. Anything else goes on to ASGI before a byte is written, so that answers
keep the order of their requests.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import uvicorn

from keyturn.server.bounded import IDLE_SECONDS, MAX_CONNECTIONS, BoundedConnection
from keyturn.server.exchange import address_of
from keyturn.server.problems import CONTENT_TYPE, INTERNAL

if TYPE_CHECKING:
    from asyncio import Transport
    from collections.abc import Coroutine

    from keyturn.server.dispatcher import Answer, Dispatcher

MAX_PLAIN_BYTES: Final = 16_384  # of a body that is answered here
STOP_SECONDS: Final = 10  # for requests under way when the server stops

# On every answer: any of them may hold a secret or a decision, and neither may be kept on the way.
_HEADERS: Final = [("cache-control", "no-store"), ("x-content-type-options", "nosniff")]
_NOT_PLAIN: Final = frozenset((b"transfer-encoding", b"upgrade", b"expect", b"connection"))

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
        self._default_headers: object = None
        self._start_of_answer = b""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._address = address_of(self.client)

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

    def _is_at_rest(self) -> bool:
        """Whether nothing is unfinished, in either direction."""
        return not (
            self._unclaimed
            or self._in_head
            or self._plain is not None
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
        answering = self._dispatcher.plain.get(self.url)
        if answering is None or self._is_busy() or self.flow.write_paused:
            return None
        length, authorization = -1, None
        for name, value in self.headers:
            if name == b"authorization":
                if authorization is not None:
                    return None
                authorization = value.decode("latin-1")
            elif name == b"content-length":
                length = int(value)
            elif name in _NOT_PLAIN:
                return None
        if not 0 <= length <= MAX_PLAIN_BYTES or self.parser.get_method() != b"POST":
            return None
        return answering(authorization or "") if self.parser.get_http_version() == "1.1" else None

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
        self._stop("head")
        self._answered.append(plain)
        self._send(plain, self._body)

    def _send(self, answering: Answer, body: bytes) -> None:
        try:
            answer = answering(self._address, body)
        except Exception:  # noqa: BLE001 - the last resort: a client never sees a traceback
            _log.exception("a verification failed")
            self._write(500, CONTENT_TYPE, INTERNAL)
            return
        if type(answer) is bytes:
            self.transport.write(b"%scontent-length: %d\r\n\r\n%s" % (self._opening(), len(answer), answer))
            self._idle_since = self.loop.time()
        else:
            self._go_on(cast("Coroutine[Any, Any, bytes]", answer))

    def _opening(self) -> bytes:
        """Status line and header fields of an answer: the same for a second, until uvicorn sets its clock."""
        fields = self.server_state.default_headers
        if fields is not self._default_headers:
            self._default_headers = fields
            fields = [*fields, (b"content-type", b"application/json")]
            self._start_of_answer = b"HTTP/1.1 200 OK\r\n" + b"".join(
                b"%s: %s\r\n" % field for field in fields
            )
        return self._start_of_answer

    def _go_on(self, answer: Coroutine[Any, Any, bytes]) -> None:
        """Let ASGI send what memory did not have; requests that come meanwhile queue behind it."""
        plain: Any = self.app
        self.app = cast(Any, self._dispatcher.sending(answer))
        self._to_asgi()
        self.app = plain
        BoundedConnection.on_message_complete(self)
