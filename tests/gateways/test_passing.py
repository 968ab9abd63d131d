"""Through real gateways: good requests reach the application whole, bad ones are told why, with their header fields."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import unquote

import pytest

from tests.contract.waiting import until
from tests.gateways.scene import Fields, Scene, another_source
from tests.http.raw import chunked
from tests.http.served import unknown_token

BEARER: Final = 'Bearer realm="keyturn"'
INVALID: Final = f'{BEARER}, error="invalid_token"'
INSUFFICIENT: Final = f'{BEARER}, error="insufficient_scope"'
CHUNKED: Final[Fields] = (("Transfer-Encoding", "chunked"),)

REQUESTS: Final[dict[str, tuple[str, str, bytes, Fields]]] = {
    "get": ("GET", "/a/b?c=d&e", b"", ()),
    "post": ("POST", "/a", b"of the client", ()),
    "large": ("POST", "/a", b"0123456789" * 50_000, ()),
    "chunks": ("PUT", "/a", chunked(b"of the client", 5), CHUNKED),
    "delete": ("DELETE", "/a", b"", ()),
    "options": ("OPTIONS", "/a", b"", ()),
    "head": ("HEAD", "/a?b", b"", ()),
    "patch": ("PATCH", "/%C3%A9?%20", b"{}", (("Content-Type", "application/json"),)),
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
def test_a_good_request_reaches_the_application_as_it_was(scene: Scene, name: str) -> None:
    method, target, body, fields = REQUESTS[name]
    seen = scene.passes(
        target, key=scene.token("reader"), method=method, body=body, fields=(*fields, ("Own", "field"))
    )
    whole = b"of the client" if fields is CHUNKED else body
    assert (seen.method, seen.target, seen.body) == (method, target, whole)
    assert seen.field("Own") == "field"


def test_a_client_of_old_that_names_no_host_is_asked_for_a_key(scene: Scene) -> None:
    """HTTP/1.0 needs no Host; Envoy, as it is configured here, does not speak it."""
    with socket.create_connection(("127.0.0.1", scene.gateway.port), timeout=30) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = client.recv(65_536)
    assert answer.split()[1] == (b"426" if scene.name == "envoy" else b"401"), answer


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 429, 500, 503])
def test_the_applications_own_answers_are_passed_on(scene: Scene, status: int) -> None:
    fields = (("Wanted-Status", str(status)),)
    answer, seen = scene.ask("/", key=scene.token("reader"), fields=fields)
    assert answer.is_the_applications
    assert (answer.status, len(seen)) == (status, 1)
    assert answer.all("WWW-Authenticate") == answer.all("Retry-After") == []


def test_the_application_learns_who_it_is_and_not_by_which_key(scene: Scene) -> None:
    for fields in (
        (("Authorization", f"Bearer {scene.token('reader')}"),),
        (("X-API-Key", scene.token("reader")),),
    ):
        seen = scene.passes(fields=fields)
        key = scene.keys["reader"]
        said = {
            name: seen.field(f"X-Keyturn-{name}")
            for name in ("Key-Id", "Version", "Owner", "Scope", "Permissions")
        }
        assert said == {
            "Key-Id": key["key_id"], "Version": "1", "Owner": "ada", "Scope": "read",
            "Permissions": "documents.read documents.list",
        }  # fmt: skip
        assert not seen.names & {"authorization", "x-api-key", "keyturn-gateway-key", "keyturn-require"}
        assert scene.gateway_key not in str(seen)


@pytest.mark.parametrize("owner", ["a b", "é", "100%", "a\u200db", "x: y", "🔐" * 256], ids=ascii)
def test_any_owners_name_arrives(scene: Scene, owner: str) -> None:
    permissions = [f"{number:0>127}" for number in range(16)]
    seen = scene.passes(key=scene.issue(owner=owner, permissions=permissions))
    assert unquote(seen.field("X-Keyturn-Owner") or "", errors="strict") == owner
    assert seen.field("X-Keyturn-Permissions") == " ".join(permissions)


def revoked(scene: Scene) -> str:
    key = scene.server.issue(owner="late")
    assert scene.server.call("POST", f"/v1/keys/{key['key_id']}/revoke", key=scene.server.first_key)[0] == 200
    return str(key["key"])


REFUSED: Final[dict[str, tuple[Any, str, int, str | None]]] = {
    "no key": (lambda _: None, "/", 401, BEARER),
    "no token": (lambda _: "hello", "/", 401, INVALID),
    "unknown": (lambda _: unknown_token(), "/", 401, INVALID),
    "revoked": (revoked, "/", 401, INVALID),
    "a scope that the profile requires": (lambda s: s.token("writer"), "/", 403, INSUFFICIENT),
    "a scope that the location requires": (lambda s: s.token("reader"), "/admin", 403, INSUFFICIENT),
    "a permission": (lambda s: s.issue(scope="full"), "/admin/x?scope=read", 403, INSUFFICIENT),
    "bound elsewhere": (lambda s: s.issue(allowed_ips=["203.0.113.9"]), "/", 403, None),
}


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_request_is_answered_with_its_status_and_challenge(
    scene: Scene, name: str, method: str
) -> None:
    make, target, status, challenge = REFUSED[name]
    body = b"of the client" if method == "POST" else b""
    answer = scene.stops(target, key=make(scene), method=method, body=body)
    assert answer.status == status
    assert answer.all("WWW-Authenticate") == ([] if challenge is None else [challenge])
    assert not [field for field, _ in answer.fields if field.lower().startswith(("x-keyturn", "keyturn"))]
    assert b"late" not in answer.body


def test_an_admins_key_may_do_both(scene: Scene) -> None:
    for target in ("/", "/admin", "/admin/x"):
        assert scene.passes(target, key=scene.token("admin")).target == target


def test_a_client_that_guesses_is_told_to_wait(scene: Scene) -> None:
    source, cold = another_source(), scene.issue()
    until(lambda: scene.stops(key=unknown_token(), source=source).status == 429)
    answer = scene.stops(key=cold, source=source)
    assert (answer.status, answer.all("Retry-After")) == (429, ["1"])
    scene.passes(key=cold, source=another_source())


def test_two_different_keys_are_a_bad_request(scene: Scene) -> None:
    fields = (("X-API-Key", scene.token("admin")),)
    assert scene.stops(key=scene.token("reader"), fields=fields).status == 400


def test_many_clients_at_once_are_not_taken_for_each_other(scene: Scene) -> None:
    owners = {f"owner-{number}": scene.issue(owner=f"owner-{number}") for number in range(8)}

    def ask(owner: str) -> None:
        with scene.client() as client:
            for number in range(40):
                fields = (("Claimed", owner),)
                answer = client.ask(f"/{number}", key=owners[owner], fields=fields)
                assert answer.is_the_applications, answer
                assert client.ask("/admin", key=owners[owner], fields=fields).status == 403

    before = len(scene.application.seen)
    with ThreadPoolExecutor(len(owners)) as threads:
        list(threads.map(ask, owners))
    seen = scene.application.seen[before:]
    assert len(seen) == 40 * len(owners)
    assert all(each.field("X-Keyturn-Owner") == each.field("Claimed") for each in seen)
