"""Rotation over HTTP: policies, and rotations from their beginning to their end."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from tests.http.served import Served

POLICY: dict[str, Any] = {"frequency": "monthly", "strategy": "overlapping"}


def made(answer: Any) -> dict[str, Any]:
    assert answer.status == 201, answer
    found: dict[str, Any] = answer.json
    return found


def rotate(served: Served, key_id: str, **terms: Any) -> dict[str, Any]:
    return made(served.call("POST", f"/v1/keys/{key_id}/rotate", terms))


def act(served: Served, rotation: dict[str, Any], name: str, body: object = None) -> Any:
    path = f"/v1/rotations/{rotation['rotation_id']}/{name}"
    return served.call("POST", path, {} if body is None and name != "pick-up" else body)


def test_a_rotated_key_has_two_tokens_until_the_rotation_completes(served: Served) -> None:
    key = served.issue(owner="acme", prefix="acme_live")
    rotation = rotate(served, key["key_id"], overlap=3_600)
    assert (rotation["stage"], rotation["old_version"], rotation["new_version"]) == ("overlap", 1, 2)
    assert rotation["key"].startswith("acme_live_")
    for token in (key["key"], rotation["key"]):
        answer = served.verify(token)
        assert (answer["valid"], answer["key_id"]) == (True, key["key_id"])
    shown = served.show(key["key_id"])
    assert (shown["version"], shown["rotation"]) == (2, rotation["rotation_id"])
    assert act(served, rotation, "complete", {"note": "all have moved"}).ok()["stage"] == "completed"
    assert served.verify(key["key"])["code"] == "revoked"
    assert served.verify(rotation["key"])["valid"]
    found = served.call("GET", f"/v1/rotations/{rotation['rotation_id']}").ok()
    assert isinstance(found, dict)
    assert "key" not in found
    act(served, rotation, "rollback").problem(409, "illegal_transition")


def test_the_same_request_sent_again_rotates_once_and_gives_the_same_secret(served: Served) -> None:
    key, header = served.issue(), ("Idempotency-Key", str(uuid4()))
    path = f"/v1/keys/{key['key_id']}/rotate"
    first, again = (served.call("POST", path, {"overlap": 60}, fields=[header]) for _ in range(2))
    assert made(first) == made(again)
    assert served.show(key["key_id"])["version"] == 2


def test_a_compromised_token_is_refused_at_once(served: Served) -> None:
    key = served.issue()
    rotation = rotate(served, key["key_id"], compromised=True)
    assert served.verify(key["key"])["code"] == "revoked"
    assert served.verify(rotation["key"])["valid"]


def test_a_kept_secret_is_fetched_once(served: Served) -> None:
    key = served.issue()
    rotation = rotate(served, key["key_id"], keep_secret=True)
    assert (rotation["key"], rotation["awaited"]) == (None, ["pick_up"])
    picked = act(served, rotation, "pick-up").ok()
    assert served.verify(picked["key"])["valid"]
    act(served, rotation, "pick-up").problem(409, "illegal_transition")


def test_a_staged_token_is_proved_and_can_be_switched_back(served: Served) -> None:
    key = served.issue()
    rotation = rotate(served, key["key_id"], strategy="blue_green")
    assert served.verify(rotation["key"])["code"] == "not_yet_valid"
    act(served, rotation, "prove", {"key": key["key"]}).problem(422, "invalid_request")
    assert act(served, rotation, "prove", {"key": rotation["key"]}).ok()["stage"] == "window"
    assert served.verify(key["key"])["code"] == "suspended"
    assert act(served, rotation, "rollback").ok()["stage"] == "rolled_back"
    assert (served.verify(key["key"])["code"], served.verify(rotation["key"])["code"]) == ("valid", "revoked")


def test_a_rotation_is_paused_and_resumed(served: Served) -> None:
    rotation = rotate(served, served.issue()["key_id"], overlap=60)
    assert act(served, rotation, "pause").ok()["paused"]["code"] == "requested"
    resumed = act(served, rotation, "resume").ok()
    assert (resumed["paused"], resumed["stage"]) == (None, "overlap")


def test_a_policy_is_kept_changed_followed_and_deleted(served: Served) -> None:
    name = f"p-{uuid4().hex[:8]}"
    policy = made(served.call("POST", "/v1/rotation-policies", {"policy_id": name, **POLICY}))
    assert (policy["overlap"], policy["notices"]) == (7 * 86_400, [7 * 86_400, 86_400])
    served.call("POST", "/v1/rotation-policies", {"policy_id": name, **POLICY}).problem(409, "conflict")
    path = f"/v1/rotation-policies/{name}"
    assert served.call("PATCH", path, {"overlap": 3_600}).ok()["overlap"] == 3_600
    key = served.issue(rotation_policy_id=name)
    assert key["rotation_policy_id"] == name
    preview = served.call("GET", f"/v1/keys/{key['key_id']}/rotation-preview").ok()
    at_once = served.call("GET", f"/v1/keys/{key['key_id']}/rotation-preview?strategy=immediate").ok()
    assert at_once["strategy"] == "immediate"
    unknown = served.call("GET", f"/v1/keys/{key['key_id']}/rotation-preview?overlap=5")
    assert unknown.status == 422
    assert [each["stage"] for each in preview["stages"]] == ["overlap", "completed"]
    assert preview["next_due"] is not None
    assert rotate(served, key["key_id"])["policy_id"] == name
    listed = served.call("GET", f"/v1/rotations?policy_id={name}").ok()
    assert [each["key_id"] for each in listed["items"]] == [key["key_id"]]
    assert served.call("POST", f"{path}/pause").ok()["paused"]["code"] == "requested"
    assert served.call("POST", f"{path}/resume").ok()["paused"] is None
    assert served.call("DELETE", path).status == 204
    served.call("GET", path).problem(404, "not_found")
    served.call("POST", "/v1/keys", {"rotation_policy_id": name}).problem(404, "not_found")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"overlap": 40 * 86_400}, "overlap"),
        ({"frequency": "custom", "cron": "0 0 30 2 *"}, "cron"),
        ({"keys": {"tags": [uuid4().hex]}}, "keys"),
        ({"keys": {}}, "keys"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_a_policy_that_is_impossible_is_refused_by_name(
    served: Served, wrong: dict[str, Any], field: str
) -> None:
    answer = served.call("POST", "/v1/rotation-policies", {"policy_id": "wrong", **POLICY, **wrong})
    assert answer.problem(422, "invalid_request")["field"] == field


def test_statistics_count_what_was_rotated(served: Served) -> None:
    rotate(served, served.issue()["key_id"], strategy="immediate")
    found = served.call("GET", "/v1/rotation-statistics").ok()
    assert found["by_stage"]["completed"] >= 1
    assert found["keys"] >= 1


def test_a_secret_whose_answer_was_lost_is_had_again_with_the_same_idempotency_key(served: Served) -> None:
    rotation = rotate(served, served.issue()["key_id"], keep_secret=True)
    path, fields = f"/v1/rotations/{rotation['rotation_id']}/pick-up", [("Idempotency-Key", str(uuid4()))]
    first, again = (served.call("POST", path, fields=fields) for _ in range(2))
    assert first.ok() == again.ok()
    assert (first.field("idempotent-replayed"), again.field("idempotent-replayed")) == (None, "true")
    assert served.verify(first.ok()["key"])["valid"]
    for others in ([], [("Idempotency-Key", str(uuid4()))]):
        served.call("POST", path, fields=others).problem(409, "illegal_transition")
    other = served.provision("*")
    served.call("POST", path, fields=fields, key=other).problem(409, "illegal_transition")


@pytest.mark.parametrize("what", ["rotate", "pick-up"])
def test_requests_that_race_with_one_idempotency_key_are_all_answered_with_one_secret(
    served: Served, what: str
) -> None:
    key_id = served.issue()["key_id"]
    path = f"/v1/keys/{key_id}/rotate"
    if what == "pick-up":
        path = f"/v1/rotations/{rotate(served, key_id, keep_secret=True)['rotation_id']}/pick-up"
    fields = [("Idempotency-Key", str(uuid4()))]
    with ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(served.call, "POST", path, fields=fields) for _ in range(8)]
    answers = [each.result() for each in sent]
    assert {answer.status for answer in answers} == {201 if what == "rotate" else 200}
    assert len({answer.json["key"] for answer in answers}) == 1
    assert served.show(key_id)["version"] == 2
