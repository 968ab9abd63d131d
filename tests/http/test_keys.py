"""Keys over HTTP, from their issue to their end: what each call does, answers, refuses and leaves in the log."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final
from urllib.parse import quote

import pytest

from keyturn.audit.trail import KeyUsageEvent
from keyturn.domain.instants import parse_rfc3339
from tests.contract.waiting import until
from tests.http.raw import Answer, request
from tests.http.served import FOREIGN, METADATA, UNKNOWN_ID, Served, unknown_token

REASONS: Final = ("unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded",
                  "cessationOfOperation", "privilegeWithdrawn", "aACompromise")  # fmt: skip
EVERYTHING: Final[Mapping[str, Any]] = {
    "scope": "read_write", "name": "before", "permissions": ["a.read"], "allowed_ips": ["203.0.113.9"],
    "metadata": {"plan": "pro"}, "tags": ["one"], "not_before": "2020-01-01T00:00:00.000000Z",
    "expires_at": "2100-01-01T00:00:00.000000Z",
}  # fmt: skip


def events(served: Served, key_id: str) -> list[KeyUsageEvent]:
    """What the log says of a key."""
    with served.node() as node:
        return node.trail.events({"default"}, key_id=key_id)


def id_of(served: Served, token: str) -> str:
    return str(served.verify(token)["key_id"])


# -- issuing ----------------------------------------------------------------------------------------------------------


def test_a_key_is_issued_with_what_was_asked_for_and_the_rest_as_documented(served: Served) -> None:
    asked = datetime.now(UTC)
    issued = served.issue()
    assert issued.keys() == METADATA | {"key", "public_key"}
    assert {name: issued[name] for name in METADATA - {"key_id", "created_at", "updated_at", "state_changed_at"}} == {
        "version": 1, "tenant": "default", "type": "api_token", "scope": "read", "length": 256, "state": "active",
        "algorithm": None, "reason": None, "name": None, "owner": None, "prefix": "kt", "permissions": [],
        "allowed_ips": [], "metadata": {}, "tags": [], "recoverable": False, "not_before": None, "expires_at": None,
        "profile": None, "rotation": None, "rotation_policy_id": None, "rotated_at": None, "published_for": None,
    }  # fmt: skip
    assert issued["created_at"] == issued["updated_at"] == issued["state_changed_at"]
    assert asked <= parse_rfc3339(issued["created_at"]) <= datetime.now(UTC)


def test_a_secret_is_shown_in_the_answer_that_makes_it_and_never_again(served: Served) -> None:
    issued = served.issue(recoverable=True, **EVERYTHING)
    key_id = issued["key_id"]
    assert EVERYTHING.items() <= issued.items()
    answers = [
        served.call("GET", f"/v1/keys/{key_id}"),
        served.call("GET", f"/v1/keys?q={key_id}"),
        served.call("PATCH", f"/v1/keys/{key_id}", {"name": "after"}),
        *(served.act(key_id, act) for act in ("suspend", "resume", "revoke", "destroy")),
    ]
    for answer in answers:
        assert answer.ok()
        assert issued["key"].encode() not in answer.body
        assert b'"key":' not in answer.body
    assert answers[0].json == {name: issued[name] for name in METADATA}
    assert answers[1].json == {"items": [answers[0].json], "next_cursor": None}
    assert issued["key"] not in served.server.stderr + served.server.stdout


def test_every_key_that_is_issued_is_another_one(served: Served) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: served.issue(name="the same", owner="same"), range(40)))
    assert len({key["key"] for key in keys}) == len({key["key_id"] for key in keys}) == 40
    assert all(served.verify(key["key"])["key_id"] == key["key_id"] for key in keys)


def test_the_log_says_who_issued_changed_and_ended_a_key(served: Served) -> None:
    caller = served.provision("*")
    key = served.issue(key=caller)
    path = f"/v1/keys/{key['key_id']}"
    for method, tail, body in (
        ("PATCH", "", {"name": "a", "expires_in": 60}),
        ("POST", "/suspend", {"note": "why"}),
        ("POST", "/resume", None),
        ("POST", "/revoke", {"reason": "superseded", "note": "é 🔑"}),
        ("POST", "/destroy", {"note": "gone"}),
    ):
        served.call(method, path + tail, body, key=caller).ok()
    found = [event for event in events(served, key["key_id"]) if event.type != "key_used"]
    assert [event.type for event in found] == [
        "key_created", "key_updated", "key_suspended", "key_resumed", "key_revoked", "key_destroyed",
    ]  # fmt: skip
    assert {event.actor for event in found} == {f"key:{id_of(served, caller)}"}
    assert [dict(event.details) for event in found[2:]] == [
        {"note": "why"}, {}, {"reason": "superseded", "note": "é 🔑"}, {"note": "gone"},
    ]  # fmt: skip
    assert found[1].details["changed"].keys() == {"name", "expires_in"}


# -- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key_id",
    [
        "a", "key", "key_", "key_" + "0" * 21, "key_" + "0" * 23, "key_" + "0" * 21 + "-", "KEY_" + "0" * 22,
        "own_" + "0" * 22, UNKNOWN_ID + ".1", "key_" + "é" * 22, "%00", "..", "%2e%2e", UNKNOWN_ID + "%20", "keyring",
    ],
)  # fmt: skip
def test_what_is_no_key_id_is_told_so(served: Served, key_id: str) -> None:
    path = f"/v1/keys/{quote(key_id, safe='%')}"
    for method, tail, body in (("GET", "", b""), ("PATCH", "", b'{"name": "a"}'), ("POST", "/revoke", b"")):
        answer = served.call(method, path + tail, body)
        answer.problem(422, "invalid_request", field="key_id")


def test_a_key_id_may_be_percent_encoded(served: Served) -> None:
    key = served.issue()
    encoded = "".join(f"%{ord(character):02x}" for character in key["key_id"])
    assert served.call("GET", f"/v1/keys/{encoded}").ok() == served.show(key["key_id"])
    assert served.call("POST", f"/v1/keys/{encoded}/revoke").ok()["state"] == "deactivated"


# -- changing ---------------------------------------------------------------------------------------------------------

AFTER: Final[Mapping[str, Any]] = {
    "scope": "full", "name": "after", "permissions": ["b.*"], "allowed_ips": ["198.51.100.0/24"],
    "metadata": {"plan": ["free", 1]}, "tags": ["two", "three"], "not_before": "2021-01-01T00:00:00.000000Z",
    "expires_at": "2101-01-01T00:00:00.000000Z",
}  # fmt: skip
CLEARED: Final[Mapping[str, Any]] = {
    "name": None, "permissions": [], "allowed_ips": [], "metadata": {}, "tags": [], "not_before": None,
    "expires_at": None
}  # fmt: skip


def changed(served: Served, key: Mapping[str, Any], changes: object) -> dict[str, Any]:
    answer = served.call("PATCH", f"/v1/keys/{key['key_id']}", changes).ok()
    assert isinstance(answer, dict)
    assert served.show(key["key_id"]) == answer
    return answer


def but(answer: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The metadata but for these and what moves with every change."""
    return {name: answer[name] for name in METADATA - {"updated_at", *names}}


