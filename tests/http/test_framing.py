"""Where a request begins and ends, and which of its options count: what is in doubt is refused and costs nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import pytest

from tests.http.exchanges import LIVE, OTHERS, PLAIN, Exchange, assert_answered, exchanges, verification
from tests.http.memory import MIB, peak_growth
from tests.http.raw import CHUNKED, KEEP_ALIVE, ask, chunked, request
from tests.http.served import UNKNOWN_ID, Served

pytestmark = pytest.mark.usefixtures("goes_on")


# -- heads ------------------------------------------------------------------------------------------------------------


def test_a_head_has_at_most_100_fields(served: Served) -> None:
    fields = [(f"X-{number}", "a") for number in range(99)]  # and Host
    with served.connect() as client:
        for _ in range(2):
            assert client.send(request("GET", "/livez", fields=fields)).answer().body == LIVE
        client.send(request("GET", "/livez", fields=[*fields, ("X", "a")]))
        client.last().problem(431, "head_too_large")


@pytest.mark.parametrize("fields", [(), KEEP_ALIVE], ids=["plain", "asgi"])
def test_a_head_has_about_32_kib_at_most(
    served: Served, owners: dict[str, str], fields: tuple[tuple[str, str], ...]
) -> None:
    owner, token = next(iter(owners.items()))

    def padded(size: int) -> Exchange:
        short = verification(served, owner, token, [*fields, ("X", "")])
        head = short.data.index(b"\r\n\r\n") + 4
        return verification(served, owner, token, [*fields, ("X", "a" * (size - head))])

    with served.connect() as client:
        fits = padded(32_500)
        assert_answered(client.send(fits.data * 2), [fits] * 2)
        client.send(padded(40_000).data).last().problem(431, "head_too_large")


def endless(*pieces: bytes) -> Iterator[bytes]:
    """The first piece, then the second for ever: 300 MB in the end."""
    first, repeated = pieces
    yield first
    piece = repeated * (MIB // len(repeated))
    for _ in range(300_000_000 // len(piece)):
        yield piece


START: Final = b"POST /v1/verify HTTP/1.1\r\nHost: a\r\n"
ENDLESS: Final[dict[str, tuple[bytes, bytes]]] = {
    "a value": (START + b"X: ", b"a"),
    "a name": (START, b"a"),
    "fields": (START, b"X: a\r\n"),
    "fields without a value": (START, b"X:\r\n"),
    "large fields": (START, b"X: %s\r\n" % (b"a" * 20_000)),
    "spaces before a value": (START + b"X:", b" "),
    "fields of a change": (b"PATCH /v1/keys/key_0 HTTP/1.1\r\nHost: a\r\n", b'If-Match: "a"\r\n'),
    "an idempotency key": (b"POST /v1/keys HTTP/1.1\r\nHost: a\r\nIdempotency-Key: ", b"a"),
    "the authorization": (START + b"Authorization: Bearer ", b"a"),
    "a path": (b"GET /", b"a"),
    "a query": (b"GET /v1/keys?q=", b"a"),
    "a length": (START + b"Content-Length: ", b"0"),
    "a method": (b"", b"A"),
    "a version": (b"GET / HTTP/1.1", b"1"),
    "empty lines": (b"", b"\r\n"),
    "a chunk's extension": (START + b"Transfer-Encoding: chunked\r\n\r\n5;", b"a"),
    "a chunk's extensions": (START + b"Transfer-Encoding: chunked\r\n\r\n5", b";a=b"),
    "a chunk's size": (START + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "trailers": (START + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: a\r\n"),
    "a trailer": (START + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"a"),
    "trailers of a change": (
        b"POST /v1/keys HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        b"X: a\r\n",
    ),
    "the body of another protocol": (
        b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: a\r\n\r\n",
        b"a",
    ),
    "nonsense": (b"", b"\x00\xff"),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_300_mb_of_what_is_not_the_body_are_refused_unread(served: Served, name: str) -> None:
    began = time.monotonic()
    with peak_growth(served.server.pid) as growth, served.connect() as client:
        client.send_until_closed(endless(*ENDLESS[name]))
        answer = client.answer()
        if name.endswith("protocol") and not answer.closes:  # answered before the nonsense was heard
            assert answer.ok() == {"status": "live"}
            answer = client.answer()
        assert client.rest() == b""
    assert answer.status in (200, 400, 401, 431)
    assert answer.closes or answer.status == 401  # which the head was enough for
    assert growth.bytes < 4 * MIB
    assert time.monotonic() - began < 8


@pytest.mark.parametrize(
    "nonsense", [START + b"X: " + b"a" * 400_000, b"\x00" * 400_000], ids=["head", "no HTTP"]
)
def test_who_is_refused_while_sending_can_send_the_rest_and_reads_why(
    served: Served, nonsense: bytes
) -> None:
    """A reset would throw away the answer that is on its way."""
    with served.connect() as client:
        client.send_before_reading(nonsense)
        assert client.last().any_problem()["status"] in (400, 431)
        assert not client.was_reset


# -- framing ----------------------------------------------------------------------------------------------------------

QUESTION: Final = b'{"key":"a"}'  # 11 bytes
NO_FRAMES: Final[dict[str, tuple[bytes, bytes]]] = {
    # Fields, each with its line's end, and a body.
    "a length and chunks": (b"Content-Length: 11\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "chunks and a length": (b"Transfer-Encoding: chunked\r\nContent-Length: 11\r\n", b"0\r\n\r\n"),
    "two lengths": (b"Content-Length: 11\r\nContent-Length: 0\r\n", QUESTION),
    "two lengths that agree": (b"Content-Length: 11\r\nContent-Length: 11\r\n", QUESTION),
    "a list of lengths": (b"Content-Length: 11, 11\r\n", QUESTION),
    "a negative length": (b"Content-Length: -11\r\n", QUESTION),
    "a length with a sign": (b"Content-Length: +11\r\n", QUESTION),
    "a hexadecimal length": (b"Content-Length: 0xb\r\n", QUESTION),
    "a length with a fraction": (b"Content-Length: 11.0\r\n", QUESTION),
    "a length of spaces": (b"Content-Length: 1 1\r\n", QUESTION),
    "a length beyond all bounds": (b"Content-Length: 18446744073709551627\r\n", QUESTION),
    "no length": (b"Content-Length: \r\n", QUESTION),
    "a space before the colon": (b"Content-Length : 11\r\n", QUESTION),
    "a folded line": (b"Content-Length: 11\r\nX: a\r\n b\r\n", QUESTION),
    "a folded length": (b"Content-Length:\r\n 11\r\n", QUESTION),
    "bare line feeds": (b"Content-Length: 11\nX: a\n", QUESTION),
    "a bare carriage return": (b"Content-Length: 11\rX: a\r\n", QUESTION),
    "NUL in a value": (b"Content-Length: 11\r\nX: a\x00\r\n", QUESTION),
    "NUL in a name": (b"Content-Length: 11\r\nX\x00: a\r\n", QUESTION),
    "a name with a space": (b"Content-Length: 11\r\nX Y: a\r\n", QUESTION),
    "a field without a name": (b"Content-Length: 11\r\n: a\r\n", QUESTION),
    "a line without a colon": (b"Content-Length: 11\r\nX\r\n", QUESTION),
    "another transfer coding": (b"Transfer-Encoding: identity\r\n", QUESTION),
    "chunks not last": (b"Transfer-Encoding: chunked, identity\r\n", b"b\r\n" + QUESTION + b"\r\n0\r\n\r\n"),
    "nearly chunks": (b"Transfer-Encoding: xchunked\r\n", b"b\r\n" + QUESTION + b"\r\n0\r\n\r\n"),
    "chunks twice": (b"Transfer-Encoding: chunked\r\n" * 2, b"b\r\n" + QUESTION + b"\r\n0\r\n\r\n"),
    "a size that is none": (b"Transfer-Encoding: chunked\r\n", b"x\r\n" + QUESTION + b"\r\n0\r\n\r\n"),
    "a negative size": (b"Transfer-Encoding: chunked\r\n", b"-b\r\n" + QUESTION + b"\r\n0\r\n\r\n"),
    "a size with a prefix": (b"Transfer-Encoding: chunked\r\n", b"0xb\r\n" + QUESTION + b"\r\n0\r\n\r\n"),
    "a size beyond all bounds": (b"Transfer-Encoding: chunked\r\n", b"1" + b"0" * 16 + b"\r\n" + QUESTION),
    "no size": (b"Transfer-Encoding: chunked\r\n", b"\r\n" + QUESTION + b"\r\n0\r\n\r\n"),
    "a size that is too small": (b"Transfer-Encoding: chunked\r\n", b"5\r\n" + QUESTION + b"\r\n0\r\n\r\n"),
    "chunks with bare line feeds": (b"Transfer-Encoding: chunked\r\n", b"b\n" + QUESTION + b"\n0\n\n"),
    "a trailer that is none": (b"Transfer-Encoding: chunked\r\n", b"0\r\nX\r\n\r\n"),
}
SMUGGLED: Final = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("path", ["/v1/verify", "/v1/keys", "/v1/keys/batch", "/v1/verify/batch"])
@pytest.mark.parametrize("name", NO_FRAMES)
def test_a_request_whose_end_is_in_doubt_is_the_connections_last(
    served: Served, name: str, path: str
) -> None:
    """What follows could be its body to one reader and a request to another."""
    fields, body = NO_FRAMES[name]
    head = b"POST %s HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n" % (
        path.encode(),
        served.key.encode(),
    )
    before = served.call("GET", "/v1/keys?limit=1").ok()
    with served.connect() as client:
        client.send_until_closed([head + fields + b"\r\n" + body + SMUGGLED])
        client.last().problem(400, "malformed_request")
    assert served.call("GET", "/v1/keys?limit=1").ok() == before


@pytest.mark.parametrize("count", [0, 2], ids=["none", "two"])
def test_http_1_1_names_one_host(served: Served, count: int) -> None:
    """RFC 9112, section 3.2: 400 for none, and for more than one."""
    head = b"GET /livez HTTP/1.1\r\n" + b"Host: a\r\n" * count + b"\r\n"
    ask(served.port, head).problem(400, "malformed_request")


@pytest.mark.parametrize(
    "data",
    [
        b"GET /livez HTTP/1.2\r\n\r\n", b"GET /livez HTTP/3.0\r\n\r\n", b"GET /livez HTTP/11\r\n\r\n",
        b"GET /livez http/1.1\r\n\r\n", b"GET /livez\tHTTP/1.1\r\n\r\n", b"GET /livez HTTP/1.1 \r\n\r\n",
        b"GET /li vez HTTP/1.1\r\n\r\n", b" GET /livez HTTP/1.1\r\n\r\n", b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"HTTP/1.1 200 OK\r\n\r\n", b"\x00" * 100, b"SSH-2.0-a\r\n", b"EHLO a\r\n", b"*1\r\n$4\r\nPING\r\n",
    ],
    ids=lambda data: repr(data)[:30],
)  # fmt: skip
def test_what_is_no_http_is_refused_in_http(served: Served, data: bytes) -> None:
    with served.connect() as client:
        client.send_until_closed([data]).last().problem(400, "malformed_request")


@pytest.mark.parametrize(
    "kinds", [["valid"] * 5, ["asgi"] * 5, ["valid", "asgi", "list", "valid", "asgi"]], ids=str
)
@pytest.mark.parametrize(
    "nonsense", [b"\x00", b"GET / HTTP/1.1\r\nX\r\n\r\n", START + b"X: " + b"a" * 40_000]
)
def test_what_was_asked_before_nonsense_is_answered(
    served: Served, owners: dict[str, str], kinds: list[str], nonsense: bytes
) -> None:
    makers = PLAIN | OTHERS
    asked = exchanges(served, owners, [makers[kind] for kind in kinds])
    with served.connect() as client:
        client.send_until_closed([b"".join(exchange.data for exchange in asked) + nonsense + SMUGGLED])
        assert_answered(client, asked[:-1])
        last = client.answer()
        assert asked[-1].is_right(last)
        if not last.closes:
            assert client.last().any_problem()["status"] in (400, 431)
        assert client.rest() == b""


def test_a_body_that_breaks_off_into_nonsense_has_one_answer(served: Served) -> None:
    for path in ("/v1/keys", "/v1/verify", "/v1/verify/batch", f"/v1/keys/{UNKNOWN_ID}/revoke"):
        with served.connect() as client:
            client.send(request("POST", path, b"5\r\n{    \r\n", key=served.key, fields=CHUNKED))
            assert served.verify(served.key)["valid"]  # the server has got so far
            assert client.is_silent
            client.send_until_closed([b"nonsense\r\n" + SMUGGLED])
            client.last().problem(400, "malformed_request")


@pytest.mark.parametrize(
    "body",
    [
        b"b;a=b\r\n" + QUESTION + b"\r\n0\r\n\r\n",
        b'b;a="b;c";d\r\n' + QUESTION + b"\r\n0;e\r\n\r\n",
        b"00b\r\n" + QUESTION + b"\r\n000\r\n\r\n",
        b"B\r\n" + QUESTION + b"\r\n0\r\nX: a\r\nY: b\r\n\r\n",
        b"".join(b"1\r\n%c\r\n" % byte for byte in QUESTION) + b"0\r\n\r\n",
    ],
)
def test_chunks_may_have_extensions_and_trailers(served: Served, body: bytes) -> None:
    data = request("POST", "/v1/verify", body, key=served.key, fields=CHUNKED)
    with served.connect() as client:
        for _ in range(2):
            assert client.send(data).answer().ok()["code"] == "malformed"


@pytest.mark.parametrize(
    "trailer", ["Authorization: Bearer {}", "authorization: bearer {}", "X: a\r\nAuthorization: Bearer {}"]
)
@pytest.mark.parametrize("path", ["/v1/verify", "/v1/verify/batch", "/v1/keys"])
def test_an_authorization_after_the_body_is_none_for_this_request_and_for_the_next(
    served: Served, path: str, trailer: str
) -> None:
    """What stands between client and server has let it pass unseen, perhaps for somebody else's connection."""
    body = {"/v1/verify": b'{"key":"a"}', "/v1/keys": b"{}"}.get(path, b'{"items":[{"key":"a"}]}')
    smuggling = chunked(body).removesuffix(b"\r\n") + trailer.format(served.key).encode() + b"\r\n\r\n"
    with served.connect() as client:
        for _ in range(2):
            client.send(request("POST", path, smuggling, fields=CHUNKED))
            client.send(request("POST", path, body))
            client.send(request("POST", path, body, fields=KEEP_ALIVE))
            for _ in range(3):
                client.answer().problem(401, "unauthenticated")


