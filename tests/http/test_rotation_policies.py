"""Policies over HTTP: who may write them, what null means, and changes to what was seen or not at all."""

from __future__ import annotations

from typing import Any, Final
from uuid import uuid4

import pytest

from tests.http.raw import Answer
from tests.http.served import Served

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