@pytest.mark.parametrize("name", AFTER)
def test_what_is_named_is_changed_and_what_is_absent_stays(served: Served, name: str) -> None:
    key = served.issue(owner="acme", **EVERYTHING)
    answer = changed(served, key, {name: AFTER[name]})
    assert answer[name] == AFTER[name]
    assert but(answer, name) == but(key, name)
    assert answer["updated_at"] > key["updated_at"]


@pytest.mark.parametrize("name", CLEARED)
def test_null_clears(served: Served, name: str) -> None:
    key = served.issue(**EVERYTHING)
    answer = changed(served, key, {name: None})
    assert answer[name] == CLEARED[name]
    assert but(answer, name) == but(key, name)


def test_null_for_a_lifetime_means_none(served: Served) -> None:
    assert changed(served, served.issue(expires_in=60), {"expires_in": None})["expires_at"] is None
    assert (
        changed(served, served.issue(expires_in=60), {"expires_in": None, "expires_at": None})["expires_at"]
        is None
    )
    given = {"expires_in": None, "expires_at": AFTER["expires_at"]}
    assert changed(served, served.issue(expires_in=60), given)["expires_at"] == AFTER["expires_at"]


def test_all_can_be_changed_at_once_and_a_change_of_nothing_is_none(served: Served) -> None:
    key = served.issue(**EVERYTHING)
    assert but(changed(served, key, AFTER)) == but({**key, **AFTER})
    nothing = served.call("PATCH", f"/v1/keys/{key['key_id']}", {})
    assert nothing.problem(422, "invalid_request")["detail"] == "there is nothing to change"
    assert but(changed(served, key, CLEARED)) == but({**key, "scope": "full", **CLEARED})