BODIES: Final = {
    "/v1/verify": b'{"key":"a"}',
    "/v1/verify/batch": b'{"items":[{"key":"a"}]}',
    "/v1/keys": b"{}",
    "/v1/keys/batch": b'{"items":[{}]}',
}

# -- versions and options ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("connection", [None, "keep-alive", "close"])
@pytest.mark.parametrize(
    "kind", ["live", "valid", "list", "nothing new", "no longer so", "made before", "a secret"]
)
def test_http_1_0_is_answered_and_closed(
    served: Served, owners: dict[str, str], kind: str, connection: str | None
) -> None:
    (exchange,) = exchanges(served, owners, [(PLAIN | OTHERS)[kind]])
    field = b"" if connection is None else f"\r\nConnection: {connection}".encode()
    old = exchange.data.replace(b" HTTP/1.1\r\n", b" HTTP/1.0" + field + b"\r\n")
    with served.connect() as client:
        client.send_until_closed([old, exchange.data])
        assert exchange.is_right(client.last())


@pytest.mark.parametrize("kind", [*PLAIN, *OTHERS])
def test_after_connection_close_nothing_is_answered(
    served: Served, owners: dict[str, str], kind: str
) -> None:
    (exchange,) = exchanges(served, owners, [(PLAIN | OTHERS)[kind]])
    last = exchange.data.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\nConnection: close\r\n", 1)
    last = last.replace(b"Connection: keep-alive\r\n", b"")
    with served.connect() as client:
        client.send_until_closed([last + exchange.data * 3])
        assert exchange.is_right(client.last())


