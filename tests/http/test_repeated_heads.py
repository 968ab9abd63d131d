"""A connection remembers the head it was sent last: the same bytes mean the same request, and nothing else does."""

from __future__ import annotations

import json

from tests.http.raw import Raw, request
from tests.http.served import Served, unknown_token


def question(token: str, key: str, *, path: str = "/v1/verify") -> bytes:
    return request("POST", path, json.dumps({"key": token}).encode(), key=key)


def test_each_body_behind_the_same_head_is_answered_for_itself(served: Served) -> None:
    good, unknown = served.issue()["key"], unknown_token()
    assert len(good) == len(unknown)
    with Raw(served.port) as client:
        for token in (good, good, unknown, good, unknown, unknown, good):
            client.send(question(token, served.key))
            assert client.answer().ok()["valid"] is (token == good)


def test_another_caller_on_the_same_connection_is_not_taken_for_the_first(served: Served) -> None:
    token, stranger = served.issue()["key"], served.provision("keys.read")
    assert len(stranger) == len(served.key)
    with Raw(served.port) as client:
        for _ in range(3):
            for _ in range(3):
                client.send(question(token, served.key))
                assert client.answer().ok()["valid"]
            client.send(question(token, stranger))
            client.answer().problem(403, "forbidden")
            client.send(question(token, served.foreigner))
            assert client.answer().ok()["code"] == "not_found"


def test_a_caller_who_loses_the_permission_is_refused_on_a_connection_in_use(served: Served) -> None:
    token = served.issue()["key"]
    for end in ("suspend", "revoke"):
        caller = served.issue(type="provisioning", permissions=["keys.verify"])
        with Raw(served.port) as client:
            for _ in range(3):
                client.send(question(token, caller["key"]))
                assert client.answer().ok()["valid"]
            served.act(caller["key_id"], end).ok()
            client.send(question(token, caller["key"]))
            client.answer().problem(401, "unauthenticated")


def test_a_caller_whose_permission_is_taken_is_refused_on_a_connection_in_use(served: Served) -> None:
    token = served.issue()["key"]
    caller = served.issue(type="provisioning", permissions=["keys.verify", "keys.read"])
    with Raw(served.port) as client:
        for _ in range(3):
            client.send(question(token, caller["key"]))
            assert client.answer().ok()["valid"]
        served.call("PATCH", f"/v1/keys/{caller['key_id']}", {"permissions": ["keys.read"]}).ok()
        client.send(question(token, caller["key"]))
        client.answer().problem(403, "forbidden")


def test_the_same_bytes_in_pieces_or_with_more_behind_them_are_the_same_requests(served: Served) -> None:
    good, unknown = served.issue()["key"], unknown_token()
    one, other = question(good, served.key), question(unknown, served.key)
    with Raw(served.port) as client:
        for at in range(1, len(one), 7):
            client.send(one)
            assert client.answer().ok()["valid"]
            client.send(other[:at])
            client.send(other[at:])
            assert not client.answer().ok()["valid"]
            client.send(one + other + one)
            assert [client.answer().ok()["valid"] for _ in range(3)] == [True, False, True]


def test_a_request_hidden_in_a_body_is_a_body(served: Served) -> None:
    one = question(served.issue()["key"], served.key)
    hiding = json.dumps({"key": one.decode()}).encode()
    with Raw(served.port) as client:
        for _ in range(3):
            client.send(request("POST", "/v1/verify", hiding, key=served.key))
            assert client.answer().ok()["code"] == "malformed"
            client.send(one)
            assert client.answer().ok()["valid"]
        client.send(request("POST", "/v1/verify", one, key=served.key))
        client.last().problem(400, "malformed_json")


def test_another_path_of_the_same_length_is_another_path(served: Served) -> None:
    token = served.issue()["key"]
    with Raw(served.port) as client:
        for _ in range(3):
            client.send(question(token, served.key))
            assert client.answer().ok()["valid"]
            client.send(question(token, served.key, path="/v1/verifx"))
            client.answer().problem(404, "not_found")


def test_bytes_that_only_begin_like_a_body_wait_for_the_rest(served: Served) -> None:
    """A body of another length has another head, whatever its first bytes are."""
    token = served.issue()["key"]
    short = question(token, served.key)
    long = request("POST", "/v1/verify", json.dumps({"key": token}).encode() + b" " * 10, key=served.key)
    with Raw(served.port) as client:
        for _ in range(3):
            client.send(short)
            assert client.answer().ok()["valid"]
            client.send(long[:-10])
            assert client.is_silent
            client.send(long[-10:])
            assert client.answer().ok()["valid"]


def test_what_is_cold_is_not_overtaken_by_what_comes_after_it(served: Served) -> None:
    warm = served.issue(owner="warm")["key"]
    for _ in range(50):
        cold = served.issue(owner="cold")["key"]
        with Raw(served.port) as client:
            for token in (warm, warm, cold, warm, warm):
                client.send(question(token, served.key))  # mostly read by itself
            owners = [client.answer().ok()["owner"] for _ in range(5)]
        assert owners == ["warm", "warm", "cold", "warm", "warm"]
