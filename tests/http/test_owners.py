"""Owners over HTTP: all keys of one end in one commit, whatever the owner is called."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

import pytest

from keyturn import KeyScope, KeyType
from keyturn.domain.spec import KeySpec
from tests.http.served import Served

OWNERS: Final = (
    "acme ltd",
    "a/b",
    "/",
    "a//b/",
    "é 🔑",
    "100%",
    "%2F",
    "a?b#c",
    "revoke",
    "a/revoke",
    "...",
    "a" * 256,
    "+",
    "a&b=c",
)


@pytest.mark.parametrize("owner", OWNERS)
def test_all_keys_of_an_owner_end_at_once_and_no_other(served: Served, owner: str) -> None:
    """Whatever the owner is called: it is percent-encoded in the path."""
    keys = [served.issue(owner=owner, type=kind) for kind in ("api_token", "provisioning", "hmac")]
    suspended, gone = served.issue(owner=owner), served.issue(owner=owner)
    served.act(suspended["key_id"], "suspend").ok()
    served.act(gone["key_id"], "destroy").ok()
    others = [served.issue(), served.issue(owner=owner[:-1] + "!"), served.issue_elsewhere(owner=owner)]
    answer = served.call("POST", f"/v1/owners/{quote(owner, safe='')}/revoke", {"reason": "superseded"}).ok()
    assert answer == {"owner": owner, "revoked": 4}
    for key in (*keys, suspended):
        shown = served.show(key["key_id"])
        assert (shown["state"], shown["reason"]) == ("deactivated", "superseded")
    for key in (*keys[:2], suspended):
        assert served.verify(key["key"])["code"] == "revoked"
    assert served.show(gone["key_id"])["state"] == "destroyed"
    assert served.verify(others[0]["key"])["valid"]
    assert served.verify(others[1]["key"])["valid"]
    assert served.verify(others[2]["key"], key=served.foreigner)["valid"]


def test_an_owner_with_slashes_need_not_encode_them(served: Served) -> None:
    key = served.issue(owner="https://id.test/u/1")
    answer = served.call("POST", "/v1/owners/https://id.test/u/1/revoke").ok()
    assert answer == {"owner": "https://id.test/u/1", "revoked": 1}
    assert served.verify(key["key"])["code"] == "revoked"


def test_more_keys_of_an_owner_than_one_commit_takes_all_end(served: Served) -> None:
    spec = KeySpec(type=KeyType.API_TOKEN, scope=KeyScope.READ, owner="many")
    tokens = [made.secret.reveal() for made in served.issue_beside([spec] * 450)]
    assert served.call("POST", "/v1/owners/many/revoke").ok()["revoked"] == 450
    assert served.call("GET", "/v1/keys?owner=many&state=active").ok()["items"] == []
    items = served.call("POST", "/v1/verify/batch", {"items": [{"key": token} for token in tokens]}).ok()[
        "items"
    ]
    assert {item["code"] for item in items} == {"revoked"}


def test_an_owner_who_was_revoked_can_be_given_new_keys(served: Served) -> None:
    served.issue(owner="again")
    for expected in (1, 0):
        assert served.call("POST", "/v1/owners/again/revoke").ok()["revoked"] == expected
    fresh = served.issue(owner="again")
    assert served.verify(fresh["key"])["valid"]
    assert served.call("POST", "/v1/owners/again/revoke").ok()["revoked"] == 1
    assert served.verify(fresh["key"])["code"] == "revoked"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "%00",
        "%20",
        "a%09",
        ".",
        "..",
        "%2e%2e",
        "x/../acme",
        "x%2f..%2facme",
        "a" * 257,
        "%e2%80%ae",
    ],
)
def test_what_cannot_be_an_owner_is_refused(served: Served, path: str) -> None:
    served.call("POST", f"/v1/owners/{path}/revoke").problem(422, "invalid_request", field="owner")


@pytest.mark.parametrize("path", ["%ff", "a%c3", "%ed%a0%80", "a%80"])
def test_an_owner_in_another_encoding_is_refused_and_not_taken_for_another_one(
    served: Served, path: str
) -> None:
    """What does not decode must not become U+FFFD: every such owner would be the same one."""
    bystander = served.issue(owner=f"{path.partition('%')[0]}\ufffd")
    answer = served.call("POST", f"/v1/owners/{path}/revoke")
    assert served.verify(bystander["key"])["valid"]
    assert 400 <= answer.status < 500
    answer.any_problem()
