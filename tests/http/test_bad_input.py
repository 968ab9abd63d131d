"""Whatever is sent, the answer is a problem that says what to do: never a 500, a traceback or a dropped connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Final, NoReturn, cast
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.server.authorizing import AuthorizeEndpoint
from keyturn.server.dispatcher import Dispatcher
from keyturn.server.management import management_app
from keyturn.server.measured import Measured
from keyturn.server.proxies import TrustedProxies
from keyturn.server.verifying import VerifyEndpoint
from tests.contract.postgres_server import PostgresDatabase
from tests.contract.waiting import until
from tests.http.endpoints import ENDPOINTS, LIMITS, assert_withstood, every_endpoint, send
from tests.http.memory import MIB, peak_growth
from tests.http.raw import Answer, ask, request
from tests.http.served import Served, another_source, unknown_token
from tests.running_server import RunningServer, prepared_postgres

pytestmark = pytest.mark.usefixtures("still_serves")

# -- JSON and what looks like it --------------------------------------------------------------------------------------

DEEP: Final = 100_000
BODIES: Final[Mapping[str, bytes]] = {
    "nothing": b"",
    "space": b" \n",
    "null": b"null",
    "true": b"true",
    "a number": b"1",
    "a text": b'"a"',
    "a list": b"[]",
    "a list of objects": b'[{"key": "a"}]',
    "open brackets": b"[" * DEEP,
    "brackets": b"[" * DEEP + b"]" * DEEP,
    "open braces": b'{"a":' * DEEP,
    "braces": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "brackets within": b'{"metadata": {"a": ' + b"[" * 900 + b"]" * 900 + b"}}",
    "braces within": b'{"metadata": ' + b'{"a":' * 900 + b"1" + b"}" * 901,
    "brackets for a text": b'{"name": ' + b"[" * 900 + b"]" * 900 + b"}",
    "braces for items": b'{"items": [' + b'{"key":' * 900 + b"1" + b"}" * 900 + b"]}",
    "NaN": b'{"metadata": {"a": NaN}, "key": NaN}',
    "NaN for a number": b'{"expires_in": NaN}',
    "infinity": b'{"expires_in": Infinity, "metadata": {"a": -Infinity}}',
    "a float that is too large": b'{"expires_in": 1e400, "metadata": {"a": 1e400}}',
    "an exponent without end": b'{"expires_in": 1e' + b"9" * 10_000 + b"}",
    "decimals without end": b'{"expires_in": 0.' + b"1" * 100_000 + b"}",
    "a number of 4,000 digits": b'{"length": 1' + b"0" * 4_000 + b"}",
    "a lifetime of 4,000 digits": b'{"expires_in": 1' + b"0" * 4_000 + b"}",
    "5,000 digits": b'{"length": 1' + b"0" * 5_000 + b"}",
    "100,000 digits": b'{"metadata": {"a": -' + b"9" * 100_000 + b"}}",
    "a member twice": b'{"name": "a", "name": "b", "key": "a", "key": "b", "reason": "superseded", "reason": 1}',
    "a member twice, the last unknown": b'{"a": 1, "a": 2}',
    "no UTF-8": b'{"name": "\xff\xfe", "key": "\xff", "note": "\xff"}',
    "no UTF-8 outside a text": b"{\xff}",
    "an overlong encoding": b'{"name": "\xc0\x80"}',
    "a surrogate in UTF-8": b'{"name": "\xed\xa0\x80"}',
    "a byte order mark": b'\xef\xbb\xbf{"key": "a"}',
    "a byte order mark alone": b"\xef\xbb\xbf",
    "two byte order marks": b"\xef\xbb\xbf\xef\xbb\xbf{}",
    "half a surrogate pair for a name": b'{"\\ud800": 1}',
    "half a surrogate pair for a name in metadata": b'{"metadata": {"\\udc00": 1}}',
    "NUL for a name": b'{"\\u0000": 1}',
    "NUL": b"\x00",
    "NUL after it": b"{}\x00",
    "NUL in a text": b'{"name": "\x00"}',
    "a line break in a text": b'{"name": "a\nb"}',
    "a comma too many": b'{"name": "a",}',
    "a comment": b'{/* a */"name": "a"}',
    "single quotes": b"{'name': 'a'}",
    "an escape that is none": b'{"name": "\\x41"}',
    "two values": b"{} {}",
    "half of it": b'{"name": "a',
    "a form": b"name=a&owner=b",
    "a page": b"<!DOCTYPE html><script>alert(1)</script>",
    "many members": b"{" + b",".join(b'"%d": 1' % number for number in range(1_000)) + b"}",
    "a long name": b'{"' + b"a" * 15_000 + b'": 1}',
    "1 MB of names": json.dumps({f"{number:x}" * 4: number for number in range(40_000)}).encode()[: MIB - 1] + b"}",
}  # fmt: skip


@pytest.mark.parametrize("body", BODIES)
@every_endpoint
def test_no_body_is_too_much(served: Served, key_id: str, name: str, body: str) -> None:
    assert_withstood(send(served, name, key_id, BODIES[body]))


@pytest.mark.parametrize("body", ["open brackets", "open braces", "half of it", "a comma too many", "two values", "NUL",
                                  "no UTF-8", "no UTF-8 outside a text", "an overlong encoding",
                                  "single quotes"])  # fmt: skip
@every_endpoint
def test_what_is_no_json_does_not_parse(served: Served, key_id: str, name: str, body: str) -> None:
    data = BODIES[body]
    if len(data) > LIMITS.get(name, MIB):
        data = data[: LIMITS[name]]
    send(served, name, key_id, data).problem(400, "malformed_json")


@every_endpoint
def test_json_in_another_encoding_is_none(served: Served, key_id: str, name: str) -> None:
    """RFC 8259, section 8.1: UTF-8. What looks into requests on the way would not see what is in them."""
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"):
        for body in ("{}", '{"note": "a"}', '{"key": "a"}', '{"items": [{"key": "a"}]}'):
            send(served, name, key_id, body.encode(encoding)).problem(400, "malformed_json")


TEXTS: Final = ("\x00", "a\x00b", "\ud800", "\udfff", "a\udc00\ud800b")
TEXT_FIELDS: Final[Mapping[str, list[dict[str, Any]]]] = {
    # Each with @ where the text goes.
    "issue": [
        {"name": "@"}, {"owner": "@"}, {"prefix": "@"}, {"type": "@"}, {"scope": "@"}, {"expires_at": "@"},
        {"not_before": "@"}, {"permissions": ["@"]}, {"allowed_ips": ["@"]}, {"tags": ["@"]},
        {"metadata": {"a": "@"}}, {"metadata": {"@": 1}}, {"@": 1}, {"metadata": {"a": [{"@": {}}]}}, {"length": "@"},
        {"recoverable": "@"}, {"expires_in": "@"},
    ],
    "issue many": [
        {"items": [{}, {"name": "@"}]}, {"items": [{"metadata": {"@": 1}}]}, {"items": [{"@": 1}]}, {"items": "@"},
        {"@": []}, {"items": [{"tags": ["@"]}]}, {"items": ["@"]},
    ],
    "update": [
        {"name": "@"}, {"scope": "@"}, {"expires_at": "@"}, {"not_before": "@"}, {"permissions": ["@"]},
        {"allowed_ips": ["@"]},
        {"tags": ["@"]}, {"metadata": {"a": "@"}}, {"metadata": {"@": 1}}, {"@": 1}, {"owner": "@"},
    ],
    "revoke": [{"note": "@"}, {"reason": "@"}, {"@": 1}],
    "suspend": [{"note": "@"}, {"@": 1}],
    "owner": [{"note": "@"}, {"reason": "@"}, {"@": 1}],
    "verify": [{"key": "a", "permissions": "@"}, {"key": "a", "scope": "@"}, {"key": "a", "@": "a"}],
    "batch": [
        {"items": [{"key": "a", "permissions": "@"}]}, {"items": [{"key": "a", "scope": "@"}]}, {"items": "@"},
        {"@": []}, {"items": [{"key": "a", "@": "a"}]}, {"items": [{"key": "a"}, "@"]},
    ],
}  # fmt: skip


@every_endpoint
def test_nul_and_half_surrogate_pairs_are_refused_in_every_text(
    served: Served, key_id: str, name: str
) -> None:
    before = served.show(key_id)
    for field in TEXT_FIELDS[name]:
        for text in TEXTS:
            body = json.dumps(field).replace("@", json.dumps(text)[1:-1]).encode()
            answer = send(served, name, key_id, body)
            assert answer.status in (400, 422), (body, answer)
            answer.any_problem()
    assert served.show(key_id) == before


@pytest.mark.parametrize("text", TEXTS)
def test_a_token_with_nul_or_half_a_surrogate_pair_is_none(served: Served, text: str) -> None:
    body = json.dumps({"key": text}).encode()
    for data, path in ((body, "/v1/verify"), (b'{"items": [%s]}' % body, "/v1/verify/batch")):
        answer = served.call("POST", path, data)
        if answer.status == 200:
            assert json.loads(body)["key"].isprintable() is False
            assert b'"code":"malformed"' in answer.body
        else:
            answer.problem(400, "malformed_json")


# -- addresses that are none ------------------------------------------------------------------------------------------


def test_addresses_that_are_none_are_not_kept(served: Served) -> None:
    """What a client claims to be its address often goes straight into `ip`; the server must not pile it up."""
    with peak_growth(served.server.pid) as growth, served.connect() as client:
        for number in range(2_500):
            ip = f"{number}{'a' * 16_000}"
            body = json.dumps({"key": "a", "ip": ip}).encode()
            client.send(request("POST", "/v1/verify", body, key=served.key))
            assert client.answer().status in (200, 422)
    assert growth.bytes < 16 * MIB


def test_an_address_that_the_store_cannot_hold_does_not_keep_it_from_counting(
    postgres_database: PostgresDatabase,
) -> None:
    """PostgreSQL refuses NUL: one such count, tried again and again, would hold up all that come after it."""
    first = prepared_postgres(postgres_database)
    with RunningServer(postgres_database.app_url, first_key=first) as server:
        postgres = Served(server, postgres_database.app_url)
        key, other = postgres.issue(), postgres.issue()
        for asked in ({}, {"scope": "admin"}):
            body = {"key": key["key"], "ip": "203.0.113.9\x00", **asked}
            assert postgres.call("POST", "/v1/verify", body).status in (200, 422)
        assert postgres.verify(other["key"], ip="203.0.113.9")["valid"]
        unused = f"/v1/keys?q={other['key_id']}&unused_since={quote(other['created_at'])}"
        until(lambda: postgres.call("GET", unused).ok()["items"] == [])
        assert "could not be written" not in server.stderr


# -- headers ----------------------------------------------------------------------------------------------------------

NO_JSON: Final = (
    "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a", "application/xml",
    "application/octet-stream", "json", "application/json5", "é", "/", "a" * 10_000, "text/json",
)  # fmt: skip


def called(served: Served, name: str, key_id: str, content_type: str | None) -> Answer:
    """The answer to a body of JSON that is called something else, or nothing."""
    method, path = ENDPOINTS[name]
    fields = [("Content-Length", "2")] + ([] if content_type is None else [("Content-Type", content_type)])
    return ask(
        served.port, request(method, path.format(key_id=key_id), key=served.key, fields=fields) + b"{}"
    )


@pytest.mark.parametrize("name", ["issue", "update", "revoke", "suspend", "owner"])
def test_management_takes_json_that_is_called_so_and_nothing_else(
    served: Served, key_id: str, name: str
) -> None:
    before = served.show(key_id)
    for content_type in (None, *NO_JSON):
        assert called(served, name, key_id, content_type).any_problem()["status"] in (400, 415, 422)
    assert served.show(key_id) == before


@pytest.mark.parametrize("name", ["issue", "update", "revoke", "suspend", "owner"])
def test_who_forgets_to_call_it_json_is_told_so(served: Served, key_id: str, name: str) -> None:
    """With curl it is forgotten easily: `-d` calls its data a form."""
    for content_type in (None, "application/x-www-form-urlencoded"):
        problem = called(served, name, key_id, content_type).any_problem()
        assert "Content-Type: application/json" in problem["fix"], problem


@pytest.mark.parametrize("content_type", ["application/json", "APPLICATION/JSON", "application/json;charset=utf-8",
                                          "application/json ; charset=UTF-8"])  # fmt: skip
def test_json_is_called_so_in_any_case(served: Served, content_type: str) -> None:
    served.call("POST", "/v1/keys", b"{}", fields=[("Content-Type", content_type)]).ok(201)


@pytest.mark.parametrize(
    "value",
    [
        "Bearer " + "a" * 30_000, "Bearer \xff\xfe", "Bearer a b c", "Bearer\ta", "a" * 30_000, "\xa0",
        "Bearer " + "=" * 100, "Digest username=a", "Bearer key_0000000000000000000000", "Bearer null", "Bearer %00",
        "bearer:a", "Bearer a, Bearer b",
    ],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_an_authorization_that_is_none_is_unauthenticated(served: Served, key_id: str, value: str) -> None:
    source = another_source()
    for name, (method, path) in ENDPOINTS.items():
        fields = [("Authorization", value)]
        answer = served.call(
            method, path.format(key_id=key_id), b"{}", key=None, fields=fields, source=source
        )
        answer.problem(401, "unauthenticated"), name


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Host", ""), ("Host", "\xff"), ("Host", "a b"), ("Host", "evil.test/?"), ("Host", "[::1"),
        ("Host", "a:99999999"), ("Accept", "\xff"), ("Accept", "text/html;q=x"), ("Cookie", "=;=\xff"),
        ("If-None-Match", "\xff"), ("If-Modified-Since", "yesterday"), ("Origin", "null"), ("TE", "trailers"),
        ("Content-Type", "application/json; charset=\xff"), ("Accept-Encoding", "\xff"), ("Content-Encoding", "gzip"),
        ("X-HTTP-Method-Override", "DELETE"), ("Transfer-Encoding", ""), ("", "a"),
    ],
)  # fmt: skip
def test_odd_fields_harm_nothing(served: Served, key_id: str, field: str, value: str) -> None:
    for method, path in (
        *ENDPOINTS.values(),
        ("GET", "/docs"),
        ("GET", "/readyz"),
        ("GET", "/static-offline-docs/swagger-ui.css"),
    ):
        body = b"[]" if method != "GET" else None
        data = request(method, path.format(key_id=key_id), body, key=served.key, fields=[(field, value)])
        assert_withstood(ask(served.port, data))


# -- paths and methods ------------------------------------------------------------------------------------------------

PATHS: Final = (
    "//", "//v1/keys", "/v1//keys", "/./v1/keys", "/v1/../v1/keys", "/../../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc%2fpasswd", "/v1/keys/%2e%2e", "/v1/keys/..%2f..%2f", "/v1/keys/%00",
    "/v1/keys/%", "/v1/keys/%zz", "/v1/keys/%u0041", "/v1/keys/%ff%fe", "/v1/keys/\xff", "/v1/k\xe9ys",
    "/v1/keys/" + "a" * 30_000, "/" * 30_000, "/v1/keys/" + "%41" * 9_000, "/v1/keys;a=b", "/v1/keys%3flimit=1",
    "/v1/keys%23", "/v1\\keys", "/V1/KEYS", "/v1/keys%20", "/v1/keys/{key_id}%00", "/v1/keys/{key_id}/revoke%00",
    "/v1/keys/{key_id}/%72evoke%2f", "/v1/keys#fragment", "*", "v1/keys", "http://", "http:///v1/keys",
    "http://a:b@c/v1/keys", "https://a/", "ftp://a/b", "?", "/?", "/v1/keys?", "/static-offline-docs/",
    "/static-offline-docs/..", "/static-offline-docs/%2e%2e/__init__.py", "/static-offline-docs/%00",
    "/static-offline-docs//etc/passwd", "/static-offline-docs/..%5c..%5c", "/static-offline-docs/" + "a" * 5_000,
    "/v1/keys?limit=1&limit=2", "/v1/keys?%", "/v1/keys?%00=%00", "/v1/keys?\xff", "/v1/keys?q=%ff",
    "/v1/keys?q=%ed%a0%80", "/v1/keys?&&&=", "/v1/keys?q=" + "a" * 30_000,
    "/v1/keys?" + "&".join("q=a" for _ in range(5_000)), "/v1/keys?limit", "/v1/keys?cursor=" + "A" * 20_000,
    "/v1/keys?[]=a", "/v1/keys?limit=1;limit=2", "/docs?url=//evil.test", "/openapi.json?\xff", "/livez?\xff",
    "/v1/verify?%00", "/v1/verify/", "/v1/verify%00", "/v1/verify/batch/", "/v1/authorize", "/readyz%0d%0aA:b",
)  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=lambda path: repr(path)[:40])
def test_no_path_is_a_trick(served: Served, key_id: str, path: str) -> None:
    for method in ("GET", "POST"):
        data = request(
            method, path.replace("{key_id}", key_id), b"" if method == "POST" else None, key=served.key
        )
        answer = ask(served.port, data)
        assert_withstood(answer)
        assert not 300 <= answer.status < 400, answer
        assert b"root:" not in answer.body
        assert answer.field("a") is None
    assert served.show(key_id)["state"] == "active"


METHODS: Final = (
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "SEARCH", "PURGE", "LINK",
    "REPORT", "QUERY", "M-SEARCH", "CONNECT",
)  # fmt: skip
OPEN_PATHS: Final = (
    "/v1/keys", "/v1/keys/{key_id}", "/v1/keys/{key_id}/resume", "/v1/verify", "/v1/verify/batch", "/livez", "/readyz",
    "/docs", "/openapi.json", "/static-offline-docs/swagger-ui.css", "/nowhere", "/",
)  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_no_method_is_a_trick(served: Served, key_id: str, method: str) -> None:
    for path in OPEN_PATHS:
        answer = ask(served.port, request(method, path.replace("{key_id}", key_id), key=served.key))
        assert answer.status < 500
        if answer.status >= 400 and method != "HEAD":
            answer.any_problem()
        if method == "TRACE":
            assert served.key.encode() not in answer.body
        if method == "HEAD":
            assert answer.body == b""
    assert served.show(key_id)["state"] == "active"


@pytest.mark.parametrize(
    "method", ["FOO", "get", "", " ", "G\x00T", "GETT", "\xff", "PRI", "A" * 10_000, "{}", "GET,POST"]
)
def test_a_method_that_is_none_is_no_request(served: Served, method: str) -> None:
    for path in ("/v1/keys", "/v1/verify", "/livez"):
        with served.connect() as client:
            client.send(request(method, path, key=served.key))
            assert client.last("GET").any_problem()["status"] in (400, 431)


# -- what nobody foresaw ----------------------------------------------------------------------------------------------


class Broken:
    """A node that fails in a way of its own, whatever is asked of it."""

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError("at line 1 of the secret plan")


@pytest.mark.parametrize("path", ["/readyz", "/v1/keys"])
def test_a_failure_that_nobody_foresaw_is_a_problem_without_its_details(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Also one inside the framework, which has an answer of its own for it."""
    broken: Any = Broken()
    management = management_app(broken, broken, broken, cast(Any, None))
    measured = Measured()
    endpoint = VerifyEndpoint(verifier=broken, decider=broken, log=broken, measured=measured)
    application = Dispatcher(
        endpoint=endpoint,
        gateways=AuthorizeEndpoint(verifier=broken, decider=broken, measured=measured),
        management=management,
        admits=broken,
        proxies=TrustedProxies(),
        measured=measured,
    )
    sent: list[dict[str, Any]] = []
    waiting = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        return waiting.pop()

    async def note(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(b"authorization", b"Bearer a")], "client": ("127.0.0.1", 50_000), "server": ("127.0.0.1", 8_700),
    }  # fmt: skip
    asyncio.run(application(scope, receive, note))
    start, body = sent
    fields = tuple((name.decode(), value.decode()) for name, value in start["headers"])
    answer = Answer("HTTP/1.1 500 Internal Server Error", fields, body["body"])
    assert start["status"] == 500
    answer.problem(500, "internal")
    assert b"secret" not in answer.body
    assert "the secret plan" in caplog.text, "whoever runs the server has to know"