def test_of_a_change_with_one_part_that_is_refused_nothing_happens(served: Served) -> None:
    key = served.issue(**EVERYTHING)
    for wrong in (
        {"tags": ["a", "a"]},
        {"scope": None},
        {"owner": "b"},
        {"not_before": "2102-01-01T00:00:00Z"},
    ):
        served.call("PATCH", f"/v1/keys/{key['key_id']}", {"name": "other", **wrong}).problem(
            422, "invalid_request"
        )
    assert served.show(key["key_id"]) == {name: key[name] for name in METADATA}


def test_changes_that_meet_are_all_made(served: Served) -> None:
    key = served.issue()
    changes = [{name: AFTER[name]} for name in AFTER]
    with ThreadPoolExecutor(len(changes)) as pool:
        path = f"/v1/keys/{key['key_id']}"
        for answer in pool.map(lambda change: served.call("PATCH", path, change), changes):
            answer.ok()
    assert but(served.show(key["key_id"])) == but({**key, **AFTER})


def test_changes_that_meet_are_never_taken_for_tampering(served: Served) -> None:
    """A row is read, and the log before or after it: what changes in between, however often, is no older row."""
    path = f"/v1/keys/{served.issue()['key_id']}"

    def change(number: int) -> int:
        return served.call("PATCH", path, {"name": f"{number}"}).status

    with ThreadPoolExecutor(16) as pool:
        statuses = set(pool.map(change, range(500)))
    assert statuses <= {200, 409}  # 409 for who has lost ten times in a row
    with served.node() as node:
        incidents = [event for event in node.trail.events({"system"}) if event.type == "integrity_failed"]
    assert incidents == []


def test_a_key_that_is_changed_over_and_over_is_never_said_not_to_exist(served: Served) -> None:
    """Each change makes it cold, and the next use loads it again: nobody may meet it half-way."""
    key = served.issue()
    path = f"/v1/keys/{key['key_id']}"

    def use_and_change(number: int) -> str:
        if number % 4 == 0:
            served.call("PATCH", path, {"name": f"{number}"})
        return str(served.verify(key["key"])["code"])

    with ThreadPoolExecutor(8) as pool:
        codes = set(pool.map(use_and_change, range(800)))
    assert codes <= {"valid", "stale"}  # stale for who has loaded it three times in vain


def test_of_many_who_suspend_a_key_at_once_one_has_done_it(served: Served) -> None:
    key = served.issue()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: served.act(key["key_id"], "suspend"), range(8)))
    assert sorted(answer.status for answer in answers) == [200] + [409] * 7
    assert [event.type for event in events(served, key["key_id"])] == ["key_created", "key_suspended"]


# -- ending -----------------------------------------------------------------------------------------------------------

Act = tuple[str, str | None]
SUSPEND, RESUME, DESTROY = ("suspend", None), ("resume", None), ("destroy", None)
REVOKE, COMPROMISE = ("revoke", "superseded"), ("revoke", "keyCompromise")
ACTS: Final[dict[str, Act]] = {
    "suspend": SUSPEND, "resume": RESUME, "revoke": REVOKE, "compromise": COMPROMISE, "destroy": DESTROY
}  # fmt: skip

# From a state, reached by these acts, by each of the ACTS in turn; None is refused, "=" changes nothing.
STATES: Final[dict[str, tuple[tuple[Act, ...], tuple[str | None, ...]]]] = {
    "active": ((), ("suspended", None, "deactivated", "compromised", "destroyed")),
    "suspended": ((SUSPEND,), (None, "active", "deactivated", "compromised", "destroyed")),
    "resumed": ((SUSPEND, RESUME), ("suspended", None, "deactivated", "compromised", "destroyed")),
    "deactivated": ((REVOKE,), (None, None, "=", "compromised", "destroyed")),
    "compromised": ((COMPROMISE,), (None, None, "=", "=", "destroyed")),
    "destroyed": ((DESTROY,), (None, None, "=", "=", None)),
}
CODES: Final = {
    "active": "valid", "suspended": "suspended", "deactivated": "revoked", "compromised": "revoked",
    "destroyed": "revoked",
}  # fmt: skip


