"""`/v1/authorize`: whether a request may pass a gateway, whatever way the gateway asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.contract.waiting import until
from tests.http.asking import after, expired, in_, with_another_secret
from tests.http.authorizing import BEARER, GATEWAY, WAYS, assert_passes, assert_refused, gateway_of, put
from tests.http.raw import CHUNKED, Raw, ask, chunked, request
from tests.http.served import Served, another_source, unknown_token

INVALID: Final = f'{BEARER}, error="invalid_token"'
INSUFFICIENT: Final = f'{BEARER}, error="insufficient_scope"'

every_way = pytest.mark.parametrize("way", WAYS)
both_ways = pytest.mark.parametrize("way", ["plain", "asgi"])


# -- the client's key -------------------------------------------------------------------------------------------------


@every_way
def test_a_valid_key_passes_and_the_application_may_learn_whose_it_is(served: Served, way: str) -> None:
    key = served.issue(owner="acme", scope="read_write", permissions=["documents.read", "billing.*"])
    assert_passes(
        put(served, way, key=key["key"]),
        key_id=key["key_id"], version="1", owner="acme", scope="read_write", permissions="documents.read billing.*",
    )  # fmt: skip


@every_way
def test_what_a_key_does_not_have_is_not_said(served: Served, way: str) -> None:
    assert_passes(put(served, way, key=served.issue()["key"]), owner=None, permissions=None, scope="read")


@both_ways
@pytest.mark.parametrize(
    "owner",
    [
        "a b", "é", "日本", "🔑", "%", "%00", "100%25", "%0d%0aX-Keyturn-Valid: true", "a: b", 'a"b', "a,b;c=d",
        "a/b?c#d", "<script>", "a\u200db", "'; --", "\\r\\n", "a" * 256, "🔐" * 256,
    ],
)  # fmt: skip
def test_no_owners_name_ends_a_field_or_begins_another(served: Served, way: str, owner: str) -> None:
    plain = assert_passes(put(served, way, key=served.issue(owner="acme")["key"]))
    answer = assert_passes(put(served, way, key=served.issue(owner=owner)["key"]), owner=owner)
    assert [name for name, _ in answer.fields] == [name for name, _ in plain.fields]
    shown = answer.field("x-keyturn-owner") or ""
    assert all("!" <= character <= "~" for character in shown)


@both_ways
def test_permissions_that_are_too_long_for_a_gateway_are_left_out_whole(served: Served, way: str) -> None:
    """Half of them would be another list."""
    fits = [f"{number:0>127}" for number in range(16)]
    key = served.issue(permissions=fits)["key"]
    assert_passes(put(served, way, key=key), permissions=" ".join(fits))
    more = served.issue(permissions=[*fits, "a"])["key"]
    assert_passes(put(served, way, key=more, require='permissions="a"'), permissions=None)


def issued(served: Served, **wanted: Any) -> str:
    return str(served.issue(**wanted)["key"])


# What is presented, what is required, and how that is answered.
REFUSED: Final[dict[str, tuple[Callable[[Served], str], str | None, int, str, str | None]]] = {
    "malformed": (lambda _: "hello", None, 401, "malformed", INVALID),
    "not text": (lambda _: "\xe9" * 70, None, 401, "malformed", INVALID),
    "unknown": (lambda _: unknown_token(), None, 401, "not_found", INVALID),
    "a wrong secret": (lambda s: with_another_secret(issued(s)), None, 401, "not_found", INVALID),
    "another tenant's": (lambda s: str(s.issue_elsewhere()["key"]), None, 401, "not_found", INVALID),
    "not yet valid": (lambda s: issued(s, not_before=in_(hours=1)), None, 401, "not_yet_valid", INVALID),
    "expired": (lambda s: str(expired(s)["key"]), None, 401, "expired", INVALID),
    "suspended": (lambda s: str(after("suspend")(s)["key"]), None, 401, "suspended", INVALID),
    "revoked": (lambda s: str(after("revoke")(s)["key"]), None, 401, "revoked", INVALID),
    "destroyed": (lambda s: str(after("destroy")(s)["key"]), None, 401, "revoked", INVALID),
    "another scope": (issued, "scope=write", 403, "insufficient_scope", INSUFFICIENT),
    "another permission": (issued, "permissions=a.b", 403, "insufficient_permissions", INSUFFICIENT),
    "bound": (lambda s: issued(s, allowed_ips=["127.0.0.1", "203.0.113.9"]), None, 403, "ip_denied", None),
}  # fmt: skip


@every_way
@pytest.mark.parametrize("name", REFUSED)
def test_a_key_that_is_not_good_for_it_is_refused_with_the_reason(
    served: Served, way: str, name: str
) -> None:
    make, require, status, code, challenge = REFUSED[name]
    answer = put(served, way, key=make(served), require=require)
    assert_refused(answer, status, code, challenge, is_head=way == "head")


def test_a_refused_key_is_named_to_the_gateway_and_its_owner_is_not(served: Served) -> None:
    key = served.issue(owner="secretive", permissions=["a.b"], metadata={"a": "secretive"})
    served.act(key["key_id"], "revoke").ok()
    answer = assert_refused(put(served, key=key["key"]), 401, "revoked", INVALID)
    assert answer.field("x-keyturn-key-id") == key["key_id"]
    assert b"secretive" not in answer.body
    unknown = assert_refused(put(served, key=unknown_token()), 401, "not_found", INVALID)
    assert unknown.field("x-keyturn-key-id") is None


@every_way
@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("Authorization", "")],
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer ")],
        [("X-API-Key", "")],
        [("Authorization", "Basic a2V5OnR1cm4=")],
        [("Authorization", "Token {key}")],
        [("Authorization", "{key}")],
        [("Proxy-Authorization", "Bearer {key}")],
        [("API-Key", "{key}")],
        [("X_API_Key", "{key}")],
        [("Cookie", "key={key}")],
    ],
    ids=str,
)
def test_a_request_without_a_key_is_told_how_to_send_one(
    served: Served, way: str, fields: list[tuple[str, str]]
) -> None:
    key = issued(served)
    sent = [(name, value.replace("{key}", key)) for name, value in fields]
    answer = put(served, way, fields=sent)
    assert_refused(answer, 401, "unauthenticated", BEARER, is_head=way == "head")


@every_way
def test_a_key_comes_in_either_field_or_the_same_one_in_both(served: Served, way: str) -> None:
    key = served.issue()
    bearer, api_key = ("Authorization", f"Bearer {key['key']}"), ("X-API-Key", key["key"])
    for fields in ([bearer], [api_key], [bearer, api_key], [api_key, bearer]):
        assert_passes(put(served, way, fields=fields), key_id=key["key_id"])
    for value in (f"bearer {key['key']}", f"BEARER   {key['key']}  "):
        assert_passes(put(served, way, fields=[("authorization", value), ("x-api-key", f" {key['key']} ")]))


@every_way
def test_two_different_keys_are_one_too_many(served: Served, way: str) -> None:
    one, other = issued(served), issued(served)
    for bearer, api_key in (
        (one, other),
        (other, one),
        (one, "hello"),
        ("", one),
        (one, ""),
        (one, one.upper()),
    ):
        fields = [("Authorization", f"Bearer {bearer}"), ("X-API-Key", api_key)]
        answer = put(served, way, fields=fields)
        assert_refused(answer, 400, "two_credentials", is_head=way == "head")


def test_another_schemes_credentials_are_the_applications_business(served: Served) -> None:
    fields = [("Authorization", "Basic a2V5OnR1cm4="), ("X-API-Key", issued(served))]
    assert_passes(put(served, fields=fields))


@every_way
@pytest.mark.parametrize("name", ["Authorization", "X-API-Key", "Keyturn-Require", "Keyturn-Gateway-Key"])
def test_a_field_that_is_there_twice_is_refused_even_if_it_says_the_same(
    served: Served, way: str, name: str
) -> None:
    key = issued(served)
    values = {
        "Authorization": f"Bearer {key}",
        "X-API-Key": key,
        "Keyturn-Require": "scope=read",
        "Keyturn-Gateway-Key": gateway_of(served),
    }
    fields = [(field, value) for field, value in values.items() if field != "Keyturn-Gateway-Key"]
    for again in (name, name.lower(), name.upper()):
        answer = put(served, way, fields=[*fields, (again, values[name])])
        assert_refused(answer, 400, "duplicate_header", is_head=way == "head")
        assert_refused(
            put(served, way, fields=[*fields, (again, "")]), 400, "duplicate_header", is_head=way == "head"
        )
    assert_passes(put(served, way, fields=fields))


# -- the gateway's key ------------------------------------------------------------------------------------------------

NO_GATEWAYS: Final[dict[str, Callable[[Served], str]]] = {
    "none": lambda _: "",
    "no token": lambda _: "hello",
    "unknown": lambda _: unknown_token(),
    "a wrong secret": lambda s: with_another_secret(gateway_of(s)),
    "an api_token": lambda s: issued(s, scope="full", permissions=["*"]),
    "with a scheme": lambda s: f"Bearer {gateway_of(s)}",
    "revoked": lambda s: str(after("revoke", **EVERYTHING)(s)["key"]),
    "suspended": lambda s: str(after("suspend", **EVERYTHING)(s)["key"]),
    "not yet valid": lambda s: issued(s, not_before=in_(hours=1), **EVERYTHING),
    "expired": lambda s: str(expired(s, "provisioning")["key"]),
}
EVERYTHING: Final[dict[str, Any]] = {"type": "provisioning", "scope": "full", "permissions": ["*"]}


@every_way
@pytest.mark.parametrize("name", NO_GATEWAYS)
def test_whoever_is_no_gateway_is_not_taken_for_a_client_without_a_key(
    served: Served, way: str, name: str
) -> None:
    """An operator sees at once whose key is wrong, and no browser asks its user for one."""
    gateway, source = NO_GATEWAYS[name](served), another_source()
    for key in (issued(served), None, "hello"):
        answer = put(served, way, gateway, key=key, source=source)
        assert_refused(answer, 401, "gateway_unauthenticated", GATEWAY, is_head=way == "head")
        assert way == "head" or "Keyturn-Gateway-Key" in answer.json["fix"]


@both_ways
def test_a_call_without_the_gateways_field_is_refused_whatever_else_it_carries(
    served: Served, way: str
) -> None:
    for fields in (
        [("Authorization", f"Bearer {served.key}")],
        [("X-API-Key", served.key)],
        [("Keyturn-Gateway", served.key), ("Gateway-Key", served.key), ("Keyturn_Gateway_Key", served.key)],
    ):
        answer = ask(served.port, WAYS[way]("/v1/authorize", fields))
        assert_refused(answer, 401, "gateway_unauthenticated", GATEWAY)


@every_way
@pytest.mark.parametrize("permissions", [(), ("keys.read",), ("keys",), ("keys.verify.all",)])
def test_a_gateway_needs_the_permission_to_verify(
    served: Served, way: str, permissions: tuple[str, ...]
) -> None:
    answer = put(served, way, served.provision(*permissions), key=issued(served))
    assert_refused(answer, 403, "gateway_forbidden", is_head=way == "head")


@every_way
@pytest.mark.parametrize("permission", ["keys.verify", "keys.*", "*"])
def test_a_gateway_needs_no_more_than_that(served: Served, way: str, permission: str) -> None:
    assert_passes(put(served, way, served.provision(permission, scope="read"), key=issued(served)))


@both_ways
def test_a_gateways_key_is_bound_to_its_own_address(served: Served, way: str) -> None:
    there = served.provision("keys.verify", allowed_ips=["192.0.2.0/24"])
    here = served.provision("keys.verify", allowed_ips=["127.0.0.1"])
    fields = [("X-Forwarded-For", "192.0.2.1"), ("X-Real-IP", "192.0.2.1")]
    answer = put(served, way, there, key=issued(served), fields=fields)
    assert_refused(answer, 403, "gateway_forbidden")
    assert "allowed_ips" in answer.json["fix"]
    assert_passes(put(served, way, here, key=issued(served), fields=fields))


@both_ways
def test_where_a_gateway_asks_from_is_looked_at_each_time(served: Served, way: str) -> None:
    own, home = str(served.issue()["key"]), another_source()
    gateway = served.provision("keys.verify", allowed_ips=[home])
    for source in (home, home, another_source(), home, another_source(), another_source(), home):
        answer = put(served, way, gateway, key=own, source=source)
        if source == home:
            assert_passes(answer)
        else:
            assert_refused(answer, 403, "gateway_forbidden")


@both_ways
def test_a_gateway_asks_about_its_own_tenant(served: Served, way: str) -> None:
    theirs = str(served.issue_elsewhere()["key"])
    assert_passes(put(served, way, served.foreigner, key=theirs))
    assert_refused(put(served, way, key=theirs), 401, "not_found", INVALID)
    assert_refused(put(served, way, served.foreigner, key=issued(served)), 401, "not_found", INVALID)


@both_ways
def test_a_gateway_whose_clients_guess_is_not_throttled_itself(served: Served, way: str) -> None:
    """Where nobody that is trusted says who the client is, its address is not known: it is not the gateway's."""
    for _ in range(60):
        assert put(served, way, key=unknown_token()).status == 401
    assert_passes(put(served, way, key=issued(served)))


