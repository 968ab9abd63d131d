"""Through real gateways: nothing in a client's request changes what is required of it, or who it is said to be."""

from __future__ import annotations

import posixpath
import re
from typing import Final
from urllib.parse import unquote, urljoin, urlsplit

import pytest

from tests.gateways.scene import Fields, Scene, another_source

# Ways to write a path that is within /admin for somebody, or that pretends to be elsewhere.
PATHS: Final = (
    "/admin", "/admin/", "/admin/x", "/admin?scope=read", "/admin?scope=read&permissions=documents.read",
    "/admin?/../x",
    "/%61dmin", "/%61%64%6D%69%6E/x", "/admi%6e", "/x/../admin", "/x/%2e%2e/admin", "/x/%2E./admin", "/x/..%2fadmin",
    "/x%2f..%2fadmin", "//admin", "///admin", "/./admin", "/%2e/admin", "/%2fadmin", "/%5cadmin", "/x/..%5cadmin",
    "/admin%2fx", "/admin;a=b", "/admin%3bx", "/admin%00", "/admin%20", "/admin%3fscope=read", "/admin%23",
    "/admin//..//admin",
    "/admin/../admin", "/admin/..;/admin", "/..", "/../admin", "http://elsewhere.test/admin", "http://elsewhere.test//admin",
    "/_keyturn/read/../../admin", "/v1/authorize/../../admin", "/admin/%2e%2e/admin", "/admin#", "/admin/#/..",
    "/x/..;/admin", "/;x/admin", "/%3bx/admin", "/x/..%3Ba/admin", "/x;/../admin",
    "/Admin", "/ADMIN/x", "/%41DMIN", "/admin/%", "/admin%zz", "/%61dmin/%g1", "/%zz/../admin", "/x%zz/%2e%2e/admin",
    "/admin/../x", "/admin/%2e%2e/x", "/admin%2f../x", "/admin//../x", "/admin//%2e%2e/x", "/admin/%2f../x",
    "/x#/../admin",
)  # fmt: skip

# What a gateway, or something behind it, might believe.
FIELDS: Final[tuple[Fields, ...]] = (
    (("Keyturn-Require", "scope=read"),),
    (("keyturn-require", "scope=read"),),
    (("KEYTURN-REQUIRE", "cost=1"),),
    (("Keyturn_Require", "scope=read"),),
    (("Keyturn-Require", ""),),
    (("Keyturn-Require", "scope=read"), ("Keyturn-Require", "scope=read")),
    (("Keyturn-Require ", "scope=read"),),
    (("X-Keyturn-Valid", "true"), ("X-Keyturn-Code", "valid"), ("X-Keyturn-Scope", "full")),
    (("X-Keyturn-Permissions", "*"), ("x-keyturn-permissions", "documents.admin")),
    (("X-Original-URI", "/"), ("X-Original-URL", "/"), ("X-Original-Method", "OPTIONS")),
    (("X-Original-Uri", "/x"), ("X-Rewrite-URL", "/"), ("X-Forwarded-Uri", "/"), ("X-Forwarded-Method", "GET")),
    (("X-Forwarded-Prefix", "/x"), ("X-Forwarded-Host", "elsewhere.test"), ("X-HTTP-Method-Override", "OPTIONS")),
    (("X-Envoy-Original-Path", "/"), ("X-Envoy-Internal", "true"), ("X-Envoy-Force-Trace", "true")),
    (("X-Forwarded-For", "127.0.0.1"), ("Forwarded", "for=127.0.0.1")),
    (("Connection", "close, Keyturn-Require, Keyturn-Gateway-Key, X-Keyturn-Owner"),),
    (("Connection", "Keyturn-Require"), ("Keyturn-Require", "scope=read")),
    (("Connection", "upgrade"), ("Upgrade", "websocket")),
    (("TE", "trailers"), ("Trailer", "Keyturn-Require")),
    (("Range", "bytes=0-0"), ("If-None-Match", "*"), ("Cache-Control", "only-if-cached")),
)  # fmt: skip


def is_admin(target: str) -> bool:
    """Whether some application that decodes paths takes this one to be within /admin."""
    split = urlsplit(target if "://" in target else f"http://a{target}")
    path = unquote(split.path).lower()
    readings = (
        path,
        posixpath.normpath(re.sub(r"[/\\]+", "/", re.sub(";[^/]*", "", path))),  # as servlets do
        urlsplit(urljoin("http://a", path.lstrip("/"))).path,  # RFC 3986: between // there is a segment
        posixpath.normpath(
            f"{path}#{split.fragment}"
        ),  # no request has a fragment, so some do not look for one
    )
    return any(reading.lstrip("/").startswith("admin") for reading in readings)


@pytest.mark.parametrize("target", PATHS)
def test_no_way_to_write_a_path_leads_to_what_is_required_less(scene: Scene, target: str) -> None:
    answer, seen = scene.ask(target, key=scene.token("reader"))
    assert not [each for each in seen if is_admin(each.target)], seen
    assert answer.status in (400, 403, 404) or seen, answer
    for query in ("scope=read", "scope=admin&scope=read", "permissions=documents.read"):
        separator = "&" if "?" in target else "?"
        _, seen = scene.ask(f"{target}{separator}{query}", key=scene.token("reader"))
        assert not [each for each in seen if is_admin(each.target)], seen


