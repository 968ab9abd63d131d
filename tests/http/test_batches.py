"""Many keys in one call: all of them or none, and each error says which one it is about."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from tests.http.memory import MIB, peak_growth
from tests.http.raw import Answer
from tests.http.served import METADATA, Served

PATH: Final = "/v1/keys/batch"


def batch(served: Served, *items: object, key: str | None = None) -> Answer:
    return served.call("POST", PATH, {"items": items}, key=key or served.key)


def newest(served: Served) -> Any:
    return served.call("GET", "/v1/keys?limit=3").ok()["items"]


def test_keys_are_issued_in_their_order_with_their_secrets(served: Served) -> None:
    wanted: list[dict[str, Any]] = [
        {},
        {"type": "hmac", "scope": "write", "name": "signs"},
        {"type": "provisioning", "scope": "full", "permissions": ["keys.read"]},
        {"owner": "acme", "prefix": "acme_live", "recoverable": True, "metadata": {"é": [1]}, "tags": ["a"]},
        {"expires_in": 60},
    ]
    items = batch(served, *wanted).ok(201)["items"]
    assert len(items) == len(wanted)
    for item, asked in zip(items, wanted, strict=True):
        assert item.keys() == METADATA | {"key", "public_key"}
        assert {name: item[name] for name in asked if name != "expires_in"} == {
            name: value for name, value in asked.items() if name != "expires_in"
        }
        assert served.show(item["key_id"]) == {name: item[name] for name in METADATA}
        if item["type"] == "api_token":
            assert served.verify(item["key"])["key_id"] == item["key_id"]
    assert len({item["key"] for item in items}) == len(items)


@pytest.mark.parametrize("count", [1, 1_000])
def test_a_batch_has_from_one_to_a_thousand(served: Served, count: int) -> None:
    with served.node() as node:
        before = node.records.log.position
    items = batch(served, *[{"name": f"{number}", "owner": f"o{number}"} for number in range(count)]).ok(201)[
        "items"
    ]
    assert [item["name"] for item in items] == [f"{number}" for number in range(count)]
    with served.node() as node:
        entries = node.trail.events({"default"}, after=before, limit=1_000)
    assert [event.type for event in entries if event.type == "key_created"] == ["key_created"] * count
    for item in (items[0], items[-1]):
        assert served.verify(item["key"])["valid"]


@pytest.mark.parametrize(
    "body", [{}, {"items": []}, {"items": [{}] * 1_001}, {"items": {}}, {"items": None}, [], [{}]]
)
def test_any_other_number_is_refused(served: Served, body: object) -> None:
    before = newest(served)
    problem = served.call("POST", PATH, body).problem(422, "invalid_request")
    assert problem.get("field", "").partition(".")[0] in ("items", "")
    assert newest(served) == before


REFUSED: Final[list[tuple[object, str]]] = [
    # An item, and the field that it is refused for.
    ({"scope": "everything"}, "scope"),
    ({"type": "token"}, "type"),
    ({"prefix": "A"}, "prefix"),
    ({"name": " a"}, "name"),
    ({"length": 257}, "length"),
    ({"tags": ["a", "a"]}, "tags"),
    ({"metadata": {"a": 1.5}}, "metadata"),
    ({"expires_in": 60, "expires_at": "2100-01-01T00:00:00Z"}, "expires_in"),
    ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
    ({"key_id": "key_0000000000000000000000"}, "key_id"),
    ({"type": "hmac", "recoverable": True}, "recoverable"),
    (1, ""),
    (None, ""),
    ([], ""),
]


@pytest.mark.parametrize(("item", "field"), REFUSED, ids=[str(each[0])[:40] for each in REFUSED])
@pytest.mark.parametrize("at", [0, 17])
def test_an_error_names_the_item_and_its_field_and_nothing_is_issued(
    served: Served, item: object, field: str, at: int
) -> None:
    before = newest(served)
    items: list[object] = [{"name": "refused with it"}] * 20
    items[at] = item
    problem = batch(served, *items).problem(422, "invalid_request")
    assert problem["field"] == (f"items.{at}.{field}" if field else f"items.{at}")
    assert newest(served) == before


def test_the_first_of_several_errors_is_named(served: Served) -> None:
    assert batch(served, {}, {"name": ""}, {"tags": ["a", "a"]}).any_problem()["field"] == "items.1.name"


def test_a_key_that_is_too_large_altogether_is_named(served: Served) -> None:
    large = {
        "permissions": [f"{number:0>128}" for number in range(256)],
        "metadata": {"a": "é" * 8_000},
        "tags": [f"{number:0>2}{'🏷' * 62}" for number in range(64)],
    }
    before = newest(served)
    assert batch(served, {}, {}, large).problem(422, "invalid_request")["field"] == "items.2"
    assert newest(served) == before


@pytest.mark.parametrize(
    "wanted", [{"permissions": ["keys.destroy"]}, {"scope": "admin"}, {"permissions": ["*"]}]
)
def test_no_item_holds_what_the_caller_lacks(served: Served, wanted: dict[str, Any]) -> None:
    caller = served.provision("keys.create", "documents.*", scope="read_write")
    fine: dict[str, Any] = {"permissions": ["documents.read"], "scope": "write"}
    assert len(batch(served, fine, fine, key=caller).ok(201)["items"]) == 2
    before = newest(served)
    problem = batch(served, fine, wanted, fine, key=caller).problem(403, "forbidden")
    assert problem["detail"].startswith("items.1: ")
    assert newest(served) == before


def test_keys_of_an_owner_who_was_revoked_before_are_of_the_present_epoch(served: Served) -> None:
    old = batch(served, {"owner": "twice"}, {"owner": "never"}).ok(201)["items"]
    assert served.call("POST", "/v1/owners/twice/revoke").ok()["revoked"] == 1
    new = batch(served, {"owner": "twice"}, {"owner": "never"}, {}).ok(201)["items"]
    assert [served.verify(item["key"])["code"] for item in (*old, *new)] == ["revoked", *["valid"] * 4]


def test_a_batch_as_large_as_a_body_may_be_is_issued_in_bounded_memory(served: Served) -> None:
    """With the longest secrets: the answer is much larger than the request, and is kept as well."""
    items = [{"length": 8_192, "metadata": {"a": "a" * 900}} for _ in range(1_000)]
    body = json.dumps({"items": items}).encode()
    assert 0.8 * MIB < len(body) < MIB
    fields = [("Idempotency-Key", "as-large-as-it-may-be")]
    with peak_growth(served.server.pid) as growth:
        first = served.call("POST", PATH, body, fields=fields)
        again = served.call("POST", PATH, body, fields=fields)
    assert len(first.ok(201)["items"]) == 1_000
    assert again.body == first.body
    assert growth.bytes < 96 * MIB


def test_there_is_no_key_called_batch(served: Served) -> None:
    for method in ("GET", "PATCH", "DELETE", "PUT"):
        answer = served.call(method, PATH, {})
        answer.problem(405, "method_not_allowed")
        assert answer.field("allow") == "POST"
    served.call("POST", "/v1/keys/batch/revoke").problem(422, "invalid_request", field="key_id")
    served.call("GET", "/v1/keys/batch2").problem(422, "invalid_request", field="key_id")