@both_ways
def test_somebody_who_guesses_at_a_gateways_key_is_throttled(served: Served, way: str) -> None:
    source = another_source()
    until(lambda: put(served, way, unknown_token(), key="a", source=source).status == 429)
    answer = assert_refused(
        put(served, way, unknown_token(), key="a", source=source), 429, "gateway_throttled"
    )
    assert answer.field("retry-after") == "1"
    assert "Retry-After" in answer.json["fix"]
    assert_passes(put(served, way, key=issued(served), source=source))


# -- changes ----------------------------------------------------------------------------------------------------------


@both_ways
def test_what_ends_or_changes_holds_at_the_very_next_request_of_a_connection(
    served: Served, way: str
) -> None:
    gateway = served.issue(type="provisioning", permissions=["keys.verify"])
    key = served.issue(scope="read")
    fields = [("Keyturn-Gateway-Key", gateway["key"]), ("X-API-Key", key["key"])]
    data = WAYS[way]("/v1/authorize/a", fields)
    with Raw(served.port) as client:

        def codes(expected: str) -> None:
            for _ in range(3):
                answer = client.send(data).answer()
                assert answer.field("x-keyturn-code") == expected
                assert (answer.status == 200) is (expected == "valid")

        codes("valid")
        for act, code in (("suspend", "suspended"), ("resume", "valid")):
            served.act(key["key_id"], act).ok()
            codes(code)
        for profile, code in (({"scope": "write"}, "insufficient_scope"), (None, "valid")):
            served.call("PATCH", f"/v1/keys/{gateway['key_id']}", {"profile": profile}).ok()
            codes(code)
        served.call("PATCH", f"/v1/keys/{gateway['key_id']}", {"permissions": ["keys.read"]}).ok()
        codes("gateway_forbidden")
        served.call("PATCH", f"/v1/keys/{gateway['key_id']}", {"permissions": ["keys.verify"]}).ok()
        codes("valid")
        served.act(key["key_id"], "revoke").ok()
        codes("revoked")
        served.act(gateway["key_id"], "revoke").ok()
        codes("gateway_unauthenticated")


