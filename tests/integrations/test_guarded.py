"""Every framework, verifying on the store and by a server: good requests pass, bad ones are refused, and how."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import quote

import pytest

from keyturn.domain.token import MAX_TOKEN_CHARACTERS
from tests.contract.waiting import until
from tests.http.asking import expired, in_, with_another_secret
from tests.http.served import Served, another_source, unknown_token
from tests.integrations.conftest import ON_THE_STORE, Guarded
from tests.integrations.running_app import APPLICATIONS, RunningApp

BOUND: Final = 1.0  # seconds, on the store and for answers of the server


def test_a_good_key_passes_and_the_application_knows_whose_it_is(app: RunningApp, served: Served) -> None:
    issued = served.issue(
        owner="acme", scope="read_write", permissions=["documents.*"], metadata={"plan": "pro"}
    )
    for path in ("/any", "/read", "/write"):
        said = app.get(path, issued["key"]).ok()
        assert said.pop("pid") > 0
        assert said == {
            "code": "valid", "key_id": issued["key_id"], "owner": "acme", "scope": "read_write",
            "permissions": ["documents.*"], "metadata": {"plan": "pro"},
        }  # fmt: skip
    assert app.get("/documents", issued["key"]).ok()["code"] == "valid"
    assert app.get("/open").ok() == "open"


def test_a_key_may_come_in_either_field_and_in_both(app: RunningApp, served: Served) -> None:
    token = served.issue(owner="twice")["key"]
    for fields in (
        [("X-API-Key", token)],
        [("x-api-key", token), ("Authorization", f"bearer {token}")],
        [("X-API-Key", token), ("Authorization", "Basic dXNlcjpwYXNz")],
    ):
        assert app.get("/any", fields=fields).ok()["owner"] == "twice"
    app.get("/any", token, fields=[("X-API-Key", served.issue()["key"])]).problem(400, "two_credentials")


def refused_keys(served: Served) -> dict[tuple[int, str], str | None]:
    """By what the answer must be: what is presented at a route that requires the scope `read`."""
    revoked, suspended = served.issue(), served.issue()
    served.act(revoked["key_id"], "revoke").ok()
    served.act(suspended["key_id"], "suspend").ok()
    return {
        (401, "unauthenticated"): None,
        (401, "malformed"): "nonsense",
        (401, "not_found"): unknown_token(),
        (401, "revoked"): revoked["key"],
        (401, "suspended"): suspended["key"],
        (401, "expired"): expired(served)["key"],
        (401, "not_yet_valid"): served.issue(not_before=in_(hours=1))["key"],
        (403, "insufficient_scope"): served.issue(scope="write")["key"],
        (403, "ip_denied"): served.issue(allowed_ips=["203.0.113.9"])["key"],
    }


def test_bad_keys_are_refused_each_with_its_status(app: RunningApp, served: Served) -> None:
    for (status, code), token in refused_keys(served).items():
        for _ in range(2):  # at first sight, and when it is known
            answer = app.get("/read", token)
            answer.problem(status, code)
            assert answer.headers.get("Content-Length") == str(len(answer.body))


def test_what_is_nearly_a_key_is_none(app: RunningApp, served: Served) -> None:
    token = served.issue()["key"]
    assert app.get("/any", token).status == 200
    for wrong, code in {
        with_another_secret(token): "not_found",
        token[:-1]: "malformed",
        token + "x": "malformed",
        token.upper(): "malformed",
        "kt_" + "x" * MAX_TOKEN_CHARACTERS: "malformed",
        "\xfc" * 20: "malformed",
        f"{token},{token}": "malformed",
    }.items():
        app.get("/any", wrong).problem(401, code)


def test_another_tenants_key_is_not_known(app: RunningApp, served: Served) -> None:
    app.get("/any", served.issue_elsewhere()["key"]).problem(401, "not_found")


def test_each_route_requires_what_it_says(app: RunningApp, served: Served) -> None:
    reader = served.issue(scope="read", permissions=["documents.list"])["key"]
    assert app.get("/any", reader).status == app.get("/read", reader).status == 200
    app.get("/write", reader).problem(403, "insufficient_scope")
    app.get("/documents", reader).problem(403, "insufficient_permissions")
    writer = served.issue(scope="write", permissions=["documents.read"])["key"]
    assert app.get("/write", writer).status == app.get("/documents", writer).status == 200
    app.get("/read", writer).problem(403, "insufficient_scope")


def test_where_a_request_comes_from_is_its_peer_whatever_it_says(app: RunningApp, served: Served) -> None:
    source = another_source()
    token = served.issue(allowed_ips=[source])["key"]
    assert app.get("/any", token, source=source).status == 200
    for field in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
        value = f"for={source}" if field == "Forwarded" else source
        app.get("/any", token, fields=[(field, value)]).problem(403, "ip_denied")


def test_a_method_without_a_body_is_refused_without_one(app: RunningApp, served: Served) -> None:
    answer = app.ask("HEAD", "/read")
    assert (answer.status, answer.body) in ((401, b""), (405, b""))  # FastAPI has no HEAD for its routes
    assert app.ask("POST", "/write").status in (401, 405)


def test_what_was_changed_elsewhere_holds_within_the_bound(app: RunningApp, served: Served) -> None:
    owner = f"leaves {app.pid}"
    revoked, suspended, untouched = (served.issue() for _ in range(3))
    narrowed, moved = (served.issue(scope="read_write", permissions=["documents.*"]) for _ in range(2))
    owned = [served.issue(owner=owner)["key"] for _ in range(3)]
    for token in (*owned, *(each["key"] for each in (revoked, suspended, untouched, narrowed, moved))):
        assert app.get("/any", token).status == 200
    assert app.get("/write", narrowed["key"]).status == app.get("/documents", narrowed["key"]).status == 200

    served.act(revoked["key_id"], "revoke").ok()
    served.act(suspended["key_id"], "suspend").ok()
    served.call("PATCH", f"/v1/keys/{narrowed['key_id']}", {"scope": "read", "permissions": ["x"]}).ok()
    served.call("PATCH", f"/v1/keys/{moved['key_id']}", {"allowed_ips": ["203.0.113.9"]}).ok()
    served.call("POST", f"/v1/owners/{quote(owner)}/revoke").ok()
    time.sleep(BOUND)

    app.get("/any", revoked["key"]).problem(401, "revoked")
    app.get("/any", suspended["key"]).problem(401, "suspended")
    app.get("/write", narrowed["key"]).problem(403, "insufficient_scope")
    app.get("/documents", narrowed["key"]).problem(403, "insufficient_permissions")
    app.get("/any", moved["key"]).problem(403, "ip_denied")
    for token in owned:
        app.get("/any", token).problem(401, "revoked")
    assert app.get("/any", untouched["key"]).status == app.get("/read", narrowed["key"]).status == 200


@pytest.mark.parametrize("guarded", [f"{name}, {ON_THE_STORE}" for name in APPLICATIONS], indirect=True)
def test_a_key_revoked_by_the_application_is_refused_at_its_very_next_request(guarded: Guarded) -> None:
    for _ in range(5):
        issued = guarded.served.issue()
        assert guarded.app.get("/any", issued["key"]).status == 200
        assert guarded.app.ask("POST", f"/revoke/{issued['key_id']}").ok() == "revoked"
        guarded.app.get("/any", issued["key"]).problem(401, "revoked")


def test_two_hundred_at_once_are_each_told_their_own(app: RunningApp, served: Served) -> None:
    tokens = {f"owner {number}": served.issue(owner=f"owner {number}")["key"] for number in range(20)}
    guesses = [unknown_token() for _ in range(5)]

    def ask(number: int) -> tuple[int, Any]:
        if number % 10 == 9:
            return app.get("/any", guesses[number % 5], source=another_source()).status, 401
        owner = f"owner {number % 20}"
        answer = app.get("/any", tokens[owner])
        return answer.status, 200 if answer.json.get("owner") == owner else "another's"

    def ask_until_it_is_known(number: int) -> tuple[int, Any]:
        """On a busy machine 503 is an answer; nobody has decided then."""
        for _ in range(20):
            status, expected = ask(number)
            if status != 503:
                break
        return status, expected

    with ThreadPoolExecutor(200) as threads:
        assert [
            status
            for status, expected in threads.map(ask_until_it_is_known, range(200))
            if status != expected
        ] == []


def test_uses_are_counted_though_nobody_asks_again(guarded: Guarded) -> None:
    """Background work, not the next request, brings them to the store."""
    issued = guarded.served.issue()
    for _ in range(5):
        assert guarded.app.get("/any", issued["key"]).status == 200

    def used() -> int:
        with guarded.served.node() as node:
            return node.usage.of(issued["key_id"], node.clock.now()).total

    # An answer that is used again is one verification for the server.
    until(lambda: used() == 5 if guarded.is_on_the_store else used() >= 1)