# -- anything at all --------------------------------------------------------------------------------------------------

ANY_TEXT: Final = st.text(st.characters(exclude_categories=()), max_size=20)
ANY_JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)
PLAUSIBLE: Final = st.sampled_from((
    "a", "acme", "a.b", "*", "read", "full", "api_token", "hmac", "provisioning", "203.0.113.0/24", "::1",
    "superseded", "2100-01-01T00:00:00Z", "2020-01-01T00:00:00+01:00", 1, 60, 256, 128, True, False, None, (), ("a",),
    ("a", "a"), ("*",), ("::1", "0.0.0.0/0"), {}, {"a": 1}, "kt_" + "0" * 65,
))  # fmt: skip
NAMES: Final = {
    "issue": [
        "type", "scope", "length", "name", "owner", "prefix", "expires_in", "expires_at", "not_before", "permissions",
        "allowed_ips", "metadata", "tags", "recoverable",
    ],
    "update": [
        "name", "scope", "permissions", "allowed_ips", "metadata", "tags", "not_before", "expires_at", "expires_in",
    ],
    "owner": ["reason", "note"],
    "verify": ["key", "scope", "permissions", "ip"],
}  # fmt: skip


def bodies(name: str) -> st.SearchStrategy[Any]:
    """Objects with the fields that are known, sensible or not; any other JSON; and any bytes."""
    values = PLAUSIBLE | ANY_JSON
    known = st.dictionaries(st.sampled_from(NAMES[name]), values, max_size=5)
    return known | known | ANY_JSON | st.binary(max_size=40)