@pytest.mark.parametrize(
    "path",
    [
        "/livez",
        "/readyz",
        "/docs",
        "/openapi.json",
        "/v1/keys",
        "/v1/keys/batch",
        f"/v1/keys/{UNKNOWN_ID}/secret",
        "/v1/verify",
        "/nowhere",
    ],
)
def test_an_answer_to_head_has_no_body_and_the_next_one_its_own(served: Served, path: str) -> None:
    with served.connect() as client:
        client.send(request("HEAD", path, key=served.key))
        head = client.answer("HEAD")
        assert head.field("content-length") is not None
        if not head.closes:
            assert client.send(request("GET", "/livez")).answer().body == LIVE


@pytest.mark.parametrize("path", BODIES)
def test_who_asks_to_go_on_with_the_body_is_told_to(served: Served, path: str) -> None:
    body = BODIES[path]
    whole = request("POST", path, body, key=served.key, fields=[("Expect", "100-continue")])
    with served.connect() as client:
        for _ in range(2):
            client.send(whole[: -len(body)])
            assert client.interim() == "HTTP/1.1 100 Continue"
            assert client.send(body).answer().status in (200, 201)
        # And who does not wait for it gets an answer just as well.
        client.send(whole)
        assert client.interim() == "HTTP/1.1 100 Continue"
        assert client.answer().status in (200, 201)