@pytest.mark.parametrize("fields", FIELDS, ids=str)
def test_no_field_of_a_client_changes_what_is_required(scene: Scene, fields: Fields) -> None:
    assert scene.stops("/admin", key=scene.token("reader"), fields=fields).status in (400, 403)
    assert scene.stops("/", key=scene.token("writer"), fields=fields).status in (400, 403)
    assert scene.stops("/", fields=fields).status in (400, 401, 403)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "POST", "PROPFIND", "PURGE"])
def test_no_method_passes_unasked(scene: Scene, method: str) -> None:
    assert scene.stops("/", method=method).status in (400, 401, 405)
    assert scene.stops("/admin", key=scene.token("reader"), method=method).status in (400, 403, 405)


def test_a_client_is_no_gateway(scene: Scene) -> None:
    """Whatever key it writes there: the gateway sends its own."""
    lax = scene.issue(type="provisioning", permissions=["keys.verify"])
    for own in (lax, scene.gateway_key, scene.server.first_key, "", "hello"):
        for name in ("Keyturn-Gateway-Key", "keyturn-gateway-key", "KEYTURN-GATEWAY-KEY"):
            fields = ((name, own),)
            assert scene.stops(fields=fields).status == 401
            assert scene.stops(key=scene.token("writer"), fields=fields).status == 403
            seen = scene.passes(key=scene.token("reader"), fields=fields)
            assert "keyturn-gateway-key" not in seen.names


@pytest.mark.parametrize("name", ["X-Keyturn-{}", "x-keyturn-{}", "X-KEYTURN-{}", "X_Keyturn_{}"])
def test_what_a_client_says_of_itself_never_arrives(scene: Scene, name: str) -> None:
    """Also where Keyturn has nothing to say: this key has neither owner nor permissions."""
    said = ("Valid", "Code", "Key-Id", "Version", "Owner", "Scope", "Permissions", "As-Of")
    fields = tuple((name.format(each), "root") for each in said)
    answer, seen = scene.ask("/", key=scene.token("nobody's"), fields=(*fields, *fields))
    if not seen:
        assert answer.status == 400
        return
    assert "root" not in str(seen)
    assert seen[0].field("X-Keyturn-Key-Id") == scene.keys["nobody's"]["key_id"]
    assert seen[0].field("X-Keyturn-Owner") is None


def test_the_connection_field_takes_nothing_away(scene: Scene) -> None:
    named = "close, X-Keyturn-Owner, X-Keyturn-Key-Id, Keyturn-Require, Keyturn-Gateway-Key, X-Forwarded-For"
    answer, seen = scene.ask("/", key=scene.token("reader"), fields=(("Connection", named),))
    if seen:
        assert seen[0].field("X-Keyturn-Owner") == "ada"
    else:
        assert answer.status == 400


@pytest.mark.parametrize("first", ["reader", "writer"])
def test_of_two_keys_none_is_chosen(scene: Scene, first: str) -> None:
    second = "writer" if first == "reader" else "reader"
    bearers = tuple(("Authorization", f"Bearer {scene.token(name)}") for name in (first, second))
    api_keys = tuple(("X-API-Key", scene.token(name)) for name in (first, second))
    for fields in (
        bearers,
        api_keys,
        (bearers[0], api_keys[1]),
        (api_keys[0], bearers[1]),
        (bearers[0], bearers[0]),
    ):
        assert scene.stops(fields=fields).status in (400, 401)


def test_a_key_that_is_bound_to_an_address_passes_from_there_alone(scene: Scene) -> None:
    home, elsewhere = another_source(), another_source()
    key = scene.issue(allowed_ips=[home])
    claims: tuple[Fields, ...] = (
        (), (("X-Forwarded-For", home),), (("X-Forwarded-For", elsewhere),), (("X-Forwarded-For", f"{home}, {home}"),),
        (("X-Forwarded-For", home), ("X-Forwarded-For", home)), (("X-Real-IP", home), ("Forwarded", f"for={home}")),
        (("X-Forwarded-For", "unknown"),), (("x-forwarded-for", ""),),
    )  # fmt: skip
    for fields in claims:
        assert scene.stops(key=key, source=elsewhere, fields=fields).status == 403
        scene.passes(key=key, source=home, fields=fields)


def test_what_the_gateway_asks_with_is_not_for_clients(scene: Scene) -> None:
    """nginx has locations for it; to the others these are paths as any."""
    for target in ("/_keyturn/read", "/_keyturn/admin", "/_keyturn", "/v1/authorize", "/v1/keys"):
        assert scene.stops(target).status in (401, 404)
        answer, seen = scene.ask(target, key=scene.token("reader"))
        assert answer.status == 404 if not seen else answer.is_the_applications
