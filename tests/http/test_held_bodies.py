"""What a server holds of bodies that have not all come yet: nothing of a stranger's, and of the others only so much."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.contract.waiting import until
from tests.http.endpoints import ENDPOINTS
from tests.http.exchanges import LIVE
from tests.http.memory import MIB, peak_growth
from tests.http.raw import CHUNKED, Raw, chunked, request
from tests.http.served import Served, another_source
from tests.running_server import RunningServer

BATCH: Final = 4 * MIB  # the largest body that there may be
BEFORE_THE_BODY: Final = [
    name for name in ENDPOINTS if name != "verify"
]  # whose body is shorter than a head may be

before_the_body = pytest.mark.parametrize("name", BEFORE_THE_BODY)


def head_of(name: str, key: str | None, length: int, *, key_id: str = "key_" + "0" * 22) -> bytes:
    """A request that lacks its body."""
    method, path = ENDPOINTS[name]
    fields = [("Content-Type", "application/json"), ("Content-Length", str(length))]
    return request(method, path.format(key_id=key_id), key=key, fields=fields)


STRANGERS: Final = {
    "no key": (None, 401),
    "no token": ("a", 401),
    "a key of no right": ("idle", 403),
}


@before_the_body
@pytest.mark.parametrize("who", STRANGERS)
def test_who_may_not_is_told_so_before_the_body_comes(served: Served, name: str, who: str) -> None:
    key, status = STRANGERS[who]
    if key == "idle":
        key = served.provision("nothing.at.all")
    with Raw(served.port, source=another_source()) as client:
        client.send(head_of(name, key, 1_000))
        assert client.answer().any_problem()["status"] == status
        client.send(b" " * 1_000 + request("GET", "/livez"))
        assert client.answer().body == LIVE, "the body that was not read is no request"


@before_the_body
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_who_may_not_and_sends_everything_at_once_can_read_why(
    served: Served, name: str, framing: str
) -> None:
    method, path = ENDPOINTS[name]
    body, fields = b" " * MIB, []
    if framing == "chunks":
        body, fields = chunked(body), list(CHUNKED)
    whole = request(method, path.format(key_id="key_" + "0" * 22), body, key="a", fields=fields)
    with Raw(served.port, source=another_source()) as client:
        client.send_before_reading((whole + request("GET", "/livez")) * 2)
        for _ in range(2):
            client.answer().problem(401, "unauthenticated")
            assert client.answer().body == LIVE
        assert not client.was_reset


@before_the_body
def test_who_may_not_and_asks_before_sending_is_told_and_closed(served: Served, name: str) -> None:
    head = head_of(name, "a", 1_000).removesuffix(b"\r\n") + b"Expect: 100-continue\r\n\r\n"
    with Raw(served.port, source=another_source()) as client:
        client.send(head)
        client.last().problem(401, "unauthenticated")


@pytest.mark.parametrize(("name", "body"), [("issue", b"{}"), ("batch", b'{"items":[{"key":"a"}]}')])
def test_who_may_send_a_body_and_is_revoked_before_it_has_come_does_nothing(
    served: Served, name: str, body: bytes
) -> None:
    caller = served.issue(type="provisioning", scope="full", permissions=["*"])
    head = head_of(name, caller["key"], len(body)).removesuffix(b"\r\n") + b"Expect: 100-continue\r\n\r\n"
    with served.connect() as client:
        client.send(head)
        assert client.interim() == "HTTP/1.1 100 Continue", "the caller was admitted"
        served.act(caller["key_id"], "revoke").ok()
        client.send(body).answer().problem(401, "unauthenticated")


def test_a_caller_is_counted_once_a_call(served: Served) -> None:
    caller = served.issue(type="provisioning", scope="full", permissions=["keys.create", "keys.verify"])
    later = served.issue()
    for _ in range(3):
        served.call("POST", "/v1/keys", {}, key=caller["key"]).ok(201)
        served.call("POST", "/v1/verify/batch", {"items": [{"key": "a"}]}, key=caller["key"]).ok()
    assert served.verify(later["key"])["valid"]
    with served.node() as node:

        def uses(key_id: str) -> int:
            return node.usage.of(key_id, node.clock.now()).total

        until(lambda: uses(later["key_id"]) == 1)  # all that came before is written by then
        assert uses(caller["key_id"]) == 6


@pytest.mark.parametrize("path", ["/nowhere", "/docs", "/v1/verify", "/v1/verify/batch", "/v1/keys"])
def test_what_takes_no_body_is_answered_before_it_comes(served: Served, path: str) -> None:
    fields = [("Content-Length", "1000")]
    with served.connect() as client:
        client.send(request("PUT", path, key=served.key, fields=fields))
        assert client.answer().any_problem()["status"] in (404, 405)


def test_strangers_make_the_server_hold_nothing(served: Served) -> None:
    with ExitStack() as open_clients, peak_growth(served.server.pid) as growth:
        for number in range(24):
            name = ("batch", "issue")[number % 2]
            client = open_clients.enter_context(Raw(served.port, source=another_source()))
            client.send(head_of(name, "a", BATCH if name == "batch" else MIB))
            client.send(b" " * (MIB - 1))
        for _ in range(3):
            assert served.verify(served.key)["valid"]
    assert growth.bytes < 8 * MIB


def test_what_is_asked_about_a_gateways_client_holds_nothing_of_a_body(served: Served) -> None:
    """It is read to its end, whoever sends it, and answered then."""
    with ExitStack() as open_clients, peak_growth(served.server.pid) as growth:
        clients = [open_clients.enter_context(Raw(served.port, source=another_source())) for _ in range(48)]
        for client in clients:
            client.send(request("POST", "/v1/authorize/a", fields=[("Content-Length", str(MIB))]))
            client.send(b" " * (MIB - 1))
        for _ in range(3):
            assert served.verify(served.key)["valid"]
        for client in clients:
            client.send(b" ").answer().problem(401, "gateway_unauthenticated")
        clients[0].send(request("POST", "/v1/authorize/a", b" " * (MIB + 1))).last().problem(
            413, "body_too_large"
        )
    assert growth.bytes < 24 * MIB  # each connection has buffers of its own


@pytest.mark.parametrize(
    "rest", [b"nonsense\r\n", b"0\r\n" + b"X: a\r\n" * 10_000], ids=["nonsense", "trailers"]
)
def test_a_request_that_was_answered_is_not_answered_again_for_what_its_body_turns_out_to_be(
    served: Served, rest: bytes
) -> None:
    """Whoever comes next on a shared connection would take the second answer for theirs."""
    method, path = ENDPOINTS["issue"]
    with Raw(served.port, source=another_source()) as client:
        client.send(request(method, path, b"1\r\n \r\n", key="a", fields=CHUNKED))
        client.answer().problem(401, "unauthenticated")
        client.send_until_closed([rest])
        assert client.rest() == b""


def test_a_body_without_end_that_nobody_reads_ends_with_the_connection(served: Served) -> None:
    """Answered long since, it is thrown away as it comes, and not for ever."""

    def pieces() -> Iterator[bytes]:
        yield head_of("issue", "a", 10**12)
        while True:
            yield b" " * MIB

    with Raw(served.port, source=another_source()) as client:
        client.send_until_closed(pieces()).answer().problem(401, "unauthenticated")
        assert client.sent < 64 * MIB


def test_what_follows_a_body_that_nobody_read_is_taken_apart_as_ever(served: Served) -> None:
    """An answered request of which the rest is still to come is not finished."""
    assert served.verify(served.key)["valid"]
    question = request("POST", "/v1/verify", json.dumps({"key": served.key}).encode(), key=served.key)
    with served.connect() as client:
        client.send(request("GET", "/livez", fields=[("Content-Length", "5")]))
        assert client.answer().body == LIVE
        client.send(b"12345" + question)
        assert client.answer().ok()["valid"]
        client.send_until_closed([b"12345" + question]).last().problem(400, "malformed_request")


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Served]:
    """A server of its own, for it grows."""
    url = f"sqlite:///{tmp_path / 'keys.db'}"
    with RunningServer(url) as server:
        yield Served(server, url)


@contextmanager
def half_sent(served: Served, count: int) -> Iterator[list[Raw]]:
    """So many batches of which all but the last byte has come."""
    with ExitStack() as clients:
        begun = [clients.enter_context(served.connect()) for _ in range(count)]
        for client in begun:
            client.send(head_of("batch", served.key, BATCH)).send(b" " * (BATCH - 1))
        yield begun


def test_callers_together_make_the_server_hold_256_mib_and_no_more(large: Served) -> None:
    with peak_growth(large.server.pid) as growth, half_sent(large, 63) as begun:
        assert large.call("POST", "/v1/verify/batch", {"items": [{"key": "a"}]}).ok()
        with half_sent(large, 2) as too_many:
            for client in too_many:
                client.send(b" ")
            answers = [client.answer() for client in too_many]
            refused = [answer for answer in answers if answer.status == 503]
            assert refused
            for answer in refused:
                answer.problem(503, "server_busy")
                assert answer.field("retry-after") == "1"
                assert answer.closes
        assert large.verify(large.key)["valid"], "what is short is answered all the same"
        for client in begun:
            client.send(b" ")
            client.answer().problem(400, "malformed_json")
    assert growth.bytes < (256 + 64) * MIB
    with half_sent(large, 63) as begun:
        assert begun[0].send(b" ").answer().status == 400, "there is room again"
