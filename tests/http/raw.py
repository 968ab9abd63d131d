"""HTTP/1.1 as bytes on a socket: what a client of a library never sends, and every byte of what comes back.

    ask(server.port, request("GET", "/livez")).json                       # one request on a connection of its own

    with Raw(server.port) as client:
        client.send(request("POST", "/v1/verify", b'{"key": ""}', key=caller) * 100)
        answers = [client.answer() for _ in range(100)]
        assert client.rest() == b""                                       # the server has closed it

Each answer is checked as it is read: it is framed as it says, and carries what every answer must.
"""

from __future__ import annotations

import json
import select
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

SECONDS: Final = 30.0  # for an answer on a busy machine
PROBLEM: Final = "application/problem+json"
PROBLEM_MEMBERS: Final = frozenset(("type", "title", "status", "detail", "code", "fix", "request_id"))
LONGEST_PROBLEM: Final = 2_048  # bytes: what was sent is not sent back

KEEP_ALIVE: Final = (
    ("Connection", "keep-alive"),
)  # says what is so anyway, and takes a request off the short way
CHUNKED: Final = (("Transfer-Encoding", "chunked"),)

_BODYLESS: Final = frozenset((204, 304))


class ClosedError(AssertionError):
    """The server ended the connection where an answer was due."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `fields` are in their order, with their names in lower case."""

    line: str
    fields: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def status(self) -> int:
        """The status code."""
        return int(self.line.split(" ", 2)[1])

    def all(self, name: str) -> list[str]:
        """The values of a field, in their order."""
        return [value for field, value in self.fields if field == name]

    def field(self, name: str) -> str | None:
        """The value of a field that may be there once."""
        values = self.all(name)
        assert len(values) <= 1, self.fields
        return values[0] if values else None

    @property
    def json(self) -> Any:
        """The JSON of the body, each member once."""
        return json.loads(self.body, object_pairs_hook=_object)

    @property
    def closes(self) -> bool:
        """Whether the answer says that the connection ends with it."""
        return self.field("connection") == "close"

    def ok(self, status: int = 200) -> Any:
        """The JSON of an answer that has this status."""
        assert self.status == status, (self.line, self.body[:500])
        assert self.field("content-type") in ("application/json", "application/jwk-set+json")
        return self.json

    def problem(self, status: int, code: str, *, field: str | None = None) -> dict[str, Any]:
        """The problem that the answer must be, whole and short; with `field`, it names that one."""
        found = self.any_problem()
        assert (self.status, found["code"]) == (status, code), found
        if field is not None:
            assert found["field"] == field, found
        return found

    def any_problem(self) -> dict[str, Any]:
        """The problem that the answer must be, of whatever kind."""
        assert 400 <= self.status < 600, (self.line, self.body[:500])
        assert self.field("content-type") == PROBLEM, (self.line, self.fields, self.body[:500])
        assert len(self.body) <= LONGEST_PROBLEM, self.body
        found = self.json
        # What is refused on a gateway's behalf is the same to the byte each time, and has no id.
        assert PROBLEM_MEMBERS - {"request_id"} <= found.keys() <= PROBLEM_MEMBERS | {"field"}, found
        assert all(isinstance(found[name], str) for name in found.keys() - {"status"}), found
        assert found["status"] == self.status
        assert found["title"] == self.line.split(" ", 2)[2]
        assert found.get("request_id") == self.field("x-request-id")
        assert found["type"] == f"urn:keyturn:problem:{found['code']}"
        assert all(found[name].strip() for name in ("code", "detail", "fix")), found
        assert "Traceback" not in found["detail"]
        return dict(found)

    def without(self, *names: str) -> Answer:
        """The same answer but for these fields, which differ from one time to the next."""
        return Answer(self.line, tuple(pair for pair in self.fields if pair[0] not in names), self.body)


def ready(found: socket.socket, events: int, seconds: float) -> tuple[bool, bool]:
    """Whether it can be read, or has ended, and whether it can be written to, once one of it is so or time is up.

    Not by `select.select`, which knows no descriptor above 1,023.
    """
    waiting = select.poll()
    waiting.register(found, events)
    happened = sum(event for _, event in waiting.poll(seconds * 1_000))
    return bool(happened & ~select.POLLOUT), bool(happened & select.POLLOUT)


