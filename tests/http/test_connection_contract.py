"""What `keyturn.server.bounded` and `connection` rely on in uvicorn and httptools, which promise none of it.

A change there fails here, by the name of what changed, before it fails somewhere else by accident.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import tomllib
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, cast

import httptools
import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import Server, ServerState

from keyturn.server import bounded, connection
from keyturn.server.bounded import BoundedConnection
from keyturn.server.connection import Connection, uvicorn_config

PROJECT: Final = Path(__file__).parents[2] / "pyproject.toml"

# What both classes define, and of it what uvicorn has too, as 0.54.0 has it.
OURS: Final = {**vars(BoundedConnection), **vars(Connection)}
OVERRIDDEN: Final = {
    "__init__": "(self, config, server_state, app_state, _loop=None)",
    "connection_made": "(self, transport)",
    "connection_lost": "(self, exc)",
    "data_received": "(self, data)",
    "eof_received": "(self)",
    "pause_writing": "(self)",
    "resume_writing": "(self)",
    "on_message_begin": "(self)",
    "on_url": "(self, url)",
    "on_header": "(self, name, value)",
    "on_headers_complete": "(self)",
    "on_body": "(self, body)",
    "on_message_complete": "(self)",
    "on_response_complete": "(self)",
    "_start_asgi_task": "(self, cycle, app)",
}
# What is called on others, or set on them, beside what `uses` finds in the source.
CYCLE: Final = (
    "disconnected",
    "keep_alive",
    "message_event",
    "more_body",
    "response_complete",
    "response_started",
)
PARSER: Final = ("feed_data", "get_http_version", "get_method")


class Transport(asyncio.Transport):
    """One that goes nowhere, and tells what happened to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self._reading = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"sockname": ("127.0.0.1", 8700), "peername": ("127.0.0.1", 50_000)}.get(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True

    def is_reading(self) -> bool:
        return self._reading


Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


async def answer(send: Send, body: bytes = b"ok") -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Stock:
    """uvicorn's own protocol class over an application, on a transport that goes nowhere."""

    def __init__(self, application: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        config = uvicorn.Config(
            cast(Any, application), log_config=None, lifespan="off", http=HttpToolsProtocol
        )
        self.state = ServerState()
        self.transport = Transport()
        self.protocol = HttpToolsProtocol(config, self.state, {})
        self.protocol.connection_made(self.transport)

    def is_answered(self) -> bool:
        """Whether the request that came last has its answer."""
        return self.protocol.cycle.response_complete

    async def settled(self) -> None:
        """Let every task go as far as it can."""
        for _ in range(20):
            await asyncio.sleep(0)


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 10))


# -- versions and signatures ------------------------------------------------------------------------------------------


def test_the_installed_uvicorn_is_the_one_that_the_project_names() -> None:
    dependencies = tomllib.loads(PROJECT.read_text())["project"]["dependencies"]
    pinned = [text.partition("==")[2] for text in dependencies if text.startswith("uvicorn==")]
    assert pinned == [version("uvicorn")]
    assert uvicorn.__version__ == version("uvicorn")


def test_what_is_overridden_is_there_with_the_same_parameters() -> None:
    overridden = {name for name, value in OURS.items() if inspect.isfunction(value)}
    assert {name for name in overridden if hasattr(HttpToolsProtocol, name)} == OVERRIDDEN.keys()
    for name, expected in OVERRIDDEN.items():
        parameters = inspect.signature(getattr(HttpToolsProtocol, name)).parameters.values()
        bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in parameters]
        assert str(inspect.Signature(bare)) == expected, name


def test_what_connection_names_its_own_does_not_hide_anything_of_uvicorns() -> None:
    ours = {name for name in OURS if name not in OVERRIDDEN and not name.startswith("__")}
    ours |= {name for name in _set_on_self() if name.startswith("_")}
    with stock_protocol() as protocol:
        assert {name for name in ours if hasattr(protocol, name)} == set()