UPGRADES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "websocket": (("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
                  ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")),
    "h2c": (("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABkAAQAAP__")),
    "anything": (("Connection", "upgrade"), ("Upgrade", "anything/1")),
}  # fmt: skip


@pytest.mark.parametrize("name", UPGRADES)
@pytest.mark.parametrize("path", ["/livez", "/v1/keys?limit=1", "/nowhere"])
def test_an_offer_to_change_the_protocol_is_not_taken_and_the_connection_goes_on(
    served: Served, path: str, name: str
) -> None:
    """RFC 9110, section 7.8: a server may ignore it; until it is taken, HTTP is what is spoken."""
    with served.connect() as client:
        client.send(request("GET", path, key=served.key, fields=UPGRADES[name]) + request("GET", "/livez"))
        answer = client.answer()
        assert answer.status == (404 if path == "/nowhere" else 200)
        assert (answer.field("upgrade"), answer.closes) == (None, False)
        assert client.answer().ok() == {"status": "live"}


def test_an_offer_with_a_wish_to_close_is_answered_and_the_connection_closed(served: Served) -> None:
    offer = (("Connection", "close, Upgrade"), ("Upgrade", "h2c"))
    with served.connect() as client:
        client.send(request("GET", "/livez", fields=offer))
        assert client.last().ok() == {"status": "live"}


def test_this_server_is_no_proxy(served: Served) -> None:
    with served.connect() as client:
        client.send(b"CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.last().any_problem()["status"] in (400, 405)


@pytest.mark.parametrize("name", UPGRADES)
@pytest.mark.parametrize("path", BODIES)
def test_a_request_with_a_body_and_such_an_offer_is_answered_like_any_other(
    served: Served, path: str, name: str
) -> None:
    """Java's HTTP client offers h2c with each first request, and `curl --http2` does."""
    body = BODIES[path]
    with served.connect() as client:
        client.send_until_closed([request("POST", path, body, key=served.key, fields=UPGRADES[name])])
        assert client.answer().status in (200, 201)


def test_a_connect_opens_no_tunnel(served: Served) -> None:
    for target in ("example.com:443", "127.0.0.1:22", "/v1/verify", "[::1]:80"):
        with served.connect() as client:
            client.send_until_closed([request("CONNECT", target, key=served.key) + SMUGGLED])
            answer = client.last()
            assert answer.status in (400, 404, 405)


@pytest.mark.parametrize(
    "authority", ["keyturn.test", "other.test:99", "user:password@other.test", "127.0.0.1"]
)
def test_an_absolute_target_is_its_path(served: Served, owners: dict[str, str], authority: str) -> None:
    for kind in ("valid", "list", "live"):
        (exchange,) = exchanges(served, owners, [(PLAIN | OTHERS)[kind]])
        absolute = exchange.data.replace(b" /", f" http://{authority}/".encode(), 1)
        assert exchange.is_right(ask(served.port, absolute))
