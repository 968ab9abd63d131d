"""Versions and uses of a key over HTTP."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

import pytest

from keyturn.domain.instants import parse_rfc3339, rfc3339
from tests.contract.waiting import until
from tests.http.raw import Answer
from tests.http.served import Served

MEMBERS: Final = {
    "key_id", "period", "from", "to", "total", "refused", "points", "last_used_at", "last_ip", "last_used_by_version",
}  # fmt: skip
LENGTHS: Final = {"minute": 60, "hour": 3_600, "day": 86_400}  # seconds


def usage(served: Served, key: dict[str, Any], **query: str) -> Answer:
    return served.call("GET", f"/v1/keys/{key['key_id']}/usage?{urlencode(query)}")


def test_uses_and_refusals_are_counted_with_the_last_use(served: Served) -> None:
    key = served.issue(allowed_ips=["203.0.113.0/24"])
    for last in (1, 2, 3):
        assert served.verify(key["key"], ip=f"203.0.113.{last}")["valid"]
    for _ in range(2):
        assert served.verify(key["key"], ip="203.0.113.9", scope="admin")["code"] == "insufficient_scope"
    assert served.verify(key["key"], ip="198.51.100.1")["code"] == "ip_denied"
    asked = datetime.now(UTC)
    for period, seconds in LENGTHS.items():
        found = usage(served, key, period=period).ok()
        assert found.keys() == MEMBERS
        assert (found["key_id"], found["period"]) == (key["key_id"], period)
        assert (found["total"], found["refused"]) == (3, {"insufficient_scope": 2, "ip_denied": 1})
        assert sum(point["count"] for point in found["points"]) == 3
        for name in ("from", "to"):
            assert int(parse_rfc3339(found[name]).timestamp()) % seconds == 0
        for point in found["points"]:
            assert int(parse_rfc3339(point["at"]).timestamp()) % seconds == 0
            assert found["from"] <= point["at"] < found["to"]
        assert parse_rfc3339(found["from"]) < asked < parse_rfc3339(found["to"]) + timedelta(minutes=1)
        assert found["last_ip"] == "203.0.113.3"
        assert parse_rfc3339(key["created_at"]) < parse_rfc3339(found["last_used_at"]) <= asked
        assert found["last_used_by_version"] == {"1": found["last_used_at"]}


def test_what_was_just_verified_here_is_counted(served: Served) -> None:
    key = served.issue()
    for expected in (1, 2, 3):
        assert served.verify(key["key"])["valid"]
        assert usage(served, key).ok()["total"] == expected


def test_a_key_that_was_never_used_has_nothing_to_show(served: Served) -> None:
    found = usage(served, served.issue()).ok()
    assert (found["total"], found["refused"], found["points"]) == (0, {}, [])
    assert (found["last_used_at"], found["last_ip"], found["last_used_by_version"]) == (None, None, {})


def test_bounds_leave_out_what_lies_beyond_them(served: Served) -> None:
    key = served.issue()
    assert served.verify(key["key"])["valid"]
    now = datetime.now(UTC)
    an_hour_ago, tomorrow = rfc3339(now - timedelta(hours=1)), rfc3339(now + timedelta(days=1))
    assert usage(served, key, period="hour", to=tomorrow, **{"from": an_hour_ago}).ok()["total"] == 1
    assert usage(served, key, to=an_hour_ago, period="minute").ok()["total"] == 0
    assert usage(served, key, **{"from": an_hour_ago}).ok()["last_used_at"] is not None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"period": "week"}, "period"), ({"period": ""}, "period"), ({"period": "DAY"}, "period"),
        ({"from": "yesterday"}, "from"), ({"to": "1"}, "to"), ({"from": ""}, "from"), ({"to": "2026-01-01"}, "to"),
        ({"since": "2026-01-01T00:00:00Z"}, "since"), ({"limit": "1"}, "limit"),
        ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "to"),
        ({"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "to"),
        ({"from": "2020-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "from"),
        ({"from": "2026-01-01T00:00:00Z", "to": "2026-01-03T00:00:00Z", "period": "minute"}, "period"),
        ({"from": "2026-01-01T00:00:00Z", "to": "2026-04-01T00:00:00Z", "period": "hour"}, "period"),
    ],
    ids=str,
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_its_name(
    served: Served, query: dict[str, str], field: str
) -> None:
    usage(served, served.issue(), **query).problem(422, "invalid_request", field=field)


def test_uses_stay_when_the_key_has_ended(served: Served) -> None:
    key = served.issue()
    assert served.verify(key["key"])["valid"]
    served.act(key["key_id"], "destroy").ok()
    assert served.verify(key["key"])["code"] == "revoked"
    assert usage(served, key).ok()["total"] == 1
    until(lambda: usage(served, key).ok()["refused"] == {"revoked": 1})


# -- versions ---------------------------------------------------------------------------------------------------------


def versions(served: Served, key: dict[str, Any], query: str = "") -> Answer:
    return served.call("GET", f"/v1/keys/{key['key_id']}/versions{query}")


def test_a_version_is_shown_with_its_state_and_without_its_secret(served: Served) -> None:
    key = served.issue()
    answer = versions(served, key)
    assert answer.ok() == {
        "items": [
            {
                "version": 1, "state": "active", "state_changed_at": key["created_at"], "is_current": True,
                "credential_id": re.findall("[0-9A-Za-z]+", key["key"])[-1][:16], "created_at": key["created_at"],
                "expires_at": None, "last_used_at": None,
            }
        ],
        "next_cursor": None,
    }  # fmt: skip
    assert key["key"].encode() not in answer.body


def test_a_key_that_signs_has_no_credential(served: Served) -> None:
    assert versions(served, served.issue(type="hmac")).ok()["items"][0]["credential_id"] is None


@pytest.mark.parametrize(
    ("act", "state"), [("suspend", "suspended"), ("revoke", "deactivated"), ("destroy", "destroyed")]
)
def test_what_happens_to_a_key_happens_to_its_versions(served: Served, act: str, state: str) -> None:
    key = served.issue()
    changed = served.act(key["key_id"], act).ok()
    (item,) = versions(served, key).ok()["items"]
    assert (item["state"], item["state_changed_at"]) == (state, changed["state_changed_at"])


def test_the_last_use_of_a_version_is_shown(served: Served) -> None:
    key = served.issue()
    assert served.verify(key["key"])["valid"]
    used = usage(served, key).ok()["last_used_at"]
    assert versions(served, key).ok()["items"][0]["last_used_at"] == used


@pytest.mark.parametrize(
    ("query", "field"),
    [("?limit=0", "limit"), ("?limit=1001", "limit"), ("?limit=a", "limit"), ("?cursor=a", "cursor"),
     ("?cursor=", "cursor"), ("?state=active", "state"), ("?version=1", "version")],
)  # fmt: skip
def test_a_query_that_makes_no_sense_is_refused_by_its_name(served: Served, query: str, field: str) -> None:
    versions(served, served.issue(), query).problem(422, "invalid_request", field=field)


def test_a_cursor_of_another_list_is_refused(served: Served) -> None:
    key = served.issue()
    served.issue()
    cursor = served.call("GET", "/v1/keys?limit=1").ok()["next_cursor"]
    versions(served, key, f"?cursor={cursor}").problem(422, "invalid_request", field="cursor")