def test_a_protocol_is_made_with_the_arguments_that_connection_passes_on() -> None:
    made = inspect.getsource(Server.startup)
    for argument in (
        "config=config",
        "server_state=self.server_state",
        "app_state=self.lifespan.state",
        "_loop=_loop",
    ):
        assert argument in made
    config = uvicorn_config(cast(Any, idle), host="127.0.0.1", port=0)
    config.load()
    assert issubclass(config.http_protocol_class, Connection)
    assert config.ws_protocol_class is None
    assert config.loaded_app is idle, (
        "no middleware of uvicorn's lies between: plain and sending are looked up on it"
    )
    assert dict(config.encoded_headers) == {
        b"cache-control": b"no-store",
        b"x-content-type-options": b"nosniff",
    }


async def idle(scope: Scope, receive: Receive, send: Send) -> None:
    """Do nothing at all."""


# -- attributes -------------------------------------------------------------------------------------------------------


@contextmanager
def stock_protocol() -> Iterator[HttpToolsProtocol]:
    """A protocol of uvicorn's that has begun its first request."""
    loop = asyncio.new_event_loop()
    try:
        config = uvicorn.Config(cast(Any, idle), log_config=None, lifespan="off")
        protocol = HttpToolsProtocol(config, ServerState(), {}, loop)
        protocol.connection_made(Transport())
        protocol.on_message_begin()
        yield protocol
    finally:
        loop.close()


def _nodes() -> Iterator[ast.AST]:
    """The source of both classes."""
    for module in (bounded, connection):
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.ClassDef) and node.name in (
                BoundedConnection.__name__,
                Connection.__name__,
            ):
                yield from ast.walk(node)


def _named(node: ast.expr) -> str | None:
    """`self.x` as "x", `self.x.y` as "x.y"; None for anything else."""
    if isinstance(node, ast.Attribute):
        if isinstance(node.value, ast.Name) and node.value.id == "self":
            return node.attr
        within = _named(node.value)
        return None if within is None else f"{within}.{node.attr}"
    return None


def uses() -> set[str]:
    """Everything that the class takes from itself, and from what it has."""
    return {name for node in _nodes() if isinstance(node, ast.expr) and (name := _named(node))}


def _set_on_self() -> set[str]:
    targets: list[ast.expr] = []
    for node in _nodes():
        if isinstance(node, ast.Assign):
            targets += node.targets
        elif isinstance(node, (ast.AnnAssign, ast.AugAssign)):
            targets.append(node.target)
    flat = [
        each for target in targets for each in (target.elts if isinstance(target, ast.Tuple) else [target])
    ]
    return {name for target in flat if (name := _named(target)) and "." not in name}


def test_every_attribute_that_connection_uses_is_there() -> None:
    ours = set(OURS) | {name for name in _set_on_self() if name.startswith("_")}
    foreign = {
        name for name in uses() if name.partition(".")[0] not in ours or name.partition(".")[0] in OVERRIDDEN
    }
    assert len(foreign) > 10, "the source is not read as it should be"
    with stock_protocol() as protocol:
        for name in sorted(foreign):
            # Its own flow control is what Connection puts there.
            is_flow = name.startswith("flow.")
            owner: Any = bounded._Flow(Transport()) if is_flow else protocol
            for part in name.removeprefix("flow.").split("."):
                if owner is None and name.startswith("cycle."):
                    assert part in CYCLE  # there is none before the first head is complete
                    break
                assert hasattr(owner, part), name
                owner = getattr(owner, part)


def test_what_connection_sets_of_uvicorns_is_uvicorns() -> None:
    assert {name for name in _set_on_self() if not name.startswith("_")} == {
        "app",
        "expect_100_continue",
        "flow",
        "headers",
        "parser",
        "url",
    }


def test_a_cycle_has_what_connection_asks_of_it() -> None:
    async def scene() -> None:
        stock = Stock(idle)
        stock.protocol.data_received(b"GET / HTTP/1.1\r\n\r\n")
        cycle = stock.protocol.cycle
        assert type(cycle) is RequestResponseCycle
        for name in CYCLE:
            assert hasattr(cycle, name), name
        assert (cycle.response_started, cycle.response_complete, cycle.disconnected) == (False, False, False)
        assert cycle.more_body is False
        await stock.settled()

    run(scene())


def test_a_parser_has_what_connection_asks_of_it() -> None:
    for name in PARSER:
        assert callable(getattr(httptools.HttpRequestParser, name))
    assert issubclass(httptools.HttpParserCallbackError, httptools.HttpParserError)
    assert not issubclass(httptools.HttpParserUpgrade, httptools.HttpParserError) or (
        # In this order they are caught.
        inspect.getsource(Connection._parse).index("HttpParserUpgrade")
        < inspect.getsource(Connection._parse).index("HttpParserError")
    )