def test_uses_and_refusals_are_counted_for_the_clients_key(served: Served) -> None:
    key = served.issue(scope="read")
    for _ in range(3):
        assert_passes(put(served, key=key["key"]))
    assert_refused(
        put(served, key=key["key"], require="scope=write"), 403, "insufficient_scope", INSUFFICIENT
    )

    def counts() -> tuple[int, dict[str, int], str | None]:
        with served.node() as node:
            usage = node.usage.of(key["key_id"], node.clock.now())
        return usage.total, dict(usage.refused), usage.last_ip

    until(lambda: counts() == (3, {"insufficient_scope": 1}, None))


# -- paths and bodies -------------------------------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize(
    "path",
    ["/v1/authorize/", "/v1/authorize/a", "/v1/authorize//", "/v1/authorize/../keys", "/v1/authorize/%2e%2e/keys",
     "/v1/authorize/a/b/c%20d", "/v1/authorize/%00", "/v1/authorize/%ff", "/v1/authorize/%", "/v1/authorize/a;b=c",
     "/v1/authorize/?a=b", "/v1/authorize/a?b=c&d", "/v1/authorize?", "/v1/authorize/" + "a" * 4_000],
)  # fmt: skip
def test_the_clients_path_behind_it_makes_no_difference(served: Served, way: str, path: str) -> None:
    assert_passes(put(served, way, key=issued(served), path=path))
    assert_refused(put(served, way, key="hello", path=path), 401, "malformed", INVALID)


