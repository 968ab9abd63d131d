"""Verifications that are refused before they are made: whoever asks is nobody, or the question makes no sense."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest

from keyturn import KeyType
from tests.http.asking import WAYS, after, expired, in_, put, send, with_another_secret
from tests.http.raw import KEEP_ALIVE, Answer, ask, request
from tests.http.served import Served, another_source, unknown_token

# -- callers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "value", [None, "", "Bearer", "Bearer ", "Basic a2V5OnR1cm4=", "Token {key}", "{key}"]
)
def test_a_call_without_a_provisioning_key_is_told_how_to_send_one(
    served: Served, value: str | None, way: str
) -> None:
    fields = {} if value is None else {"Authorization": value.format(key=served.key)}
    answer = send(served, way, b'{"key": "a"}', key=None, **fields)
    assert "Authorization: Bearer" in answer.problem(401, "unauthenticated")["fix"]
    assert answer.field("www-authenticate") == 'Bearer realm="keyturn"'


NO_CALLERS: Final[dict[str, Callable[[Served], str]]] = {
    "no token": lambda _: "hello",
    "beyond ASCII": lambda _: "\xe9" * 70,
    "unknown": lambda _: unknown_token(key_type=KeyType.PROVISIONING),
    "a wrong secret": lambda served: with_another_secret(served.key),
    "an api_token": lambda served: served.issue(scope="full", permissions=["*"])["key"],
    "material": lambda served: served.issue(type="hmac", scope="full", permissions=["*"])["key"],
    "revoked": lambda served: after("revoke", **EVERYTHING)(served)["key"],
    "suspended": lambda served: after("suspend", **EVERYTHING)(served)["key"],
    "destroyed": lambda served: after("destroy", **EVERYTHING)(served)["key"],
    "not yet valid": lambda served: served.issue(not_before=in_(hours=1), **EVERYTHING)["key"],
    "expired": lambda served: str(expired(served, "provisioning")["key"]),
}
EVERYTHING: Final[Mapping[str, Any]] = {"type": "provisioning", "scope": "full", "permissions": ["*"]}


@pytest.mark.parametrize("name", NO_CALLERS)
def test_why_a_callers_key_is_refused_is_not_said(served: Served, name: str) -> None:
    """Whoever holds a revoked key learns nothing of it, and a guesser nothing of what exists."""
    caller, source = NO_CALLERS[name](served), another_source()
    answers = [send(served, way, b'{"key": "a"}', key=caller, source=source) for way in WAYS * 2]
    first = send(served, "plain", b'{"key": "a"}', key=unknown_token(), source=source)
    assert all(answer.without("date") == first.without("date") for answer in answers)
    first.problem(401, "unauthenticated")
    assert first.field("www-authenticate") == 'Bearer realm="keyturn"'


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("permissions", [(), ("keys.read",), ("keys",), ("keys.verify.all",), ("*.*.*",)])
def test_a_caller_needs_the_permission_to_verify(
    served: Served, permissions: tuple[str, ...], way: str
) -> None:
    answer = send(served, way, b'{"key": "a"}', key=served.provision(*permissions))
    assert "keys.verify" in answer.problem(403, "forbidden")["detail"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("permission", ["keys.verify", "keys.*", "*.verify", "*"])
def test_a_caller_needs_no_more_than_that(served: Served, permission: str, way: str) -> None:
    caller = served.provision(permission, scope="read")
    assert put(served, way, {"key": served.issue()["key"]}, key=caller)["valid"]


@pytest.mark.parametrize("way", WAYS)
def test_a_caller_whose_key_is_bound_to_another_network_is_forbidden(served: Served, way: str) -> None:
    there = served.provision("keys.verify", allowed_ips=["192.0.2.0/24", "::1"])
    here = served.provision("keys.verify", allowed_ips=["127.0.0.0/8"])
    body = json.dumps({"key": served.key, "ip": "192.0.2.1"}).encode()
    send(served, way, body, key=there).problem(403, "forbidden")
    # What a header says of the address counts for nothing.
    send(served, way, body, key=there, X_Forwarded_For="192.0.2.1").problem(403, "forbidden")
    assert send(served, way, body, key=here).status == 200


@pytest.mark.parametrize("way", WAYS)
def test_two_authorization_headers_are_refused_even_if_they_say_the_same(served: Served, way: str) -> None:
    for other in (served.key, unknown_token()):
        answer = send(served, way, b'{"key": "a"}', key=served.key, Authorization=f"Bearer {other}")
        answer.problem(400, "duplicate_header")


@pytest.mark.parametrize("way", WAYS)
def test_the_name_of_the_scheme_and_the_spaces_after_it_make_no_difference(served: Served, way: str) -> None:
    for value in (f"bearer {served.key}", f"BEARER   {served.key}  "):
        assert send(served, way, b'{"key": "a"}', key=None, authorization=value).status == 200


def test_a_caller_that_keeps_failing_is_throttled_and_no_other(served: Served) -> None:
    source = another_source()
    assert send(served, "plain", b'{"key": "a"}', key=served.key).status == 200
    for way in WAYS:
        answers: list[Answer] = []
        while not answers or answers[-1].status == 401:  # one a second is forgiven meanwhile
            answers.append(send(served, way, b"{}", key=unknown_token(), source=source))
        assert way != "plain" or len(answers) > 30
        answers[-1].problem(429, "throttled")
        assert int(answers[-1].field("retry-after") or "") >= 1
    assert send(served, "plain", b'{"key": "a"}', key=served.key, source=source).status == 200
    send(served, "plain", b"{}", key=unknown_token(), source=another_source()).problem(401, "unauthenticated")


def test_a_caller_asks_about_its_own_tenant(served: Served) -> None:
    theirs = served.issue_elsewhere(owner="acme")
    assert served.verify(theirs["key"], key=served.foreigner)["owner"] == "acme"
    assert served.verify(served.issue()["key"], key=served.foreigner)["code"] == "not_found"
    assert served.verify(served.key, key=served.foreigner)["code"] == "not_found"


# -- questions that make no sense -------------------------------------------------------------------------------------

NO_TEXTS: Final[tuple[object, ...]] = (1, 1.5, True, [], ["a"], {}, {"a": "b"})
INVALID: Final[list[tuple[str, object]]] = [
    ("key", {}),
    ("key", {"key": None}),
    ("key", {"scope": "read"}),
    *(("key", {"key": value}) for value in NO_TEXTS),
    *((name, {"key": "a", name: value}) for name in ("scope", "permissions", "ip") for value in NO_TEXTS),
    *(("scope", {"key": "a", "scope": name}) for name in ("", "none", "READ", "read ", "read,write")),
    *(
        ("permissions", {"key": "a", "permissions": query})
        for query in ("", " ", "AND", "a AND", "a and b", "a  b", "a OR", "NOT", "(a", "a)", "()", "a NOT b", "a.*",
                      "*", "a..b", ".a", "a\tAND b", "é", "a" * 129, "a." * 8 + "a",
                      " AND ".join("ab" for _ in range(65)), "a" + " " * 1_024)
    ),
    *(
        ("ip", {"key": "a", "ip": ip})
        for ip in ("", " ", "localhost", "203.0.113.999", "203.0.113", "203.0.113.9/32", "203.0.113.9:80", "::1%eth0",
                   "[::1]", " ::1", "203.0.113.9\x00", "203.0.113.9, 10.0.0.1", "unknown", "1" * 1_000)
    ),
    *((name, {"key": "a", name: "a"}) for name in ("Key", "token", "ips", "scopes", "permission", "cost", "limits")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body"), INVALID, ids=[repr(body)[:60] for _, body in INVALID])
def test_a_question_that_makes_no_sense_is_refused_with_the_fields_name(
    served: Served, name: str, body: object
) -> None:
    for way in WAYS:
        answer = send(served, way, json.dumps(body).encode(), key=served.key)
        answer.problem(422, "invalid_request", field=name)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("body", [b"[]", b'"key"', b"1", b"null", b"true", b'[{"key": "a"}]'])
def test_a_question_is_an_object(served: Served, body: bytes, way: str) -> None:
    send(served, way, body, key=served.key).problem(422, "invalid_request")


@pytest.mark.parametrize("path", ["/v1/verify", "/v1/verify/batch"])
@pytest.mark.parametrize(
    "body", [b"", b" ", b"{", b'{"key": "a"} {}', b"key=a", b'{"key": "\xff"}', b"{'key': 'a'}"]
)
def test_what_is_no_json_does_not_parse(served: Served, body: bytes, path: str) -> None:
    for fields in ((), KEEP_ALIVE):
        served.call("POST", path, body, fields=fields).problem(400, "malformed_json")


def test_where_a_question_goes_wrong_is_said_by_column(served: Served) -> None:
    problem = served.call("POST", "/v1/verify", {"key": "a", "permissions": "a.b AND b.c d"}).any_problem()
    assert "column 13" in problem["detail"]


def test_a_question_has_at_most_16_kib(served: Served) -> None:
    for fields in ((), KEEP_ALIVE):
        fits = b'{"key": "a"}'.ljust(16_384)
        assert served.call("POST", "/v1/verify", fits, fields=fields).ok()["code"] == "malformed"
        served.call("POST", "/v1/verify", fits + b" ", fields=fields).problem(413, "body_too_large")


def test_a_question_needs_no_content_type(served: Served) -> None:
    body = json.dumps({"key": served.key}).encode()
    for path, data in (("/v1/verify", body), ("/v1/verify/batch", b'{"items": [%s]}' % body)):
        head = request("POST", path, key=served.key, fields=[("Content-Length", str(len(data)))])
        assert ask(served.port, head + data).status == 200


@pytest.mark.parametrize("path", ["/v1/verify", "/v1/verify/batch"])
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_a_question_is_posted(served: Served, method: str, path: str) -> None:
    answer = served.call(method, path, {"key": "a"})
    answer.problem(405, "method_not_allowed")
    assert answer.field("allow") == "POST"