def test_flow_control_is_all_that_holds_the_reading() -> None:
    """Connection puts its own in the place of uvicorn's, which then must be the only one."""
    assert {"pause_reading", "resume_reading", "pause_writing", "resume_writing", "drain"} <= set(
        vars(FlowControl)
    )
    assert list(inspect.signature(FlowControl).parameters) == ["transport"]
    transport = Transport()
    flow = asyncio.run(_made(FlowControl, transport))
    assert (flow.read_paused, flow.write_paused) == (False, False)
    flow.pause_reading()
    assert (flow.read_paused, transport.is_reading()) == (True, False)
    flow.resume_reading()
    assert (flow.read_paused, transport.is_reading()) == (False, True)
    source = inspect.getsource(HttpToolsProtocol) + inspect.getsource(RequestResponseCycle)
    assert "transport.pause_reading" not in source
    assert "transport.resume_reading" not in source


async def _made(kind: type[FlowControl], transport: Transport) -> FlowControl:
    return kind(transport)


# -- the parser's order -----------------------------------------------------------------------------------------------


class Recorder:
    """Notes what the parser calls, in its order."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.parser = httptools.HttpRequestParser(self)

    def on_message_begin(self) -> None:
        self.calls.append("begin")

    def on_url(self, url: bytes) -> None:
        self.calls.append(("url", url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self.calls.append((name, value))

    def on_headers_complete(self) -> None:
        parser = self.parser
        self.calls.append(
            ("head", parser.get_method(), parser.get_http_version(), parser.should_keep_alive())
        )

    def on_body(self, body: bytes) -> None:
        self.calls.append(("body", body))

    def on_message_complete(self) -> None:
        self.calls.append(("complete", self.parser.should_keep_alive()))

    def heard(self, *pieces: bytes) -> list[Any]:
        for piece in pieces:
            self.parser.feed_data(piece)
        return self.calls


def test_requests_are_told_one_after_the_other_each_from_its_beginning_to_its_end() -> None:
    one = b"POST /a HTTP/1.1\r\nA: b\r\nContent-Length: 2\r\n\r\nhi"
    expected = ["begin", ("url", b"/a"), (b"A", b"b"), (b"Content-Length", b"2"), ("head", b"POST", "1.1", True),
                ("body", b"hi"), ("complete", True)]  # fmt: skip
    assert Recorder().heard(one * 2) == expected * 2
    assert Recorder().heard(b"\r\n" + one) == expected, "empty lines before a request begin none"


def test_a_field_is_told_once_and_whole_wherever_it_was_cut() -> None:
    request = b"GET /path HTTP/1.1\r\nName: value\r\nNone:\r\n\r\n"
    for at in range(1, len(request)):
        calls = Recorder().heard(request[:at], request[at:])
        assert [call for call in calls if call[0] in (b"Name", b"None")] == [
            (b"Name", b"value"),
            (b"None", b""),
        ]
        assert b"".join(call[1] for call in calls if call[0] == "url") == b"/path"
        assert calls[-1] == ("complete", True)


def test_trailers_are_told_between_the_body_and_the_end_and_never_with_the_next_request() -> None:
    chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: y\r\nZ: w\r\n\r\n"
    calls = Recorder().heard(chunked + b"GET / HTTP/1.1\r\nA: b\r\n\r\n")
    assert calls[2:] == [
        (b"Transfer-Encoding", b"chunked"), ("head", b"POST", "1.1", True), ("body", b"hi"), (b"X", b"y"), (b"Z", b"w"),
        ("complete", True), "begin", ("url", b"/"), (b"A", b"b"), ("head", b"GET", "1.1", True), ("complete", True),
    ]  # fmt: skip


def test_an_upgrade_is_raised_after_the_end_of_its_request() -> None:
    recorder = Recorder()
    request = b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n"
    with pytest.raises(httptools.HttpParserUpgrade):
        recorder.heard(request + b"anything")
    assert recorder.calls[-2:] == [("head", b"GET", "1.1", True), ("complete", True)]


@pytest.mark.parametrize(
    "data",
    [
        b"\x00",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nA\r\n\r\n",
    ],
)
def test_what_is_no_request_is_an_error_of_the_parser(data: bytes) -> None:
    with pytest.raises(httptools.HttpParserError):
        Recorder().heard(data)


def test_an_error_in_a_callback_is_an_error_of_the_parser() -> None:
    class Stumbling(Recorder):
        def on_headers_complete(self) -> None:
            raise ValueError("a path that is none")

    with pytest.raises(httptools.HttpParserCallbackError):
        Stumbling().heard(b"GET / HTTP/1.1\r\n\r\n")


def test_a_length_is_a_number_when_it_reaches_connection() -> None:
    """It is read with `int`, which would take signs, spaces, underscores and digits of other scripts."""
    for text in (b"+1", b"-1", b"1_0", b" 1 1", b"0x1", b"\xd9\xa1", b"1.0"):
        with pytest.raises(httptools.HttpParserError):
            Recorder().heard(b"POST / HTTP/1.1\r\nContent-Length: " + text + b"\r\n\r\n")


# -- uvicorn's behaviour ----------------------------------------------------------------------------------------------


def test_a_request_is_given_to_the_application_that_is_set_when_its_head_is_complete() -> None:
    """`_go_on` sets another one for the time of the call."""

    async def scene() -> None:
        called: list[str] = []

        async def first(scope: Scope, receive: Receive, send: Send) -> None:
            called.append("first")
            await answer(send)

        async def second(scope: Scope, receive: Receive, send: Send) -> None:
            called.append("second")
            await answer(send)

        stock = Stock(first)
        protocol = stock.protocol
        plain: Any = protocol.app
        protocol.on_message_begin()
        protocol.on_url(b"/")
        # As in `_go_on`: the body is in, and the head is declared complete only now.
        protocol.app = cast(Any, second)
        protocol.on_headers_complete()
        protocol.app = plain
        protocol.on_message_complete()
        assert protocol.cycle.more_body is False
        await stock.settled()
        assert called == ["second"]
        assert stock.is_answered()
        assert stock.transport.written.endswith(b"ok")

    run(scene())


def test_requests_that_come_while_one_is_answered_queue_and_reading_stops() -> None:
    async def scene() -> None:
        release = asyncio.Event()
        began: list[str] = []

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            began.append(scope["path"])
            await release.wait()
            await answer(send, scope["path"].encode())

        stock = Stock(application)
        protocol = stock.protocol
        protocol.data_received(b"".join(b"GET /%d HTTP/1.1\r\n\r\n" % number for number in range(4)))
        await stock.settled()
        assert began == ["/0"]
        assert len(protocol.pipeline) == 3
        assert (protocol.flow.read_paused, stock.transport.is_reading()) == (True, False)
        assert protocol.cycle.scope["path"] == "/3", (
            "`cycle` is the request that came last, not the one that runs"
        )
        assert not stock.is_answered()
        release.set()
        await stock.settled()
        assert began == ["/0", "/1", "/2", "/3"]
        assert not protocol.pipeline
        assert stock.is_answered()
        assert stock.transport.is_reading()
        order = [stock.transport.written.index(b"\r\n\r\n/%d" % number) for number in range(4)]
        assert order == sorted(order)

    run(scene())


def test_a_response_that_is_complete_starts_the_next_request_before_it_returns() -> None:
    """`on_response_complete` looks at the queue after uvicorn's has taken from it."""

    async def scene() -> None:
        lengths: list[int] = []

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await answer(send)
            lengths.append(len(stock.protocol.pipeline))

        stock = Stock(application)
        stock.protocol.data_received(b"GET / HTTP/1.1\r\n\r\n" * 3)
        await stock.settled()
        assert lengths == [1, 0, 0]

    run(scene())