@both_ways
@pytest.mark.parametrize(
    "path",
    ["/v1/authorized", "/v1/authorize%2F", "/v1/authorize%3Fscope=read", "/v1/Authorize", "//v1/authorize",
     "/v1//authorize",
     "/v1/authorize%00", "/v1/authorize*", "/v1/authorize;a", "/authorize", "/v1/authoriz"],
)  # fmt: skip
def test_nothing_that_is_not_its_path_passes_anything(served: Served, way: str, path: str) -> None:
    answer = put(served, way, key=issued(served), path=path)
    if path == "/v1/authorize%2F":  # is /v1/authorize/ to whoever decodes it, and as good
        assert_passes(answer)
    else:
        answer.problem(404, "not_found")


def test_a_body_is_not_looked_at_and_has_its_bounds(served: Served) -> None:
    fields = [("Keyturn-Gateway-Key", gateway_of(served)), ("X-API-Key", issued(served))]
    for body in (b"", b"{", b"\x00\xff", b"a" * 1_048_576):
        answer = ask(served.port, request("POST", "/v1/authorize/a", body, fields=fields))
        assert_passes(answer)
        answer = ask(served.port, request("GET", "/v1/authorize", chunked(body), fields=[*fields, *CHUNKED]))
        assert_passes(answer)
    too_large = b"a" * 1_048_577
    with Raw(served.port) as client:
        client.send(request("POST", "/v1/authorize", too_large, fields=fields))
        client.last("POST").problem(413, "body_too_large")


