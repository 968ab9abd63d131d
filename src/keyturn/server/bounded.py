"""uvicorn's protocol class with bounds on all that a client can make it hold or wait for.

The class is internal to uvicorn, whose version is pinned; `tests/http/test_connection_contract.py` fails when what is
relied on here changes.
"""

from __future__ import annotations

from asyncio import TimerHandle, Transport
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, ClassVar, Final

import httptools
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from keyturn.server.calls import HEADER, new_request_id
from keyturn.server.exchange import MAX_DISCARDED_BYTES
from keyturn.server.problems import CONTENT_TYPE, encoded, problem

MAX_HEAD_BYTES: Final = 32_768  # request line and fields
MAX_FIELDS: Final = 100
# Each can make the server hold 60 to 150 KiB, as measured: a head taken apart, a short body, what is read and not yet
# taken apart, answers that are not taken. What is longer of a body has a bound of its own (`keyturn.server.bodies`).
MAX_CONNECTIONS: Final = 4_096
HEAD_SECONDS: Final = 10.0  # from a request's first byte to the end of its head
IDLE_SECONDS: Final = 75  # more than the 60 of common proxies: they should be the ones to close
STALLED_SECONDS: Final = 60.0  # without the client taking in an answer
FAREWELL_SECONDS: Final = 2.0  # in which a refused client may still send, and reads why it was refused

# What is parsed at once: requests that a client sends without waiting must not all be taken apart before the first is
# answered.
_SLICE: Final = 4_096
_OFFER: Final = frozenset((b"connection", b"upgrade", b"http2-settings"))


class _Flow(FlowControl):
    """Reading goes on only when nothing is left unparsed: whoever waits for a body has all of it by then."""

    has_unfed = False

    def resume_reading(self) -> None:
        if not self.has_unfed:
            super().resume_reading()