def encoded(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


@settings(max_examples=150)
@given(body=bodies("issue"))
def test_anything_that_is_sent_to_be_issued_is_issued_or_refused(served: Served, body: Any) -> None:
    answer = served.call("POST", "/v1/keys", encoded(body))
    if answer.status != 201:
        # RSA keys are made ahead, a few at a time.
        assert 400 <= answer.status < 500 or answer.any_problem()["code"] == "pool_empty"
        answer.any_problem()
        return
    issued = answer.ok(201)
    shown = served.show(issued["key_id"])
    assert issued == {**shown, "key": issued["key"], "public_key": issued["public_key"]}


@settings(max_examples=150)
@given(body=bodies("update"))
def test_anything_that_is_sent_to_change_a_key_changes_it_or_is_refused(served: Served, body: Any) -> None:
    key_id = served.issue(name="before", tags=["before"], metadata={"before": 1})["key_id"]
    before = served.show(key_id)
    answer = served.call("PATCH", f"/v1/keys/{key_id}", encoded(body))
    after = served.show(key_id)
    if answer.status == 200:
        assert answer.ok() == after
    else:
        assert 400 <= answer.status < 500
        answer.any_problem()
        assert after == before


@settings(max_examples=60)
@given(body=bodies("owner"))
def test_anything_that_is_sent_to_revoke_an_owner_revokes_it_or_is_refused(served: Served, body: Any) -> None:
    answer = served.call("POST", "/v1/owners/nobody/revoke", encoded(body))
    assert_withstood(answer)


@settings(max_examples=200)
@given(body=bodies("verify"))
def test_anything_that_is_asked_is_answered_or_refused_and_in_both_ways_alike(
    served: Served, body: Any
) -> None:
    data = encoded(body)
    plain = served.call("POST", "/v1/verify", data)
    asgi = served.call("POST", "/v1/verify", data, fields=[("Connection", "keep-alive")])
    for answer in (plain, asgi):
        assert_withstood(answer)
    assert plain.line == asgi.line
    if plain.status != 200:
        assert plain.body == asgi.body
    batch = served.call("POST", "/v1/verify/batch", b'{"items": [%s]}' % data)
    assert_withstood(batch)
    assert (batch.status == 200) == (plain.status == 200)


@settings(max_examples=60)
@given(
    path=st.text(st.characters(codec="latin-1", exclude_characters="\r\n \x00"), max_size=60),
    method=st.sampled_from(METHODS),
)
def test_any_path_is_answered(served: Served, path: str, method: str) -> None:
    answer = ask(served.port, request(method, f"/{path}", key=served.key))
    assert answer.status < 500


# -- what is said of them ---------------------------------------------------------------------------------------------

MANAGEMENT: Final = tuple(name for name in ENDPOINTS if name not in ("verify", "batch"))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"name": "a", "name": "b"}', "the body: the member 'name' is there twice"),
        (b'{"metadata": {"a": [{"b": 1, "c": 2, "b": 1}]}}', "the body: the member 'b' is there twice"),
        (b'{"name": "a", "na\\u006de": "a"}', "the body: the member 'name' is there twice"),
        (b'{"length": 1' + b"0" * 5_000 + b"}", "a number in the body has too many digits"),
        (b"[" * 100_000 + b"]" * 100_000, "the body nests too deeply"),
        (b'{"name": "a"', "the body is not JSON"),
    ],
)
@pytest.mark.parametrize("name", MANAGEMENT)
def test_a_body_that_is_not_taken_is_told_why(
    served: Served, key_id: str, name: str, body: bytes, said: str
) -> None:
    before = served.show(key_id)
    answer = send(served, name, key_id, body)
    answer.problem(400, "malformed_json")
    problem = json.loads(answer.body)
    assert problem["detail"] == said
    assert "Content-Type" not in problem["fix"]
    assert served.show(key_id) == before