def test_a_cycle_that_is_said_to_be_disconnected_tells_its_application_and_sends_nothing() -> None:
    """`_takes_over` does so, to write an answer of its own."""

    async def scene() -> None:
        heard: list[str] = []

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            while (message := await receive())["type"] != "http.disconnect":
                heard.append(message["type"])
            heard.append(message["type"])
            await answer(send)

        stock = Stock(application)
        stock.protocol.data_received(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhi")
        await stock.settled()
        cycle = stock.protocol.cycle
        assert (heard, cycle.more_body, cycle.response_started) == (["http.request"], True, False)
        cycle.disconnected = True
        cycle.message_event.set()
        await stock.settled()
        assert heard[-1] == "http.disconnect"
        assert stock.transport.written == b""
        assert not stock.state.tasks

    run(scene())


@pytest.mark.parametrize("keep_alive", [True, False])
def test_whether_a_cycle_keeps_its_connection_can_be_changed_until_it_answers(keep_alive: bool) -> None:
    async def scene() -> None:
        release = asyncio.Event()

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await release.wait()
            await answer(send)

        stock = Stock(application)
        stock.protocol.data_received(b"GET / HTTP/1.1\r\n\r\n")
        await stock.settled()
        assert stock.protocol.cycle.keep_alive
        stock.protocol.cycle.keep_alive = keep_alive
        release.set()
        await stock.settled()
        assert stock.transport.closed is not keep_alive
        assert (b"connection: close" in stock.transport.written) is not keep_alive

    run(scene())


def test_an_application_that_waits_for_its_body_resumes_reading() -> None:
    """So `_Flow` has to hold it back while something is left unparsed."""

    async def scene() -> None:
        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            while (await receive()).get("more_body"):
                pass
            await answer(send)

        stock = Stock(application)
        stock.protocol.data_received(b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + b"a" * 70_000)
        assert not stock.transport.is_reading(), "more than its high-water mark has come"
        await stock.settled()
        assert stock.transport.is_reading()
        stock.protocol.data_received(b"a" * 30_000)
        await stock.settled()
        assert stock.is_answered()

    run(scene())


def test_a_connection_is_among_the_servers_from_its_making_to_its_loss() -> None:
    """MAX_CONNECTIONS counts them."""

    async def scene() -> None:
        stock = Stock(idle)
        assert stock.protocol.connections is stock.state.connections == {stock.protocol}
        assert stock.protocol.client == ("127.0.0.1", 50_000)
        stock.protocol.connection_lost(None)
        assert stock.state.connections == set()
        assert stock.protocol.parser is None, "`_feed` ends when the connection is lost under it"

    run(scene())


def test_the_headers_of_every_answer_are_where_connection_takes_them_from() -> None:
    async def scene() -> None:
        server = Server(uvicorn_config(cast(Any, idle), host="127.0.0.1", port=0))
        server.config.load()
        await server.on_tick(0)
        names = [name for name, _ in server.server_state.default_headers]
        assert names == [b"date", b"cache-control", b"x-content-type-options"]

    run(scene())


def test_a_shutdown_closes_who_is_idle_and_lets_the_others_finish() -> None:
    async def scene() -> None:
        async def endless(scope: Scope, receive: Receive, send: Send) -> None:
            await asyncio.Event().wait()

        idle_one, busy = Stock(idle), Stock(endless)
        busy.protocol.data_received(b"GET / HTTP/1.1\r\n\r\n")
        await busy.settled()
        idle_one.protocol.shutdown()
        busy.protocol.shutdown()
        assert idle_one.transport.closed
        assert not busy.transport.closed
        assert not busy.protocol.cycle.keep_alive
        for task in busy.state.tasks:
            task.cancel()

    run(scene())


# -- the server -------------------------------------------------------------------------------------------------------


def test_a_server_takes_its_listening_sockets_from_who_starts_and_stops_it() -> None:
    """TlsServer gives it none, and lets clients in by itself."""
    for method in (Server.startup, Server.shutdown):
        parameters = inspect.signature(method).parameters.values()
        bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in parameters]
        assert str(inspect.Signature(bare)) == "(self, sockets=None)"

    async def scene() -> None:
        config = uvicorn.Config(cast(Any, idle), log_config=None, lifespan="off")
        config.load()
        server = Server(config)
        server.lifespan = config.lifespan_class(config)  # as `_serve` does before
        await server.startup(sockets=[])
        assert (server.started, server.should_exit, server.servers) == (True, False, [])
        assert server.server_state.connections == set()
        assert server.lifespan.state == {}
        await server.shutdown(sockets=[])

    run(scene())


def test_each_request_has_a_context_of_its_own() -> None:
    """One that waited for its turn is begun within the answer to another, whose id must not become its own."""
    config = uvicorn_config(cast(Any, idle), host="127.0.0.1", port=0)
    assert config.reset_contextvars
    assert "context=contextvars.Context()" in inspect.getsource(HttpToolsProtocol._start_asgi_task)