def done(served: Served, key_id: str, act: Act) -> Answer:
    name, reason = act
    return served.act(key_id, name, None if reason is None else {"reason": reason})


@pytest.mark.parametrize(("number", "act"), list(enumerate(ACTS)), ids=list(ACTS))
@pytest.mark.parametrize("state", STATES)
def test_an_act_leads_from_state_to_state_or_is_refused(
    served: Served, state: str, number: int, act: str
) -> None:
    reached_by, leads_to = STATES[state]
    key = served.issue(owner="acts")
    key_id = key["key_id"]
    for earlier in reached_by:
        done(served, key_id, earlier).ok()
    before, expected = served.show(key_id), leads_to[number]
    answer = done(served, key_id, ACTS[act])
    after = served.show(key_id)
    if expected is None:
        problem = answer.problem(409, "illegal_transition")
        assert before["state"] in problem["detail"]
        assert after == before
    elif expected == "=":
        assert answer.ok() == after == before
    else:
        assert answer.ok() == after
        assert but(after, "state", "reason", "state_changed_at") == but(
            before, "state", "reason", "state_changed_at"
        )
        assert after["state"] == expected
        assert after["reason"] == (ACTS[act][1] or before["reason"])
        assert after["state_changed_at"] == after["updated_at"] > before["updated_at"]
    assert served.verify(key["key"])["code"] == CODES[after["state"]]


@pytest.mark.parametrize("act", ["revoke", "destroy"])
def test_a_key_that_has_ended_cannot_be_changed(served: Served, act: str) -> None:
    key = served.issue()
    served.act(key["key_id"], act).ok()
    changes: dict[str, Any]
    for changes in ({"name": "a"}, {"expires_in": 60}, {"tags": []}):
        answer = served.call("PATCH", f"/v1/keys/{key['key_id']}", changes)
        answer.problem(409, "illegal_transition")


@cache
def expired(served: Served) -> dict[str, Any]:
    key = served.issue(expires_in=1)
    until(lambda: datetime.now(UTC) >= parse_rfc3339(key["expires_at"]))
    return key


def test_an_expired_key_cannot_be_given_more_time(served: Served) -> None:
    key = expired(served)
    for changes in ({"expires_at": None}, {"expires_in": 60}, {"expires_at": AFTER["expires_at"]}):
        answer = served.call("PATCH", f"/v1/keys/{key['key_id']}", changes)
        answer.problem(409, "illegal_transition")
    assert served.verify(key["key"])["code"] == "expired"


def test_an_expired_key_can_be_revoked(served: Served) -> None:
    key = served.issue(expires_in=1)
    until(lambda: served.verify(key["key"])["code"] == "expired")
    assert served.act(key["key_id"], "revoke", {"reason": "keyCompromise"}).ok()["state"] == "compromised"
    assert served.verify(key["key"])["code"] == "revoked"


def test_a_suspended_key_can_be_changed_and_stays_suspended(served: Served) -> None:
    key = served.issue(scope="read")
    served.act(key["key_id"], "suspend").ok()
    assert changed(served, key, {"scope": "full"})["state"] == "suspended"
    assert served.verify(key["key"])["code"] == "suspended"
    served.act(key["key_id"], "resume").ok()
    assert served.verify(key["key"], scope="admin")["valid"]


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_is_taken_and_kept(served: Served, reason: str) -> None:
    key = served.issue(owner=f"for {reason}")
    one = served.act(key["key_id"], "revoke", {"reason": reason}).ok()
    other = served.issue(owner=f"for {reason}")
    served.call("POST", f"/v1/owners/{quote(f'for {reason}')}/revoke", {"reason": reason}).ok()
    expected = "compromised" if reason == "keyCompromise" else "deactivated"
    for shown in (one, served.show(other["key_id"])):
        assert (shown["state"], shown["reason"]) == (expected, reason)


NO_REASONS: Final[tuple[object, ...]] = (
    "", "Unspecified", "key_compromise", "keycompromise", "certificateHold", "removeFromCRL", "other", None, 0, 1, True,
    [], ["superseded"], {},
)  # fmt: skip