class Raw:
    """A connection. Reading waits at most `seconds` for each piece of an answer."""

    def __init__(
        self, port: int, *, source: str | None = None, buffers: int | None = None, seconds: float = SECONDS
    ) -> None:
        """Connect, from another address of this machine with `source`, with kernel buffers of so many bytes."""
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.settimeout(seconds)
        if source is not None:
            self.socket.bind((source, 0))
        if buffers is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)  # all waiting is done by `ready`, in both directions at once
        self.sent = 0
        self.was_reset = False  # the connection, and not ended in order
        self._seconds = seconds
        self._received = bytearray()
        self._ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    # -- sending

    def send(self, data: bytes) -> Self:
        """Send all of it, reading meanwhile what comes: a server must not wait for us while we wait for it."""
        for _ in self.sending((data,)):
            pass
        assert not self._ended, (
            f"the server closed the connection; before that: {bytes(self._received[:500])!r}"
        )
        return self

    def send_until_closed(self, pieces: Iterable[bytes]) -> Self:
        """Send these one after the other until they end, or the server hears no more of them."""
        for _ in self.sending(pieces):
            pass
        return self

    def sending(self, pieces: Iterable[bytes]) -> Iterator[None]:
        """The same, with a pause for the caller after each write."""
        for piece in pieces:
            left = memoryview(piece)
            while left and not self._ended:
                readable, writable = ready(self.socket, select.POLLIN | select.POLLOUT, self._seconds)
                assert readable or writable, "the server neither reads nor closes"
                if readable:
                    self._receive()
                if writable and not self._ended:
                    try:
                        left = left[self._write(left) :]
                    except OSError:  # the server has closed: what it answered before is still to be read
                        return
                yield
            if self._ended:
                return

    def send_before_reading(self, data: bytes) -> Self:
        """Send all of it before anything is read, as most clients do; OSError where the server has closed."""
        left = memoryview(data)
        while left:
            _, writable = ready(self.socket, select.POLLOUT, self._seconds)
            assert writable, "the server does not read on"
            left = left[self._write(left) :]
        return self

    def send_what_goes_out(self, data: bytes) -> int:
        """Send what the kernel takes of it without waiting, and read nothing; how many bytes that were."""
        count = 0
        while count < len(data) and (written := self._write(memoryview(data)[count:])):
            count += written
        return count

    def go_on_sending(self, data: bytes) -> int:
        """Send what the kernel takes of `data`, from where the last call of this connection has left off."""
        at = self.sent % len(data)
        return self.send_what_goes_out(data[at:]) if at else self.send_what_goes_out(data)

    def _write(self, data: memoryview) -> int:
        try:
            count = self.socket.send(data[:1_048_576])
        except BlockingIOError:
            return 0
        self.sent += count
        return count

    def end(self) -> Self:
        """Say that nothing more will be sent."""
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def reset(self) -> None:
        """Drop the connection with a reset, as a client that crashed."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    # -- reading

    @property
    def is_silent(self) -> bool:
        """Whether nothing of an answer has come so far."""
        return not self._received and not ready(self.socket, select.POLLIN, 0)[0]

    @property
    def has_ended(self) -> bool:
        """Whether the end of the connection was read."""
        return self._ended

    def await_more(self) -> bool:
        """Wait for something to come; False where that is the end."""
        if not self._received:
            self._receive()
        return bool(self._received)

    def answer(self, method: str = "GET") -> Answer:
        """The next answer, to a request of this method; those with 1xx come with `interim`."""
        answer = self._one(method)
        assert answer.status >= 200, answer
        return check_every(answer)

    def interim(self) -> str:
        """The status line of an interim answer, which has neither fields nor a body."""
        answer = self._one("HEAD")
        assert 100 <= answer.status < 200
        assert not answer.fields
        return answer.line

    def last(self, method: str = "GET") -> Answer:
        """The next answer, which must say that it is the last one, and be it."""
        answer = self.answer(method)
        assert answer.closes, answer
        assert self.rest() == b""
        return answer

    def rest(self) -> bytes:
        """What comes until the server closes the connection."""
        while not self._ended:
            self._receive()
        rest = bytes(self._received)
        self._received.clear()
        return rest

    def _one(self, method: str) -> Answer:
        self._until(lambda: b"\r\n\r\n" in self._received)
        head, _, _ = bytes(self._received).partition(b"\r\n\r\n")
        del self._received[: len(head) + 4]
        line, *fields = head.decode("latin-1").split("\r\n")
        assert line.startswith("HTTP/1.1 "), line
        pairs = tuple((name.lower(), value.strip()) for name, _, value in (f.partition(":") for f in fields))
        answer = Answer(line, pairs, b"")
        if method == "HEAD" or answer.status < 200 or answer.status in _BODYLESS:
            return answer
        return Answer(line, pairs, self._body(answer))

    def _body(self, answer: Answer) -> bytes:
        if answer.field("transfer-encoding") == "chunked":
            return b"".join(iter(self._chunk, b""))
        length = answer.field("content-length")
        assert length is not None, answer
        return self._take(int(length))

    def _chunk(self) -> bytes:
        self._until(lambda: b"\r\n" in self._received)
        size = int(bytes(self._received).partition(b"\r\n")[0], 16)
        del self._received[: self._received.index(b"\r\n") + 2]
        chunk = self._take(size)
        assert self._take(2) == b"\r\n"
        return chunk

    def _take(self, count: int) -> bytes:
        self._until(lambda: len(self._received) >= count)
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken

    def _until(self, is_there: Callable[[], bool]) -> None:
        while not is_there():
            if self._ended:
                raise ClosedError(f"closed after {bytes(self._received)!r}")
            self._receive()

    def _receive(self) -> None:
        if not ready(self.socket, select.POLLIN, self._seconds)[0]:
            raise TimeoutError(
                f"nothing came for {self._seconds:.0f} s; before that: {bytes(self._received[:500])!r}"
            )
        try:
            data = self.socket.recv(1_048_576)
        except ConnectionResetError:
            data, self.was_reset = b"", True
        self._received += data
        self._ended = not data


def check_every(answer: Answer) -> Answer:
    """What holds of every answer: nothing may be kept on the way or guessed at, and nothing says what serves it."""
    # Key sets are for everybody, and may be kept; nobody else allows pages of other sites to read an answer.
    is_for_everybody = answer.field("access-control-allow-origin") == "*"
    kept = answer.field("cache-control") or ""
    assert kept.startswith("public, max-age=") if is_for_everybody else kept == "no-store", answer
    assert answer.field("x-content-type-options") == "nosniff", answer
    assert answer.field("server") is None, answer
    assert answer.field("date") is not None, answer
    return answer


def request(
    method: str,
    path: str,
    body: bytes | None = None,
    *,
    key: str | None = None,
    fields: Iterable[tuple[str, str]] = (),
    version: str = "1.1",
) -> bytes:
    """The bytes of a request; Content-Length comes from the body, and where there is one it is called JSON."""
    given = list(fields)
    names = {name.lower() for name, _ in given}
    lines = [f"{method} {path} HTTP/{version}", "Host: keyturn.test"]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    if body is not None and "content-type" not in names:
        lines.append("Content-Type: application/json")
    if body is not None and not names & {"content-length", "transfer-encoding"}:
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name}: {value}" for name, value in given]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def chunked(body: bytes, size: int = 65_536) -> bytes:
    """The body in chunks of this size, the last one included."""
    parts = (body[at : at + size] for at in range(0, len(body), size))
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def ask(port: int, data: bytes, *, source: str | None = None) -> Answer:
    """The answer to one request on a connection of its own."""
    method = data.partition(b" ")[0].decode("latin-1")
    with Raw(port, source=source) as client:
        return client.send_until_closed((data,)).answer(method)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    assert len(members) == len(pairs), f"a member is there twice: {[name for name, _ in pairs]}"
    return members