def test_a_member_that_is_there_twice_and_may_be_a_secret_is_not_repeated(served: Served) -> None:
    token = unknown_token()
    body = json.dumps({token: 1})[:-1] + f', "{token}": 2}}'
    answer = served.call("POST", "/v1/keys", body.encode())
    answer.problem(400, "malformed_json")
    assert token.encode() not in answer.body


def test_a_refusal_is_in_words_of_this_program(served: Served) -> None:
    answer = served.call("POST", "/v1/keys", {"expires_at": "tomorrow"})
    answer.problem(422, "invalid_request", field="expires_at")
    assert json.loads(answer.body)["detail"] == "expires_at: not an RFC 3339 time with an offset"


def test_an_offset_that_lost_its_plus_in_a_query_is_recognised(served: Served) -> None:
    usage = f"/v1/keys/{served.issue()['key_id']}/usage"
    for path, name in (
        ("/v1/keys", "expires_before"),
        ("/v1/keys", "unused_since"),
        (usage, "from"),
        (usage, "to"),
    ):
        answer = served.call("GET", f"{path}?{name}=2026-11-20T00:00:00+01:00")
        answer.problem(422, "invalid_request", field=name)
        assert "%2B" in json.loads(answer.body)["detail"]
        now = quote(datetime.now(timezone(timedelta(hours=1))).isoformat())
        served.call("GET", f"{path}?{name}={now}").ok()