class BoundedConnection(HttpToolsProtocol):
    """A connection of one client, whose requests all go to ASGI."""

    most_connections: ClassVar[int] = MAX_CONNECTIONS
    flow: _Flow

    def __init__(self, config: uvicorn.Config, *more: Any, **named: Any) -> None:
        super().__init__(config, *more, **named)
        self._in_head = False
        self._in_body = False
        self._is_passed_on = False  # to ASGI: the request that is being received
        self._discarded = 0  # bytes of a body whose request was answered without it
        self._head_bytes = 0
        self._hosts = 0
        self._unclaimed = 0  # bytes since something was last complete: a head, a part of a body, a request
        self._unfed = b""
        self._is_deaf = False
        self._running: RequestResponseCycle | None = None
        self._idle_since = 0.0
        self._timers: dict[str, TimerHandle] = {}

    # -- the transport's calls ---------------------------------------------------------------------------------------

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _Flow(transport)
        if len(self.connections) > self.most_connections:
            transport.abort()
            return
        self._idle_since = self.loop.time()
        self._start("idle", IDLE_SECONDS, self._check_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._unfed = b""
        self.pipeline.clear()
        if self._running is not None and not self._running.response_complete:
            # uvicorn tells only the latest request, which may be one that waits for its turn.
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._unfed:
            self._unfed += data
        else:
            self._feed(data)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer what was asked by a client that has said all it has to say; asyncio closes where this is False.

        Over TLS it closes in any case, and would complain each time that it is asked not to.
        """
        if self._is_busy() and not self.cycle.more_body and self.scheme == "http":
            self._end_after_answer()
            return True
        return False

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start("stalled", STALLED_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop("stalled")

    def _feed(self, data: bytes) -> None:
        """Parse slice by slice, as long as no parsed request waits for its turn."""
        at = 0
        while at < len(data) and not self._is_deaf and self.parser is not None:
            if self.pipeline:
                self._unfed = data[at:]
                self.flow.has_unfed = True
                self.flow.pause_reading()
                return
            self._parse(data if len(data) <= _SLICE else data[at : at + _SLICE])
            at += _SLICE

    def _parse(self, data: bytes) -> None:
        self._unclaimed += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])
        except httptools.HttpParserError:
            self._refuse(
                400, "malformed_request", "this is not an HTTP request that can be answered", _NOT_HTTP
            )
        if self._unclaimed > MAX_HEAD_BYTES:
            self._refuse_head()
        elif self._is_in_a_hurry():
            self._start("head", HEAD_SECONDS, self._refuse_late)

    def _is_in_a_hurry(self) -> bool:
        """Whether what is being received must be complete within HEAD_SECONDS."""
        return self._in_head

    # -- the parser's calls ------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        # The scope, which costs as much as all the rest, is made where it is needed: see `_to_asgi`.
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._in_head = True
        self._is_passed_on = False
        self._head_bytes = 0
        self._hosts = 0

    def on_url(self, url: bytes) -> None:
        self.url += url
        self._head_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer: it comes after everything that it could change was decided
        name = name.lower()
        self.headers.append((name, value))
        self._head_bytes += len(name) + len(value)
        if name == b"host":
            self._hosts += 1
        if self._head_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_FIELDS:
            self._refuse_head()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._unclaimed = 0
        if self.parser.should_upgrade():
            return  # the parser ends here, and `_decline` begins anew
        self._in_body = True
        self._discarded = 0
        if self._hosts != 1 and self.parser.get_http_version() == "1.1":
            self._refuse(400, "malformed_request", "a request names one host", "Send one Host field.")
        if not self._is_deaf:
            self._begin_request()

    def _begin_request(self) -> None:
        """The head is complete, and the request may be answered."""
        self._stop("head")
        self._to_asgi()

    def _to_asgi(self) -> None:
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        for name, value in headers:
            super().on_header(name, value)
        super().on_headers_complete()  # which refuses a URL that is none
        self._is_passed_on = True

    def on_body(self, body: bytes) -> None:
        self._unclaimed = 0
        if self._is_deaf:
            return
        if not self.cycle.response_complete:
            super().on_body(body)
            return
        # Refused without its body, which the client goes on sending all the same: it is to see why, and has to end.
        self._discarded += len(body)
        if self._discarded > MAX_DISCARDED_BYTES:
            self._end_after_answer()

    def on_message_complete(self) -> None:
        self._unclaimed = 0
        self._in_body = False
        if not self._is_deaf and not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        self._idle_since = self.loop.time()
        if self._running is not None:
            self._running.body.clear()  # of which nobody will read any more
        super().on_response_complete()
        if self._unfed and not self.pipeline and not self.transport.is_closing():
            # Not from within the answer that was just sent: what is fed may be answered at once, in its frame.
            self.loop.call_soon(self._feed_on)

    def _feed_on(self) -> None:
        data, self._unfed = self._unfed, b""
        self.flow.has_unfed = False
        self._feed(data)
        self.flow.resume_reading()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _decline(self, rest: bytes) -> None:
        """Go on as if no other protocol had been offered: clients offer one with whole requests, bodies included.

        The parser takes what follows such an offer for the other protocol, so the request is given to a new one.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version()
        if method == b"CONNECT":
            self._refuse(405, "method_not_allowed", "this server is no proxy", "Send the request itself.")
            return
        head = b"%s %s HTTP/%s\r\n" % (method, self.url, version.encode())
        head += b"".join(b"%s: %s\r\n" % field for field in self.headers if field[0] not in _OFFER)
        asks_to_close = any(
            b"close" in value.lower() for name, value in self.headers if name == b"connection"
        )
        self.parser = httptools.HttpRequestParser(self)
        self._parse(head + (b"connection: close\r\n\r\n" if asks_to_close else b"\r\n") + rest)

    # -- refusing and ending -----------------------------------------------------------------------------------------

    def _is_busy(self) -> bool:
        """Whether a request that came earlier is not answered yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse_head(self) -> None:
        detail = f"the request's head has more than {MAX_HEAD_BYTES:,} bytes or {MAX_FIELDS} fields"
        self._refuse(431, "head_too_large", detail, "Send fewer or shorter header fields.")

    def _refuse_late(self) -> None:
        detail = f"the request did not arrive within {HEAD_SECONDS:.0f} s"
        self._refuse(408, "request_timeout", detail, "Send it faster.")

    def _refuse(self, status: int, code: str, detail: str, fix: str) -> None:
        """Answer a request that cannot be passed on, unless it was answered or earlier ones are not; then end."""
        if self._is_deaf or self.transport.is_closing():
            return
        is_answered = self._in_body and self._is_passed_on and not self._is_busy()
        if is_answered or (self._is_busy() and not self._takes_over()):
            self._end_after_answer()
            return
        self._is_deaf = True
        self._note_refusal(code)
        request_id = new_request_id()
        members = {**problem(status, code, detail, fix), "request_id": request_id}
        self._write(status, CONTENT_TYPE, encoded(members), request_id, b"connection: close\r\n")
        # Closed at once, with bytes of the client unread, TCP would reset and take the answer with it.
        self._start("farewell", FAREWELL_SECONDS, self.transport.close)
        if (
            self.transport.can_write_eof()
        ):  # not over TLS, whose clients close by themselves: the answer says so
            self.transport.write_eof()

    def _note_refusal(self, code: str) -> None:
        """A request is refused that no application sees."""

    def _takes_over(self) -> bool:
        """Take a request whose body turned out malformed away from the application; False where it is too late."""
        cycle = self.cycle
        if self.pipeline or not cycle.more_body or cycle.response_started:
            return False
        cycle.disconnected = True
        cycle.message_event.set()
        return True

    def _write(self, status: int, content_type: str, body: bytes, request_id: str, *more: bytes) -> None:
        """Send an answer that no application makes."""
        fields = [
            *self.server_state.default_headers,
            (b"content-type", content_type.encode()),
            (HEADER, request_id.encode()),
        ]
        head = STATUS_LINES[status] + b"".join(b"%s: %s\r\n" % field for field in fields)
        self.transport.write(b"%scontent-length: %d\r\n%s\r\n%s" % (head, len(body), b"".join(more), body))

    def _end_after_answer(self) -> None:
        """Hear nothing more, and close once what was asked before is answered."""
        self._is_deaf = True
        if self._is_busy():
            self.cycle.keep_alive = False
        else:
            self.transport.close()

    # -- time --------------------------------------------------------------------------------------------------------

    def _check_idle(self) -> None:
        left = self._idle_since + IDLE_SECONDS - self.loop.time()
        if self._is_busy() or self._is_in_a_hurry():
            left = IDLE_SECONDS  # these have bounds of their own
        if left <= 0:
            self.transport.close()
        else:
            self._start("idle", left, self._check_idle)

    def _start(self, name: str, seconds: float, ended: Callable[[], None]) -> None:
        if name not in self._timers:
            self._timers[name] = self.loop.call_later(seconds, self._ring, name, ended)

    def _stop(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def _ring(self, name: str, ended: Callable[[], None]) -> None:
        del self._timers[name]
        ended()


_NOT_HTTP: Final = "Send HTTP/1.1, with one Content-Length or chunks, and fields without control characters."
STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) for status in HTTPStatus
}