@pytest.mark.parametrize("path", ["/v1/keys/{}/revoke", "/v1/owners/nobody/revoke"])
def test_any_other_reason_is_refused(served: Served, path: str) -> None:
    key = served.issue()
    for reason in NO_REASONS:
        answer = served.call("POST", path.format(key["key_id"]), {"reason": reason})
        answer.problem(422, "invalid_request", field="reason")
    assert served.verify(key["key"])["valid"]


ACT_PATHS: Final = (
    *(f"/v1/keys/{{}}/{act}" for act in ("revoke", "suspend", "resume", "destroy")),
    "/v1/owners/noted/revoke",
)


@pytest.mark.parametrize("path", ACT_PATHS)
def test_a_note_has_1_to_1024_printable_characters(served: Served, path: str) -> None:
    for note in ("a", "é" * 1_024, None):
        key = served.issue()
        if "resume" in path:
            served.act(key["key_id"], "suspend").ok()
        served.call("POST", path.format(key["key_id"]), {"note": note}).ok()
    key = served.issue()
    wrong: object
    for wrong in ("", " a", "a\n", "a\x00", "\u202e", "\ud800", "a" * 1_025, 1, True, [], ["a"], {}):
        answer = served.call("POST", path.format(key["key_id"]), {"note": wrong})
        answer.problem(422, "invalid_request", field="note")
    assert served.show(key["key_id"])["state"] == "active"


@pytest.mark.parametrize("path", ACT_PATHS)
def test_an_act_takes_no_body_null_or_an_object_without_unknown_members(served: Served, path: str) -> None:
    def assert_taken(data: bytes | None, fields: tuple[tuple[str, str], ...] = ()) -> None:
        key = served.issue()
        if "resume" in path:
            served.act(key["key_id"], "suspend").ok()
        with served.connect() as client:
            asked = request("POST", path.format(key["key_id"]), data, key=served.key, fields=fields)
            client.send(asked).answer().ok()

    assert_taken(None)
    assert_taken(b"")
    assert_taken(b"null")
    assert_taken(b"{}")
    assert_taken(b"{}", (("Content-Type", "application/json; charset=utf-8"),))
    key = served.issue()
    wrong: object
    for wrong in ([], "a", 1, True, {"why": "a"}, {"Note": "a"}, {"note": "a", "key_id": key["key_id"]}):
        served.call("POST", path.format(key["key_id"]), wrong).problem(422, "invalid_request")
    reasoned = served.call("POST", path.format(key["key_id"]), {"reason": "because"})
    reasoned.problem(422, "invalid_request", field="reason")
    assert served.show(key["key_id"])["state"] == "active"


# -- other paths ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/",
        "/v2/keys",
        "/v1/key",
        "/v1/keys/{}/rewoke",
        "/v1/owners/a",
        "/favicon.ico",
        "/admin",
        "/docs2",
    ],
)
def test_any_other_path_is_not_found(served: Served, path: str) -> None:
    key = served.issue()
    for method in ("GET", "POST", "DELETE"):
        served.call(method, path.format(key["key_id"]), b"").problem(404, "not_found")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/keys/",
        "/v1/keys//",
        "/v1/keys/{}/",
        "/v1/keys/{}/revoke/",
        "/docs/",
        "/readyz/",
        "/livez/",
        "/v1/verify/",
    ],
)
def test_a_path_with_a_slash_too_many_is_not_found_and_leads_nowhere(served: Served, path: str) -> None:
    """A redirect would go to the host that the request names, in clear, and take the provisioning key along."""
    key = served.issue()
    for method in ("GET", "POST"):
        answer = served.call(
            method, path.format(key["key_id"]), b"", fields=[("X-Forwarded-Host", "evil.test")]
        )
        assert answer.field("location") is None
        answer.problem(404, "not_found")


def test_a_token_in_the_path_is_not_repeated(served: Served) -> None:
    for token in (served.issue()["key"], unknown_token()):
        answer = served.call("GET", f"/v1/keys/{token}")
        answer.problem(422, "invalid_request", field="key_id")
        assert token.encode() not in answer.body
        assert token not in served.server.stderr


def test_the_tenant_of_a_key_is_its_issuers(served: Served) -> None:
    assert served.issue()["tenant"] == "default"
    assert served.issue_elsewhere()["tenant"] == FOREIGN
