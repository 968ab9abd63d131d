"""Where a request comes from: the connection's other end, or whom a proxy names that is trusted by configuration."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

import pytest

from tests.contract.waiting import until
from tests.http.raw import Answer, Raw, request
from tests.http.served import Served, another_source, unknown_token
from tests.running_server import RunningServer

TRUSTED: Final = "127.0.0.1, 10.0.0.0/8, 2001:db8:aaaa::/48"
HOME: Final = "203.0.113.0/24"  # where the caller's key may be used
CLIENT, OTHER = "203.0.113.9", "198.51.100.1"

Fields = list[tuple[str, str]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that trusts proxies, this machine's usual address among them."""
    url = f"sqlite:///{tmp_path_factory.mktemp('proxies') / 'keys.db'}"
    with RunningServer(url, KEYTURN_TRUSTED_PROXIES=TRUSTED) as server:
        yield Served(server, url)
        written = server.stderr
    assert "Traceback" not in written, written


@pytest.fixture(scope="module")
def bound(served: Served) -> str:
    """A caller who may call from HOME only."""
    return served.provision("*", allowed_ips=[HOME, "2001:db8::7"])


def forwarded(*values: str) -> Fields:
    return [("X-Forwarded-For", value) for value in values]


def asked(served: Served, way: str, key: str, fields: Fields, source: str | None = None) -> Answer:
    """The answer to a call of one kind, with the caller's key."""
    match way:
        case "management":
            return served.call("GET", "/v1/keys?limit=1", key=key, fields=fields, source=source)
        case "gateway" | "gateway by asgi":
            more = [*fields, ("Keyturn-Gateway-Key", served.key), ("X-API-Key", key)]
            more += [("Connection", "keep-alive")] if way == "gateway by asgi" else []
            return served.call("GET", "/v1/authorize/a", key=None, fields=more, source=source)
        case "plain":
            body = {"key": served.key}
            return served.call("POST", "/v1/verify", body, key=key, fields=fields, source=source)
        case "asgi":
            more = [*fields, ("Connection", "keep-alive")]
            return served.call("POST", "/v1/verify", {"key": served.key}, key=key, fields=more, source=source)
        case _:
            batch = {"items": [{"key": served.key}]}
            return served.call("POST", "/v1/verify/batch", batch, key=key, fields=fields, source=source)


WAYS: Final = ("management", "plain", "asgi", "batch")
GATEWAYS: Final = ("gateway", "gateway by asgi")  # here it is the client's key that is bound to an address

every_way = pytest.mark.parametrize("way", [*WAYS, *GATEWAYS])


def assert_taken(answer: Answer) -> None:
    assert answer.status == 200, answer


def assert_denied(answer: Answer) -> None:
    """For where it comes from."""
    assert answer.any_problem()["code"] in ("forbidden", "ip_denied")
    assert answer.status == 403


@every_way
@pytest.mark.parametrize(
    "values",
    [
        [CLIENT],
        ["2001:db8::7"],
        ["2001:DB8:0::7"],
        [f"::ffff:{CLIENT}"],
        [f"{OTHER}, {CLIENT}"],
        [f"{OTHER} \t,\t{CLIENT} "],
        [OTHER, CLIENT],
        [f"{CLIENT}, 10.1.2.3"],
        [f"{OTHER}, {CLIENT}, 10.1.2.3, 2001:db8:aaaa::1, ::ffff:10.0.0.1"],
        [f"{OTHER}, {CLIENT}", "10.1.2.3"],
        [f"what a client wrote, , {CLIENT}"],
        [f"\xff, {CLIENT}"],
    ],
    ids=str,
)
def test_a_trusted_proxy_says_who_the_client_is_by_the_rightmost_address_that_is_not_trusted(
    served: Served, bound: str, way: str, values: list[str]
) -> None:
    assert_taken(asked(served, way, bound, forwarded(*values)))


@every_way
@pytest.mark.parametrize(
    "values",
    [
        [],
        [OTHER],
        [f"{CLIENT}, {OTHER}"],
        [CLIENT, OTHER],
        [f"{CLIENT}, {OTHER}, 10.1.2.3"],
        [f"{CLIENT}, {OTHER}", "10.1.2.3"],
        ["10.1.2.3"],
        ["10.1.2.3, 10.1.2.4, 127.0.0.1"],
    ],
    ids=str,
)
def test_what_stands_left_of_the_client_is_only_what_the_client_says(
    served: Served, bound: str, way: str, values: list[str]
) -> None:
    assert_denied(asked(served, way, bound, forwarded(*values)))


@every_way
def test_where_all_are_trusted_the_first_of_them_is_the_client(served: Served, way: str) -> None:
    near = served.provision("*", allowed_ips=["10.1.2.3"])
    assert_taken(asked(served, way, near, forwarded("10.1.2.3, 10.1.2.4, 127.0.0.1")))
    assert_denied(asked(served, way, near, forwarded("10.1.2.4, 10.1.2.3")))


@every_way
@pytest.mark.parametrize(
    "value",
    [
        "", ",", f"{CLIENT},", f"{CLIENT}, ,10.1.2.3", "unknown", f"{CLIENT}:443", "[2001:db8::7]", "2001:db8::7%eth0",
        f"{CLIENT} 10.1.2.3", f"{CLIENT};10.1.2.3", f'"{CLIENT}"', "203.0.113.009", "203.0.113", "0xcb007109",
        f"for={CLIENT}", f"{CLIENT}, unix:", "a" * 1_000,
    ],
)  # fmt: skip
def test_a_trusted_proxy_that_names_no_address_is_not_guessed_at(
    served: Served, bound: str, way: str, value: str
) -> None:
    for key in (bound, served.key):
        answer = asked(served, way, key, forwarded(value))
        answer.problem(400, "malformed_forwarded_for")


