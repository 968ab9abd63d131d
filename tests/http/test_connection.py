"""One connection as a client uses or abuses it: order, endings, and what it may cost the server."""

from __future__ import annotations

import json
import random
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from tests.contract.waiting import until
from tests.http.exchanges import (
    LIVE,
    MANY,
    OTHERS,
    PLAIN,
    Exchange,
    Maker,
    assert_answered,
    drawn,
    exchanges,
    verification,
)
from tests.http.memory import MIB, peak_growth
from tests.http.raw import CHUNKED, Raw, ask, chunked, request
from tests.http.served import Served
from tests.running_server import RunningServer

pytestmark = pytest.mark.usefixtures("goes_on")

HALF_A_HEAD: Final = b"POST /v1/verify HTTP/1.1\r\nHost: a\r\n"
WHOLE: Final = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"


# -- order ------------------------------------------------------------------------------------------------------------

MIXES: Final[dict[str, list[Maker]]] = {
    "plain": [PLAIN["valid"]] * MANY,
    "asgi": [OTHERS["asgi"]] * MANY,
    "by turns": [PLAIN["valid"], OTHERS["asgi"]] * (MANY // 2),
    "plain after one other": [OTHERS["list"], *[PLAIN["valid"]] * MANY],
    "one other after plain": [*[PLAIN["valid"]] * MANY, OTHERS["list"]],
    **{name: [maker, PLAIN["valid"], maker, maker, PLAIN["denied"]] * 20 for name, maker in OTHERS.items()},
    **{f"mixed {seed}": drawn(seed) for seed in range(8)},
}


@pytest.mark.parametrize("mix", MIXES)
def test_hundreds_of_requests_in_one_write_are_answered_in_order_and_completely(
    served: Served, owners: dict[str, str], mix: str
) -> None:
    asked = exchanges(served, owners, MIXES[mix])
    with served.connect() as client:
        client.send(b"".join(exchange.data for exchange in asked))
        assert_answered(client, asked)
        assert client.end().rest() == b""


@pytest.mark.parametrize("seed", range(8))
def test_where_requests_are_cut_makes_no_difference(
    served: Served, owners: dict[str, str], seed: int
) -> None:
    dice = random.Random(seed)
    asked = exchanges(served, owners, drawn(100 + seed)[:60])
    data = b"".join(exchange.data for exchange in asked)
    longest = (1, 7, 100, 1_000, 4_096, 4_097, 10_000, 65_536)[seed]
    with served.connect() as client:
        at = 0
        while at < (len(data) if longest > 1 else 3_000):
            size = dice.randint(1, longest)
            client.send(data[at : at + size])
            at += size
        client.send(data[at:])
        assert_answered(client, asked)
        assert client.end().rest() == b""


def test_nothing_overtakes_a_slow_call(served: Served, owners: dict[str, str]) -> None:
    """A change that waits for the store, and behind it questions that memory could answer at once."""
    slow = Exchange(
        request("POST", "/v1/keys", b'{"name": "slow"}', key=served.key),
        lambda answer: bool(answer.ok(201)["name"] == "slow"),
    )
    asked = [
        slow,
        *exchanges(served, owners, drawn(1)[:100]),
        slow,
        *exchanges(served, owners, MIXES["plain"][:100]),
    ]
    with served.connect() as client:
        with served.locked():
            client.send(b"".join(exchange.data for exchange in asked[:101]))
            for owner, token in owners.items():  # meanwhile others are served
                assert served.verify(token)["owner"] == owner
            client.send(b"".join(exchange.data for exchange in asked[101:]))
            assert served.call("GET", "/livez").body == LIVE
            assert client.is_silent
        assert_answered(client, asked)
        assert client.end().rest() == b""


def test_a_cold_key_is_not_overtaken_by_warm_ones(served: Served, owners: dict[str, str]) -> None:
    for _ in range(20):
        cold = str(served.issue(owner="cold")["key"])
        asked = [verification(served, "cold", cold), *exchanges(served, owners, MIXES["by turns"][:10])]
        with served.connect() as client:
            client.send(b"".join(exchange.data for exchange in asked))
            assert_answered(client, asked)


def test_many_connections_at_once_each_get_their_own_answers(served: Served, owners: dict[str, str]) -> None:
    def converse(number: int) -> None:
        owner, token = list(owners.items())[number % len(owners)]
        asked = [make(served, owner, token) for make in drawn(number)[:100]]
        with served.connect() as client:
            for at in range(0, len(asked), 10):
                client.send(b"".join(exchange.data for exchange in asked[at : at + 10]))
                assert_answered(client, asked[at : at + 10])

    with ThreadPoolExecutor(24) as pool:
        list(pool.map(converse, range(24)))


def test_a_connection_serves_a_thousand_requests_one_after_the_other(
    served: Served, owners: dict[str, str]
) -> None:
    with served.connect() as client:
        for exchange in exchanges(served, owners, (drawn(2) + drawn(3) + drawn(4) + drawn(5))[:1_000]):
            client.send(exchange.data)
            assert_answered(client, [exchange])


# -- endings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*PLAIN, *OTHERS])
def test_who_has_said_all_still_gets_the_answers(served: Served, owners: dict[str, str], kind: str) -> None:
    asked = exchanges(served, owners, [(PLAIN | OTHERS)[kind]] * 100)
    for some in (asked[:1], asked):
        with served.connect() as client:
            client.send(b"".join(exchange.data for exchange in some)).end()
            assert_answered(client, some)
            assert client.rest() == b""


def test_who_has_said_all_gets_the_answer_to_a_cold_or_slow_call_too(
    served: Served, owners: dict[str, str]
) -> None:
    cold = verification(served, "cold", str(served.issue(owner="cold")["key"]))
    slow = Exchange(request("POST", "/v1/keys", b"{}", key=served.key), lambda answer: answer.status == 201)
    warm = exchanges(served, owners, MIXES["plain"][:20])
    for asked in ([cold], [slow], [slow, cold, *warm], [*warm, slow, *warm]):
        with served.connect() as client:
            with served.locked():
                client.send(b"".join(exchange.data for exchange in asked)).end()
                assert served.verify(served.key)["valid"]
            assert_answered(client, asked)
            assert client.rest() == b""


def cut_off(served: Served, owners: dict[str, str]) -> dict[str, bytes]:
    """What clients have sent when they go away."""
    body = b'{"key": "a"}'
    whole = request("POST", "/v1/verify", body, key=served.key)
    change = request("POST", "/v1/keys", b'{"tags": ["never"]}', key=served.key)
    chunks = request("POST", "/v1/keys", chunked(b'{"tags": ["never"]}', 5), key=served.key, fields=CHUNKED)
    large = request("POST", "/v1/keys", b'{"tags": ["never"]}'.ljust(900_000), key=served.key)
    return {
        "nothing": b"",
        "a byte": b"P",
        "half a head": whole[:40],
        "a head": whole[: -len(body)],
        "half a body": whole[:-5],
        "half a change": change[:-5],
        "half the chunks": chunks[:-9],
        "all but the last byte of the chunks": chunks[:-1],
        "half a large body": large[:500_000],
        "an answered request and half another": whole + whole[:-5],
        "many and half another": MANY * whole + change[:-5],
        "half after a slow one": request("GET", "/v1/keys?limit=1000", key=served.key) + change[:-5],
    }


@pytest.mark.parametrize("end", ["close", "half-close", "reset"])
def test_who_goes_away_in_the_middle_leaves_nothing_behind(
    served: Served, owners: dict[str, str], end: str, sockets_before: int
) -> None:
    for name, data in cut_off(served, owners).items():
        client = served.connect()
        client.send(data)
        if end == "half-close":
            client.end().rest()
        if end == "reset":
            client.reset()
        client.socket.close()
        until(lambda: served.open_sockets() <= sockets_before)
        assert served.call("GET", "/v1/keys?tag=never").ok()["items"] == [], name


def test_who_goes_away_before_a_change_was_answered_may_find_it_made(served: Served) -> None:
    """Whole or not at all; and nobody else waits because of it."""
    with served.locked():
        clients = [served.connect() for _ in range(10)]
        for client in clients:
            client.send(request("POST", "/v1/keys", b'{"tags": ["unheard"]}', key=served.key))
        assert served.verify(served.key)["valid"]
        for number, client in enumerate(clients):
            client.reset() if number % 2 else client.socket.close()
        assert served.verify(served.key)["valid"]
    found = served.call("GET", "/v1/keys?tag=unheard").ok()["items"]
    assert len(found) <= 10
    assert all(key["state"] == "active" for key in found)


@pytest.mark.parametrize("end", ["close", "reset"])
def test_answers_that_nobody_waits_for_any_more_are_no_errors(
    served: Served, end: str, sockets_before: int
) -> None:
    """Anybody can go away, as often as they like: the log must not fill with it."""
    whole = request("GET", "/v1/keys?limit=1000", key=served.key)
    half = request("POST", "/v1/keys", b"{}", key=served.key)[:-1]
    already = len(served.server.stderr)
    for asked in (whole, whole + half, whole * 3, whole * 3 + half, half):
        for _ in range(5):
            client = served.connect()
            client.send(asked)
            client.reset() if end == "reset" else client.socket.close()
            until(lambda: served.open_sockets() <= sockets_before)
            assert served.verify(served.key)["valid"]
    assert "Traceback" not in served.server.stderr[already:]
    assert " ERROR " not in served.server.stderr[already:]


def test_thousands_who_come_and_go_are_no_burden(served: Served, sockets_before: int) -> None:
    ask(served.port, WHOLE)
    with peak_growth(served.server.pid) as growth:
        for number in range(2_000):
            client = served.connect()
            client.send_what_goes_out((b"", b"P", HALF_A_HEAD, WHOLE)[number % 4])
            client.reset() if number % 3 == 0 else client.socket.close()
        until(lambda: served.open_sockets() <= sockets_before)
    assert growth.bytes < 16 * MIB


# -- who takes all and gives nothing ----------------------------------------------------------------------------------


def stuff(served: Served, client: Raw, data: bytes) -> int:
    """Send copies of `data` and read nothing, until the server reads no more; how many bytes went out."""
    blocked = 0
    while blocked < 100:
        count = client.go_on_sending(data * (MIB // len(data)))
        assert client.sent < 256 * MIB, "the server reads on for ever"
        # It has had time to answer somebody else, and with it to read on.
        assert served.call("GET", "/livez").body == LIVE
        blocked = 0 if count else blocked + 1
    return client.sent


@pytest.mark.parametrize("kind", ["valid", "asgi", "live", "absent", "nobody asks"])
def test_who_never_reads_the_answers_is_not_read_from_either(
    served: Served, owners: dict[str, str], kind: str
) -> None:
    """Its requests pile up on its own side; the server's memory stays as it is, and others are served."""
    (exchange,) = exchanges(served, owners, [(PLAIN | OTHERS)[kind]])
    with peak_growth(served.server.pid) as growth, Raw(served.port, buffers=16_384) as client:
        sent = stuff(served, client, exchange.data)
        for owner, token in owners.items():
            assert served.verify(token)["owner"] == owner
        # Whatever it had asked by then it still gets, in order, once it reads.
        whole = sent // len(exchange.data)
        assert whole > 100
        assert_answered(client, [exchange] * whole)
    assert growth.bytes < 8 * MIB


def test_a_hundred_who_never_read_cost_little_more_than_one(served: Served, owners: dict[str, str]) -> None:
    (exchange,) = exchanges(served, owners, [PLAIN["valid"]])
    clients = []
    with peak_growth(served.server.pid) as growth:
        for _ in range(100):
            client = Raw(served.port, buffers=16_384)
            clients.append(client)
            client.send_what_goes_out(exchange.data * 2_000)
        for owner, token in owners.items():
            assert served.verify(token)["owner"] == owner
    for client in clients:
        client.reset()
    assert growth.bytes < 16 * MIB


def test_a_thousand_idle_connections_keep_nobody_from_being_served(
    served: Served, owners: dict[str, str]
) -> None:
    clients: list[Raw] = []
    with peak_growth(served.server.pid) as growth:
        for number in range(1_000):
            client = served.connect()
            clients.append(client)
            client.send_what_goes_out((b"", b"POST /v1", HALF_A_HEAD + b"X: ", WHOLE)[number % 4])
        asked = exchanges(served, owners, drawn(9))
        with served.connect() as other:
            other.send(b"".join(exchange.data for exchange in asked))
            assert_answered(other, asked)
    assert growth.bytes < 48 * MIB
    for number, client in enumerate(clients):
        if number % 4 == 3:
            assert client.answer().body == LIVE
            assert client.send(WHOLE).answer().body == LIVE  # it still serves
        client.socket.close()


# -- stopping ---------------------------------------------------------------------------------------------------------


def test_a_server_that_is_told_to_stop_answers_what_it_was_asked_and_ends(tmp_path: Path) -> None:
    """Whoever else is connected: idle, or in the middle of a head or a body."""
    url = f"sqlite:///{tmp_path / 'keys.db'}"
    with RunningServer(url) as server:
        served = Served(server, url)
        question = request("POST", "/v1/verify", json.dumps({"key": served.key}).encode(), key=served.key)
        idle, used, half, body, slow = clients = [served.connect() for _ in range(5)]
        assert used.send(question).answer().ok()["valid"]
        half.send(question[:30])
        body.send(question[:-3])
        with served.locked():
            slow.send(request("POST", "/v1/keys", b'{"name": "slow"}', key=served.key))
            assert served.verify(served.key)["valid"]
            assert server._process is not None
            server._process.send_signal(signal.SIGTERM)
            for client in (idle, used, half, body):
                assert client.rest() == b""
            assert slow.is_silent
        assert slow.answer().ok(201)["name"] == "slow"
        assert slow.rest() == b""
        assert server._process.wait(20) == 0
        assert "Traceback" not in server.stderr
        assert " ERROR " not in server.stderr
        for client in clients:
            client.socket.close()