def test_the_short_way_and_asgi_answer_every_question_with_the_same_bytes(served: Served) -> None:
    key = served.issue(owner="a b", permissions=["a.b"])["key"]
    asked: list[dict[str, Any]] = [
        {"key": key},
        {"key": str(served.issue()["key"])},  # cold
        {"key": key, "require": "scope=write"},
        {"key": key, "require": "scope="},
        {"key": key, "path": "/v1/authorize?scope=read"},
        {"key": key, "path": "/v1/authorize?scope=none"},
        {"key": key, "path": "/v1/authorize/a?scope=none"},
        {"key": key, "gateway": ""},
        {"key": key, "gateway": served.provision("keys.read")},
        {"key": "hello"},
        {"key": unknown_token()},
        {"key": str(after("revoke")(served)["key"])},
        {"fields": []},
        {"key": key, "fields": [("X-API-Key", "hello")]},
        {"key": key, "fields": [("Authorization", "Bearer hello")]},
    ]
    for question in asked:
        plain, asgi = (
            put(served, way, **question).without("date", "connection", "x-keyturn-as-of")
            for way in ("plain", "asgi")
        )
        assert plain == asgi, question


def test_whole_requests_in_one_write_are_answered_in_order(served: Served) -> None:
    keys = [served.issue(owner=f"owner-{number}") for number in range(5)]
    ways = [way for way in WAYS if way != "old"]
    sent = [
        (way, key["owner"], [("Keyturn-Gateway-Key", gateway_of(served)), ("X-API-Key", key["key"])])
        for way in [*ways, *["plain"] * 20, *ways]
        for key in keys
    ]
    with Raw(served.port) as client:
        client.send(b"".join(WAYS[way]("/v1/authorize/a?b", fields) for way, _, fields in sent))
        for way, owner, _ in sent:
            assert_passes(client.answer("HEAD" if way == "head" else "GET"), owner=owner)
        assert client.end().rest() == b""


def test_a_refusal_has_a_body_but_for_a_head(served: Served) -> None:
    """What followed would otherwise be taken for the next answer."""
    fields = [("Keyturn-Gateway-Key", gateway_of(served)), ("X-API-Key", issued(served))]
    fields.append(("Keyturn-Require", "scope=write"))
    ways = [way for way in WAYS if way != "old"] * 3
    with Raw(served.port) as client:
        for way in ways:
            client.send(WAYS[way]("/v1/authorize", fields))
            answer = client.answer("HEAD" if way == "head" else "GET")
            assert_refused(answer, 403, "insufficient_scope", INSUFFICIENT, is_head=way == "head")
        assert client.end().rest() == b""
