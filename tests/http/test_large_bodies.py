"""Bodies that are too large: refused in bounded memory, and so that the client can read why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.http.endpoints import ENDPOINTS, LIMITS, assert_withstood, every_endpoint, send
from tests.http.memory import MIB, peak_growth
from tests.http.raw import Raw, chunked, request
from tests.http.served import Served, another_source

pytestmark = pytest.mark.usefixtures("still_serves")

TEN_MB: Final = 10_000_000
MEMORY: Final = 24 * MIB  # what the server may take for it, at most


def large(name: str, key_id: str, key: str, size: int, *fields: tuple[str, str]) -> tuple[bytes, bytes]:
    """The head and the body of a request with so many bytes."""
    method, path = ENDPOINTS[name]
    body = b"a" * size
    if ("Transfer-Encoding", "chunked") in fields:
        body = chunked(body)
    whole = request(method, path.format(key_id=key_id), body, key=key, fields=fields)
    return whole[: -len(body)], body


@pytest.mark.parametrize("framing", ["length", "chunks"])
@every_endpoint
def test_10_mb_are_refused_and_the_client_can_read_why(
    served: Served, key_id: str, name: str, framing: str
) -> None:
    """Even one that sends all it has before it reads anything."""
    fields = [("Transfer-Encoding", "chunked")] if framing == "chunks" else []
    head, body = large(name, key_id, served.key, TEN_MB, *fields)
    with peak_growth(served.server.pid) as growth, Raw(served.port) as client:
        client.send_before_reading(head + body)
        client.last().problem(413, "body_too_large")
    assert growth.bytes < MEMORY


@every_endpoint
def test_who_asks_before_sending_10_mb_is_spared_it(served: Served, key_id: str, name: str) -> None:
    head, _ = large(name, key_id, served.key, TEN_MB, ("Expect", "100-continue"))
    with Raw(served.port) as client:
        client.send(head)
        client.last().problem(413, "body_too_large")


@every_endpoint
def test_who_asks_before_sending_chunks_without_end_is_told_when_it_is_enough(
    served: Served, key_id: str, name: str
) -> None:
    fields = (("Transfer-Encoding", "chunked"), ("Expect", "100-continue"))
    head, body = large(name, key_id, served.key, TEN_MB, *fields)
    with Raw(served.port) as client:
        client.send(head)
        assert client.interim() == "HTTP/1.1 100 Continue"
        client.send_until_closed([body]).last().problem(413, "body_too_large")


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_of_a_body_without_end_no_more_than_16_mb_are_read(served: Served, key_id: str, framing: str) -> None:
    fields = (
        [("Transfer-Encoding", "chunked")] if framing == "chunks" else [("Content-Length", "1" + "0" * 12)]
    )
    method, path = ENDPOINTS["update"]
    piece = chunked(b"a" * MIB).removesuffix(b"0\r\n\r\n") if framing == "chunks" else b"a" * MIB

    def pieces() -> Iterator[bytes]:
        yield request(method, path.format(key_id=key_id), key=served.key, fields=fields)
        while True:
            yield piece

    with peak_growth(served.server.pid) as growth, Raw(served.port) as client:
        client.send_until_closed(pieces()).last().problem(413, "body_too_large")
        assert client.sent < 64 * MIB  # what the kernels held meanwhile included
    assert growth.bytes < MEMORY


@pytest.mark.parametrize("name", [name for name in ENDPOINTS if name != "batch"])
def test_a_body_may_have_so_many_bytes_and_not_one_more(served: Served, key_id: str, name: str) -> None:
    limit = LIMITS.get(name, MIB)
    assert_withstood(send(served, name, key_id, b"[]".ljust(limit)))
    assert send(served, name, key_id, b"[]".ljust(limit)).status != 413
    problem = send(served, name, key_id, b"[]".ljust(limit + 1)).problem(413, "body_too_large")
    assert f"{limit:,} bytes" in problem["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/nowhere"), ("PUT", "/v1/verify"), ("GET", "/v1/verify/batch"), ("PUT", "/v1/keys")],
)
def test_10_mb_for_what_is_not_there_are_refused_and_the_client_can_read_why(
    served: Served, method: str, path: str
) -> None:
    with Raw(served.port) as client:
        client.send_before_reading(request(method, path, b"a" * TEN_MB, key=served.key))
        assert client.answer().any_problem()["status"] in (404, 405)


def test_who_sends_10_mb_without_a_key_can_read_the_answer(served: Served) -> None:
    for name in ENDPOINTS:
        head, body = large(name, "key_" + "0" * 22, "a", TEN_MB)
        with Raw(served.port, source=another_source()) as client:
            client.send_before_reading(head + body)
            assert client.answer().any_problem()["status"] == (413 if name == "verify" else 401)