@pytest.mark.parametrize("way", WAYS)
def test_from_anybody_else_the_field_means_nothing(served: Served, way: str) -> None:
    source = another_source()
    bound = served.provision("*", allowed_ips=[HOME])
    here = served.provision("*", allowed_ips=[source])
    for fields in (forwarded(CLIENT), forwarded(CLIENT, "127.0.0.1"), forwarded("unknown"), forwarded("")):
        asked(served, way, bound, fields, source).problem(403, "forbidden")
        assert asked(served, way, here, fields, source).ok()


@every_way
def test_no_other_field_says_where_a_request_comes_from(served: Served, bound: str, way: str) -> None:
    for name, value in (
        ("Forwarded", f"for={CLIENT}"), ("X-Real-IP", CLIENT), ("X-Client-IP", CLIENT), ("True-Client-IP", CLIENT),
        ("X-Forwarded", CLIENT), ("X_Forwarded_For", CLIENT), ("CF-Connecting-IP", CLIENT),
    ):  # fmt: skip
        assert_denied(asked(served, way, bound, [(name, value)]))


@pytest.mark.parametrize("way", GATEWAYS)
def test_a_gateway_is_not_its_client(served: Served, way: str) -> None:
    """Where nobody that is trusted says who the client is, a key that is bound to addresses does not pass."""
    source = another_source()
    free = str(served.issue()["key"])
    for address, fields in (
        (source, []), (source, forwarded(source)), (source, forwarded("unknown")), ("127.0.0.1", []),
    ):  # fmt: skip
        bound = str(served.issue(allowed_ips=[source, "127.0.0.1", CLIENT])["key"])
        answer = asked(served, way, bound, fields, address)
        assert answer.problem(403, "ip_denied")
        assert_taken(asked(served, way, free, fields, address))


@pytest.mark.parametrize("way", GATEWAYS)
def test_a_gateways_own_key_is_bound_to_its_own_address(served: Served, way: str) -> None:
    key = str(served.issue(allowed_ips=[CLIENT])["key"])
    more = [("Connection", "keep-alive")] if way == "gateway by asgi" else []
    for address, is_right in (("127.0.0.1", True), (CLIENT, False)):
        own = served.provision("keys.verify", allowed_ips=[address])
        fields = [*forwarded(CLIENT), ("Keyturn-Gateway-Key", own), ("X-API-Key", key), *more]
        answer = served.call("GET", "/v1/authorize", key=None, fields=fields)
        if is_right:
            assert_taken(answer)
        else:
            answer.problem(403, "gateway_forbidden")


@pytest.mark.parametrize("way", GATEWAYS)
def test_a_gateways_client_that_guesses_is_throttled_and_no_other(served: Served, way: str) -> None:
    guesser = f"198.51.100.{20 + GATEWAYS.index(way)}"
    warm, cold = str(served.issue()["key"]), str(served.issue()["key"])
    assert_taken(asked(served, way, warm, forwarded(guesser)))
    until(lambda: asked(served, way, unknown_token(), forwarded(guesser)).status == 429)
    answer = asked(served, way, cold, forwarded(guesser))
    answer.problem(429, "throttled")
    assert answer.field("retry-after") == "1"
    assert_taken(asked(served, way, warm, forwarded(guesser)))
    assert_taken(asked(served, way, cold, forwarded(OTHER)))


def test_the_name_of_the_field_is_not_case_sensitive(served: Served, bound: str) -> None:
    for name in ("x-forwarded-for", "X-FORWARDED-FOR"):
        assert asked(served, "plain", bound, [(name, CLIENT)]).ok()


def test_each_request_of_a_proxys_connection_has_a_client_of_its_own(served: Served, bound: str) -> None:
    """Also after the same head came again and again, which a connection remembers."""
    near = served.provision("*", allowed_ips=["127.0.0.1"])
    body = json.dumps({"key": served.key}).encode()
    with Raw(served.port) as proxy:
        for _ in range(3):
            for _ in range(3):
                proxy.send(request("POST", "/v1/verify", body, key=near))
                assert proxy.answer().ok()["valid"]
            for client, is_right in ((CLIENT, True), (OTHER, False), (CLIENT, True)):
                proxy.send(request("POST", "/v1/verify", body, key=bound, fields=forwarded(client)))
                assert (proxy.answer().status == 200) is is_right
            proxy.send(request("POST", "/v1/verify", body, key=near, fields=forwarded(CLIENT)))
            proxy.answer().problem(403, "forbidden")


def test_a_client_that_guesses_is_throttled_and_its_proxy_is_not(served: Served) -> None:
    def call(client: str) -> Answer:
        return served.call("GET", "/v1/keys", key=unknown_token(), fields=forwarded(client))

    until(lambda: call("203.0.113.66").status == 429)
    call("203.0.113.66").problem(429, "throttled")
    call("203.0.113.67").problem(401, "unauthenticated")


def test_the_clients_address_is_the_one_that_is_recorded(served: Served) -> None:
    def last_ip(key_id: str) -> str | None:
        with served.node() as node:
            return node.usage.of(key_id, node.clock.now()).last_ip

    for way in ("management", *GATEWAYS):
        key = served.issue(type="provisioning", permissions=["keys.read"])
        assert_taken(asked(served, way, key["key"], forwarded(CLIENT)))
        until(lambda key_id=key["key_id"]: last_ip(key_id) == CLIENT)  # type: ignore[misc]
