"""Policies over HTTP: who may write them, what null means, and changes to what was seen or not at all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from uuid import uuid4

import pytest

from tests.http.raw import Answer
from tests.http.served import Served
from tests.http.test_etags import tag_of

POLICIES: Final = "/v1/rotation-policies"


def made(served: Served, **members: Any) -> Answer:
    """The answer to a new policy."""
    name = f"p-{uuid4().hex[:12]}"
    body = {"policy_id": name, "frequency": "monthly", "strategy": "overlapping", **members}
    answer = served.call("POST", POLICIES, body)
    answer.ok(201)
    return answer


def path_of(answer: Answer) -> str:
    return f"{POLICIES}/{answer.json['policy_id']}"


@pytest.mark.parametrize(
    "wanted",
    [
        {"permissions": ["rotation.*", "keys.*"]},
        {"permissions": ["*"], "scope": "read_write"},
    ],
)
def test_a_key_that_could_not_issue_every_key_only_stops_policies(
    served: Served, wanted: dict[str, Any]
) -> None:
    weak = served.provision(*wanted.pop("permissions"), **wanted)
    path = path_of(made(served))
    served.call("POST", f"{path}/pause", key=weak).ok()
    body = {"policy_id": "weak", "frequency": "daily", "strategy": "immediate"}
    for method, where, sent in (
        ("POST", POLICIES, body),
        ("PATCH", path, {"frequency": "daily"}),
        ("POST", f"{path}/resume", {}),
    ):
        refused = served.call(method, where, sent, key=weak).problem(403, "forbidden")
        assert "scope full" in refused["fix"]
    assert served.call("GET", path).ok()["frequency"] == "monthly"
    assert served.call("DELETE", path, key=weak).status == 204


# -- what null means --------------------------------------------------------------------------------------------------


def test_null_is_what_there_is_when_nothing_is_said(served: Served) -> None:
    said = {
        "time_zone": "Europe/Zurich",
        "blackouts": [{"cron": "0 18 * * *", "duration": 3_600}],
        "lead": 60,
        "overlap": 3_600,
        "max_overlap": 7_200,
        "retire_unused_after": 3_600,
        "max_age": 7_200,
        "notices": [60],
        "keys": {"every_key": True},
        "may_select_none": True,
    }
    unsaid = dict.fromkeys(said.keys() - {"may_select_none"})
    plain, full = made(served), made(served, **said)
    other = {"policy_id": None, "created_at": None, "updated_at": None}
    for answer in (served.call("PATCH", path_of(full), unsaid), made(served, **unsaid)):
        assert {**answer.json, **other} == {**plain.json, **other}


def test_null_of_blue_green_is_what_there_is_when_nothing_is_said(served: Served) -> None:
    path = path_of(made(served, strategy="blue_green", requires_check=True, rollback_window=60))
    changed = served.call("PATCH", path, {"requires_check": None, "rollback_window": None}).ok()
    assert (changed["requires_check"], changed["rollback_window"]) == (False, 86_400)


@pytest.mark.parametrize("name", ["frequency", "strategy"])
def test_what_a_policy_cannot_be_without_is_not_null(served: Served, name: str) -> None:
    path = path_of(made(served))
    served.call("PATCH", path, {name: None}).problem(422, "invalid_request", field=name)


# -- ETags ------------------------------------------------------------------------------------------------------------

OLD: Final = '"1-AAAAAAAAAAAAAAAAAAAAAA"'
CHANGES: Final[dict[str, tuple[str, str, object]]] = {
    "update": ("PATCH", "", {"overlap": 3_600}),
    "pause": ("POST", "/pause", {}),
    "resume": ("POST", "/resume", {}),
    "delete": ("DELETE", "", None),
}
every_change = pytest.mark.parametrize("change", CHANGES)


def changed(served: Served, path: str, change: str, *fields: tuple[str, str]) -> Answer:
    method, tail, body = CHANGES[change]
    sent = () if body is None else (body,)
    return served.call(method, f"{path}{tail}", *sent, fields=fields)


def test_a_policy_has_the_same_etag_wherever_it_is_shown_until_it_changes(served: Served) -> None:
    answer = made(served)
    path, tags = path_of(answer), [tag_of(answer)]
    for change in ("update", "pause", "resume"):
        answer = changed(served, path, change)
        assert answer.ok() == served.call("GET", path).json
        tags.append(tag_of(answer))
        assert tag_of(served.call("GET", path)) == tags[-1]
    assert len(set(tags)) == len(tags)


def test_a_policy_that_was_seen_is_not_sent_again(served: Served) -> None:
    answer = made(served)
    path, tag = path_of(answer), tag_of(answer)
    for sent in (tag, f"W/{tag}", "*", f'"a", {tag}'):
        again = served.call("GET", path, fields=[("If-None-Match", sent)])
        assert (again.status, again.body, tag_of(again)) == (304, b"", tag)
    assert served.call("GET", path, fields=[("If-None-Match", OLD)]).ok() == answer.json


@every_change
def test_a_change_is_made_only_to_the_policy_that_was_seen(served: Served, change: str) -> None:
    path = path_of(made(served))
    if change == "resume":
        changed(served, path, "pause").ok()
    before = served.call("GET", path)
    for sent in (OLD, f"W/{tag_of(before)}"):
        refused = changed(served, path, change, ("If-Match", sent)).problem(412, "precondition_failed")
        assert "the policy is" in refused["detail"]
        assert served.call("GET", path).json == before.json
    assert changed(served, path, change, ("If-Match", tag_of(before))).status in (200, 204)
    assert changed(served, path, change, ("If-Match", tag_of(before))).status in (404, 412)


def test_of_many_changes_with_one_etag_exactly_one_is_made(served: Served) -> None:
    answer = made(served)
    path, fields = path_of(answer), [("If-Match", tag_of(answer))]
    with ThreadPoolExecutor(8) as pool:
        sent = [
            pool.submit(served.call, "PATCH", path, {"overlap": 3_600 + n}, fields=fields) for n in range(24)
        ]
    assert sorted(each.result().status for each in sent) == [200] + [412] * 23


def test_the_answer_that_is_given_again_has_its_etag(served: Served) -> None:
    body = {"policy_id": f"p-{uuid4().hex[:12]}", "frequency": "monthly", "strategy": "overlapping"}
    fields = [("Idempotency-Key", str(uuid4()))]
    first, again = (served.call("POST", POLICIES, body, fields=fields) for _ in range(2))
    assert tag_of(first) == tag_of(again)
