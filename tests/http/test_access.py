"""Who may do what: every route of the application against callers without a key, without a right, of another tenant."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import pytest

from tests.http.routes import (
    BESIDE,
    GATEWAYS,
    GUARDED,
    HOT,
    PERMISSIONS,
    WITH_KEY,
    Route,
    documented,
    every_route,
    routed,
)
from tests.http.served import METADATA, UNKNOWN_ID, Served, another_source, unknown_token


def test_the_matrix_has_every_route() -> None:
    """None is hidden from the document, and so from these tests, but for those of the documentation itself."""
    assert {str(route) for route in routed() - set(documented())} == {
        "GET /openapi.json", "HEAD /openapi.json", "GET /docs", "GET /docs/oauth2-redirect"
    }  # fmt: skip
    assert len(WITH_KEY) >= 6
    assert len(GUARDED) >= 11


@cache
def permission_of(served: Served, route: Route) -> str:
    """The permission that the route says a key lacks which has none."""
    problem = route.call(served, key=helpless(served)).problem(403, "forbidden")
    return str(problem["detail"]).rpartition(" ")[2]


@cache
def helpless(served: Served) -> str:
    """A provisioning key that may do nothing."""
    return served.provision()


# -- without a key ----------------------------------------------------------------------------------------------------


@every_route
def test_without_a_provisioning_key_there_is_no_answer_but_how_to_send_one(
    served: Served, route: Route
) -> None:
    key = served.issue(owner="somebody")
    for key_id in (key["key_id"], UNKNOWN_ID):
        for value in (None, "Basic a2V5OnR1cm4=", "Bearer", f"Token {served.key}"):
            fields = [] if value is None else [("Authorization", value)]
            answer = route.call(served, key=None, key_id=key_id, owner="somebody", fields=fields)
            assert "Authorization: Bearer" in answer.problem(401, "unauthenticated")["fix"]
            assert answer.field("www-authenticate") == 'Bearer realm="keyturn"'
    assert served.show(key["key_id"])["state"] == "active"


@every_route
def test_a_key_that_does_not_provision_is_no_provisioning_key(served: Served, route: Route) -> None:
    source = another_source()
    everything: dict[str, Any] = {"scope": "full", "permissions": ["*"]}
    revoked = served.provision("*")
    served.act(str(served.verify(revoked)["key_id"]), "revoke").ok()
    answers = [
        route.call(served, key=caller, source=source)
        for caller in (
            served.issue(**everything)["key"], served.issue(type="hmac", **everything)["key"], revoked, unknown_token(),
            served.key[:-1], "a",
        )
    ]  # fmt: skip
    for answer in answers:
        answer.problem(401, "unauthenticated")
        assert answer.without("date") == answers[0].without("date")


@every_route
def test_two_keys_are_one_too_many(served: Served, route: Route) -> None:
    """Also where they are the same: whoever stands between might have read the other one."""
    for other in (served.key, helpless(served)):
        key = served.issue(owner="somebody")
        fields = [("Authorization", f"Bearer {other}")]
        answer = route.call(served, key=served.key, key_id=key["key_id"], owner="somebody", fields=fields)
        answer.problem(400, "duplicate_header")
        assert served.show(key["key_id"])["state"] == "active"


@every_route
def test_a_key_that_is_bound_to_another_network_may_not_call(served: Served, route: Route) -> None:
    bound = served.provision("*", allowed_ips=["192.0.2.0/24"])
    fields = [("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=192.0.2.1"), ("X-Real-IP", "192.0.2.1")]
    route.call(served, key=bound, fields=fields).problem(403, "forbidden")


# -- without a right --------------------------------------------------------------------------------------------------


@every_route
def test_a_route_needs_the_permission_that_the_contract_names(served: Served, route: Route) -> None:
    assert permission_of(served, route) == PERMISSIONS.get(str(route), permission_of(served, route))
    resource, _, action = permission_of(served, route).partition(".")
    assert resource
    assert action


@every_route
def test_all_permissions_but_its_own_do_not_open_a_route(served: Served, route: Route) -> None:
    own = permission_of(served, route)
    others = {permission_of(served, other) for other in GUARDED} | set(PERMISSIONS.values())
    resource = own.partition(".")[0]
    near = {
        resource,
        f"{own}.more",
        f"{own}.*",
        f"{own}s",
        own.upper(),
        own.title(),
        f"{resource}.*.*",
        "*.*.*",
    }
    caller = served.provision(*((others | near) - {own}))
    key = served.issue(owner="somebody")
    answer = route.call(served, key=caller, key_id=key["key_id"], owner="somebody")
    problem = answer.problem(403, "forbidden")
    assert own in problem["detail"]
    assert own in problem["fix"]
    assert but_for_time(served.show(key["key_id"])) == but_for_time(key)


@every_route
def test_its_own_permission_opens_a_route(served: Served, route: Route) -> None:
    own = permission_of(served, route)
    for grant in (own, f"{own.partition('.')[0]}.*", "*"):
        key = route.suited(served, owner=f"somebody who {own} {grant}")
        caller = served.provision(*{grant, *BESIDE.get(str(route), ())})
        answer = route.call(
            served,
            key=caller,
            key_id=key["key_id"],
            owner=key["owner"],
            ids=key.get("ids"),
            body=key.get("body"),
        )
        assert answer.status in (200, 201, 204), answer


def but_for_time(key: Mapping[str, Any]) -> dict[str, Any]:
    return {name: key[name] for name in METADATA - {"updated_at"}}


# -- another tenant's -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", WITH_KEY, ids=str)
@pytest.mark.parametrize("state", ["active", "suspended", "deactivated", "destroyed"])
def test_another_tenants_key_looks_to_the_byte_like_one_that_does_not_exist(
    served: Served, route: Route, state: str
) -> None:
    theirs = served.issue_elsewhere(owner="acme")
    path = f"/v1/keys/{theirs['key_id']}"
    act = {"suspended": "suspend", "deactivated": "revoke", "destroyed": "destroy"}.get(state)
    if act is not None:
        served.call("POST", f"{path}/{act}", key=served.foreigner).ok()
    before = served.call("GET", path, key=served.foreigner).ok()
    assert before["state"] == state
    foreign = route.call(served, key=served.key, key_id=theirs["key_id"])
    unknown = route.call(served, key=served.key, key_id=UNKNOWN_ID)
    foreign.problem(404, "not_found")
    assert foreign.without("date") == unknown.without("date")
    assert served.call("GET", path, key=served.foreigner).ok() == before
    ours = served.issue()
    assert route.call(served, key=served.foreigner, key_id=ours["key_id"]).without("date") == unknown.without(
        "date"
    )


def test_lists_and_filters_show_a_tenants_own_keys(served: Served) -> None:
    ours = served.issue(owner="both", name="both", tags=["both"], prefix="both")
    theirs = served.issue_elsewhere(owner="both", name="both", tags=["both"], prefix="both")
    for query in (
        "limit=1000",
        "owner=both",
        "q=both",
        "tag=both",
        "prefix=both",
        f"q={ours['key_id']}",
        f"q={theirs['key_id']}",
    ):
        for key, mine, other in ((served.key, ours, theirs), (served.foreigner, theirs, ours)):
            ids = {item["key_id"] for item in served.call("GET", f"/v1/keys?{query}", key=key).ok()["items"]}
            assert other["key_id"] not in ids
            assert mine["key_id"] in ids or other["key_id"] in query


def test_an_owner_is_its_tenants_own(served: Served) -> None:
    ours, theirs = served.issue(owner="same"), served.issue_elsewhere(owner="same")
    assert served.call("POST", "/v1/owners/same/revoke", key=served.foreigner).ok()["revoked"] == 1
    assert served.verify(ours["key"])["valid"]
    assert served.verify(theirs["key"], key=served.foreigner)["code"] == "revoked"


def test_no_field_and_no_header_names_a_tenant(served: Served) -> None:
    served.call("POST", "/v1/keys", {"tenant": "elsewhere"}).problem(422, "invalid_request", field="tenant")
    fields = [("X-Tenant", "elsewhere"), ("Keyturn-Tenant", "elsewhere")]
    assert served.call("POST", "/v1/keys", {}, fields=fields).ok(201)["tenant"] == "default"
    served.call("GET", "/v1/keys?tenant=elsewhere").problem(422, "invalid_request", field="tenant")


# -- handing on -------------------------------------------------------------------------------------------------------

HELD: Final = ("keys.create", "keys.update", "documents.*", "*.read", "billing.read.all")


@cache
def granter(served: Served) -> str:
    """A provisioning key that holds these permissions, and reads and writes."""
    return served.provision(*HELD, scope="read_write")


@pytest.mark.parametrize(
    ("permissions", "scope"),
    [
        ([], "read"),
        ([], "write"),
        ([], "read_write"),
        (list(HELD), "read_write"),
        (["documents.read.all", "documents.*.all", "documents.*.*", "billing.read"], "read"),
    ],
)
def test_a_key_hands_on_what_it_holds(served: Served, permissions: list[str], scope: str) -> None:
    wanted = {"permissions": permissions, "scope": scope}
    issued = served.issue(key=granter(served), type="provisioning", **wanted)
    assert wanted.items() <= issued.items()
    plain = served.issue()
    answer = served.call("PATCH", f"/v1/keys/{plain['key_id']}", wanted, key=granter(served))
    assert wanted.items() <= answer.ok().items()


@pytest.mark.parametrize(
    "wanted",
    [
        *({"permissions": [grant]} for grant in (
            "*", "*.*", "keys.*", "keys.destroy", "keys.revoke", "*.write", "documents", "*.read.all", "billing.*",
            "billing.read.*", "keys", "keys.create.more", "Documents.all", "a",
        )),
        {"permissions": ["documents.read", "keys.verify"]},
        {"permissions": [*HELD, "*"]},
        *({"scope": scope} for scope in ("admin", "full")),
        {"permissions": ["documents.read"], "scope": "admin"},
    ],
    ids=str,
)  # fmt: skip
def test_no_key_hands_on_what_it_lacks(served: Served, wanted: dict[str, Any]) -> None:
    before = served.call("GET", "/v1/keys?limit=1").ok()["items"][0]
    for kind in ("api_token", "provisioning", "hmac"):
        answer = served.call("POST", "/v1/keys", {"type": kind, **wanted}, key=granter(served))
        answer.problem(403, "forbidden")
    assert served.call("GET", "/v1/keys?limit=1").ok()["items"][0] == before
    plain = served.issue()
    served.call("PATCH", f"/v1/keys/{plain['key_id']}", wanted, key=granter(served)).problem(403, "forbidden")
    assert served.show(plain["key_id"]) == {name: plain[name] for name in METADATA}


def test_a_key_cannot_raise_itself(served: Served) -> None:
    caller = granter(served)
    own = served.verify(caller)["key_id"]
    for wanted in ({"permissions": ["*"]}, {"scope": "full"}, {"permissions": [*HELD, "keys.destroy"]}):
        served.call("PATCH", f"/v1/keys/{own}", wanted, key=caller).problem(403, "forbidden")
    assert served.show(own)["permissions"] == list(HELD)


def test_a_mightier_key_cannot_be_given_part_of_what_the_caller_lacks(served: Served) -> None:
    """The change names only what the caller holds; the result would hold what it does not."""
    mighty = served.issue(permissions=["*"], scope="read")
    path = f"/v1/keys/{mighty['key_id']}"
    served.call("PATCH", path, {"scope": "write"}, key=granter(served)).problem(403, "forbidden")
    mighty = served.issue(permissions=[], scope="full")
    path = f"/v1/keys/{mighty['key_id']}"
    served.call("PATCH", path, {"permissions": ["documents.read"]}, key=granter(served)).problem(
        403, "forbidden"
    )
    assert served.show(mighty["key_id"])["permissions"] == []


def test_a_caller_that_loses_its_permission_has_lost_it_at_once(served: Served) -> None:
    caller = served.provision("keys.read", "keys.create")
    own = served.verify(caller)["key_id"]
    served.call("GET", "/v1/keys", key=caller).ok()
    served.call("PATCH", f"/v1/keys/{own}", {"permissions": ["keys.create"]}).ok()
    served.call("GET", "/v1/keys", key=caller).problem(403, "forbidden")
    served.issue(key=caller)
    served.act(own, "suspend").ok()
    served.call("POST", "/v1/keys", {}, key=caller).problem(401, "unauthenticated")


# -- methods ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted({route.path for route in [*documented(), *HOT]} - GATEWAYS))
def test_any_other_method_is_answered_with_those_that_there_are(served: Served, path: str) -> None:
    allowed = {route.method for route in [*documented(), *HOT] if route.path == path}
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - allowed:
        answer = served.call(method, path.replace("{key_id}", UNKNOWN_ID).replace("{owner}", "a"), b"{}")
        answer.problem(405, "method_not_allowed")
        found = {name.strip() for name in (answer.field("allow") or "").split(",")}
        assert found - {"HEAD"} == allowed, method
