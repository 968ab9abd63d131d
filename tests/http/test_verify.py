"""`POST /v1/verify` and `/v1/verify/batch`: what they answer, code by code and item by item."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from keyturn import KeyScope, KeyType
from keyturn.adapters.ledger.sqlite.location import parse_url
from keyturn.domain.instants import parse_rfc3339
from keyturn.domain.key import KeyLength
from keyturn.domain.spec import KeySpec
from tests.contract.waiting import until
from tests.http.asking import (
    MEMBERS,
    NOTHING,
    WAYS,
    Question,
    after,
    but_for_as_of,
    expired,
    in_,
    put,
    seen,
    with_another_secret,
)
from tests.http.raw import Answer
from tests.http.served import Served, another_source, unknown_token

# -- codes ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A key in some state, what is asked of it, and the code that the answer has."""

    code: str
    make: Callable[[Served], dict[str, Any]]
    asked: Question = field(default_factory=dict)


def issued(**wanted: Any) -> Callable[[Served], dict[str, Any]]:
    return lambda served: served.issue(**wanted)


def of_a_revoked_owner(served: Served) -> dict[str, Any]:
    key = served.issue(owner="ended")
    served.call("POST", "/v1/owners/ended/revoke").ok()
    return key


SHOWN: Final = {
    "valid": Case("valid", issued()),
    "valid with all that can be asked": Case(
        "valid",
        issued(
            scope="full", permissions=["documents.*", "billing.read"], allowed_ips=["203.0.113.0/24", "::1"]
        ),
        {"scope": "read_write", "permissions": "documents.a.b AND billing.read", "ip": "203.0.113.255"},
    ),
    "valid from an address in another notation": Case(
        "valid", issued(allowed_ips=["203.0.113.9"]), {"ip": "::ffff:203.0.113.9"}
    ),
    "valid, with nothing asked in so many words": Case(
        "valid", issued(), {"scope": None, "permissions": None, "ip": None}
    ),
    "valid, of another kind": Case("valid", issued(type="provisioning", scope="admin"), {"scope": "admin"}),
    "valid, and resumed": Case("valid", after("suspend", "resume")),
    "not yet": Case("not_yet_valid", lambda served: served.issue(not_before=in_(hours=1))),
    "expired": Case("expired", expired),
    "suspended": Case("suspended", after("suspend")),
    "revoked": Case("revoked", after("revoke")),
    "compromised": Case("revoked", after("revoke", body={"reason": "keyCompromise"})),
    "destroyed": Case("revoked", after("destroy")),
    "with its owner": Case("revoked", of_a_revoked_owner),
    "scope": Case("insufficient_scope", issued(scope="read"), {"scope": "write"}),
    "permission": Case(
        "insufficient_permissions", issued(permissions=["a.b"]), {"permissions": "a.b AND a.c"}
    ),
    "no permission": Case("insufficient_permissions", issued(), {"permissions": "a"}),
    "another address": Case("ip_denied", issued(allowed_ips=["203.0.113.9"]), {"ip": "203.0.113.10"}),
    "no address": Case("ip_denied", issued(allowed_ips=["0.0.0.0/0", "::/0"])),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SHOWN)
def test_an_answer_says_why_and_whose_key_it_is(served: Served, name: str, way: str) -> None:
    case = SHOWN[name]
    key = case.make(served)
    for _ in ("cold", "warm"):
        answer = put(served, way, {"key": key["key"], **case.asked})
        assert but_for_as_of(answer) == {
            "valid": case.code == "valid", "code": case.code, "key_id": key["key_id"], "version": 1,
            "owner": key["owner"], "scope": key["scope"], "permissions": key["permissions"], "metadata": {},
            "expires_at": key["expires_at"], "rate_limits": [], "credits": None,
        }  # fmt: skip


def test_an_answer_holds_what_its_issuer_attached(served: Served) -> None:
    key = served.issue(
        owner="acme/🔑", scope="read_write", permissions=["a.*", "*.b"], expires_at="2100-01-01T01:00:00.5+01:00",
        metadata={"plan": "pro", "seats": [1, None, True, {"é": -(2**53) + 1}], "": ""},
    )  # fmt: skip
    answer = served.verify(key["key"])
    assert but_for_as_of(answer) == {
        "valid": True, "code": "valid", "key_id": key["key_id"], "version": 1, "owner": "acme/🔑",
        "scope": "read_write", "permissions": ["a.*", "*.b"], "expires_at": "2100-01-01T00:00:00.500000Z",
        "metadata": {"plan": "pro", "seats": [1, None, True, {"é": -(2**53) + 1}], "": ""},
        "rate_limits": [], "credits": None,
    }  # fmt: skip


UNKNOWN: Final[dict[str, tuple[str, Callable[[Served], str]]]] = {
    "no text": ("malformed", lambda _: ""),
    "any text": ("malformed", lambda _: "what is this?"),
    "beyond ASCII": ("malformed", lambda _: "kt_" + "é" * 65),
    "NUL": ("malformed", lambda _: "\x00"),
    "a long text": ("malformed", lambda _: "k" * 10_000),
    "a key_id": ("malformed", lambda served: str(served.issue()["key_id"])),
    "a wrong checksum": ("malformed", lambda served: with_next_character(served.issue()["key"])),
    "a space before": ("malformed", lambda served: " " + served.issue()["key"]),
    "a line after": ("malformed", lambda served: served.issue()["key"] + "\n"),
    "the material of a key that signs": ("malformed", lambda served: served.issue(type="hmac")["key"]),
    "never issued": ("not_found", lambda _: unknown_token()),
    "never issued, in another form": ("not_found", lambda _: unknown_token(length=128, prefix="a_b")),
    "a wrong secret": ("not_found", lambda served: with_another_secret(served.issue()["key"])),
    "a wrong secret of a known key": (
        "not_found",
        lambda served: with_another_secret(seen(served, served.issue()["key"])),
    ),
    "another tenant's": ("not_found", lambda served: served.issue_elsewhere()["key"]),
    "another tenant's that is known": (
        "not_found",
        lambda served: seen(served, served.issue_elsewhere()["key"], by=served.foreigner),
    ),
    "another tenant's that is revoked": (
        "not_found",
        lambda served: ended(served, served.issue_elsewhere(), by=served.foreigner),
    ),
}


def ended(served: Served, key: Mapping[str, str], by: str) -> str:
    served.call("POST", f"/v1/keys/{key['key_id']}/revoke", key=by).ok()
    return key["key"]


def with_next_character(token: str) -> str:
    return token[:-1] + ("b" if token[-1] == "a" else "a")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", UNKNOWN)
def test_of_a_token_that_is_not_this_tenants_nothing_is_said(served: Served, name: str, way: str) -> None:
    code, make = UNKNOWN[name]
    token, ip = make(served), another_source()
    for _ in ("cold", "warm"):
        answer = put(served, way, {"key": token, "scope": "admin", "permissions": "a", "ip": ip})
        assert but_for_as_of(answer) == {"valid": False, "code": code, **NOTHING}


@pytest.mark.parametrize("asked", [scope.value for scope in KeyScope])
@pytest.mark.parametrize("held", [scope.value for scope in KeyScope])
def test_a_scope_is_met_when_the_keys_actions_cover_it(served: Served, held: str, asked: str) -> None:
    actions = {"read": "r", "write": "w", "admin": "a", "read_write": "rw", "full": "rwa"}
    expected = "valid" if set(actions[asked]) <= set(actions[held]) else "insufficient_scope"
    assert served.verify(served.issue(scope=held)["key"], scope=asked)["code"] == expected


@pytest.mark.parametrize(
    ("grants", "query", "is_met"),
    [
        (["documents.read"], "documents.read", True),
        (["documents.read"], "documents.Read", False),
        (["documents.*"], "documents.read.all", True),
        (["documents.*"], "documents", False),
        (["*.read"], "documents.read", True),
        (["*.read"], "documents.read.all", False),
        (["*"], "a AND b.c", True),
        (["a", "b"], "a AND b", True),
        (["a", "b"], "a AND b AND c", False),
        (["a"], "  a  AND a ", True),
    ],
)
def test_grants_meet_a_query(served: Served, grants: list[str], query: str, is_met: bool) -> None:
    answer = served.verify(served.issue(permissions=grants)["key"], permissions=query)
    assert answer["code"] == ("valid" if is_met else "insufficient_permissions")


def test_state_comes_before_time_network_scope_and_permissions(served: Served) -> None:
    """Whoever may not know that a key is suspended learns nothing of what else it lacks, and so on down."""
    key = served.issue(not_before=in_(hours=1), allowed_ips=["203.0.113.9"], expires_in=7_200)
    asked = {"scope": "admin", "permissions": "a.b", "ip": "192.0.2.1"}
    codes = []
    for change in (
        "suspend", "resume", {"not_before": None}, {"allowed_ips": None}, {"scope": "full"}, {"permissions": ["a.b"]},
        "revoke",
    ):  # fmt: skip
        if isinstance(change, str):
            served.act(key["key_id"], change).ok()
        else:
            served.call("PATCH", f"/v1/keys/{key['key_id']}", change).ok()
        codes.append(served.verify(key["key"], **asked)["code"])
    assert codes == ["suspended", "not_yet_valid", "ip_denied", "insufficient_scope", "insufficient_permissions",
                     "valid", "revoked"]  # fmt: skip


def test_a_key_that_is_in_use_expires_at_its_expiry(served: Served) -> None:
    key = served.issue(expires_in=1)
    expiry = parse_rfc3339(key["expires_at"])

    def has_ended() -> bool:
        asked_at = datetime.now(UTC)
        code = served.verify(key["key"])["code"]
        answered_at = datetime.now(UTC)
        assert code == "valid" or answered_at >= expiry
        assert code == "expired" or asked_at < expiry
        return bool(code == "expired")

    assert not has_ended()
    until(has_ended)


@pytest.mark.parametrize("way", WAYS)
def test_a_key_that_is_in_use_is_refused_as_soon_as_its_revocation_is_answered(
    served: Served, way: str
) -> None:
    for path, body, code in (
        ("/v1/keys/{key_id}/revoke", None, "revoked"),
        ("/v1/keys/{key_id}/suspend", None, "suspended"),
        ("/v1/keys/{key_id}/destroy", None, "revoked"),
        ("/v1/owners/{owner}/revoke", {"reason": "cessationOfOperation"}, "revoked"),
    ):
        key = served.issue(owner=f"at-once-{way}-{code}")
        assert put(served, way, {"key": key["key"]})["valid"]
        served.call("POST", path.format(**key), body).ok()
        assert put(served, way, {"key": key["key"]})["code"] == code


def test_a_source_that_keeps_failing_is_throttled_and_no_other(served: Served) -> None:
    known = seen(served, served.issue()["key"])
    source = {"ip": "198.51.100.1"}
    answers: list[dict[str, Any]] = []
    while not answers or answers[-1]["code"] == "not_found":  # one a second is forgiven meanwhile
        answers.append(served.verify(unknown_token(), **source))
    assert len(answers) > 30
    assert but_for_as_of(answers[-1]) == {"valid": False, "code": "throttled", **NOTHING}
    assert served.verify(known, **source)["valid"]
    assert served.verify(unknown_token(), ip="198.51.100.2")["code"] == "not_found"
    until(lambda: served.verify(unknown_token(), **source)["code"] == "not_found")


def test_a_row_that_somebody_altered_is_refused_as_such(served: Served) -> None:
    key = served.issue(scope="read")
    with sqlite3.connect(parse_url(served.url)) as store:
        changed = store.execute(
            """UPDATE rows SET body = replace(body, '"scope":"read"', '"scope":"full"') WHERE id = ?""",
            (key["key_id"],),
        )
        assert changed.rowcount == 1
    store.close()
    for way in WAYS:
        answer = put(served, way, {"key": key["key"]})
        assert but_for_as_of(answer) == {"valid": False, "code": "integrity_failed", **NOTHING}
    served.call("GET", f"/v1/keys/{key['key_id']}").problem(503, "integrity_failed")
    assert served.verify(served.issue()["key"])["valid"]


def test_as_of_names_the_log_and_how_far_it_was_read(served: Served) -> None:
    token = served.issue()["key"]
    log, _, before = served.verify(token)["as_of"].partition(":")
    for way in WAYS:
        served.issue()
        other, _, position = put(served, way, {"key": token})["as_of"].partition(":")
        assert other == log
        assert int(position) > int(before)
        before = position


# -- batches ----------------------------------------------------------------------------------------------------------


def batch(served: Served, items: object, key: str | None = None) -> Answer:
    return served.call("POST", "/v1/verify/batch", {"items": items}, key=key or served.key)


def test_a_batch_is_answered_in_its_order_each_item_as_if_asked_alone(served: Served) -> None:
    """Cold and warm, known and unknown, one of them twice: what takes longer does not come later."""
    cold = served.issue(owner="cold")
    warm = served.issue(owner="warm")
    seen(served, warm["key"])
    questions = [
        {"key": cold["key"]},
        {"key": warm["key"]},
        {"key": "nonsense"},
        {"key": warm["key"], "scope": "admin"},
        {"key": unknown_token()},
        {"key": cold["key"], "permissions": "a"},
        {"key": served.issue_elsewhere()["key"]},
        {"key": warm["key"]},
        {"key": after("revoke", owner="gone")(served)["key"]},
    ]
    items = batch(served, questions).ok()["items"]
    assert [(item["code"], item["owner"]) for item in items] == [
        ("valid", "cold"), ("valid", "warm"), ("malformed", None), ("insufficient_scope", "warm"), ("not_found", None),
        ("insufficient_permissions", "cold"), ("not_found", None), ("valid", "warm"), ("revoked", "gone"),
    ]  # fmt: skip
    assert all(tuple(item) == MEMBERS for item in items)
    alone = [but_for_as_of(served.call("POST", "/v1/verify", question).ok()) for question in questions]
    assert [but_for_as_of(item) for item in items] == alone


def test_a_thousand_keys_are_answered_in_their_order_the_first_time_and_the_second(served: Served) -> None:
    specs = [KeySpec(type=KeyType.API_TOKEN, scope=KeyScope.READ, owner=f"owner {n}") for n in range(1_000)]
    tokens = [made.secret.reveal() for made in served.issue_beside(specs)]
    until(lambda: served.verify(tokens[0])["valid"])  # the server has read of them in the log
    questions = [{"key": token} for token in tokens]
    for _ in ("cold", "warm"):
        items = batch(served, questions).ok()["items"]
        assert [item["owner"] for item in items] == [f"owner {number}" for number in range(1_000)]
        assert all(item["valid"] for item in items)


@pytest.mark.parametrize(
    "items",
    [[], [{"key": "a"}] * 1_001, None, {}, "items", 1, {"key": "a"}],
    ids=["empty", "1001", "null", "object", "text", "number", "one"],
)
def test_a_batch_has_1_to_1000_items(served: Served, items: object) -> None:
    batch(served, items).problem(422, "invalid_request", field="items")
    assert len(batch(served, [{"key": "a"}] * 1_000).ok()["items"]) == 1_000


@pytest.mark.parametrize(
    "body",
    [{}, [], [{"key": "a"}], {"items": [{"key": "a"}], "more": 1}, {"Items": [{"key": "a"}]}, None, "a"],
    ids=repr,
)
def test_a_batch_is_an_object_with_items_and_nothing_else(served: Served, body: object) -> None:
    served.call("POST", "/v1/verify/batch", body).problem(422, "invalid_request")


def test_of_a_batch_with_one_item_that_makes_no_sense_nothing_is_answered_or_counted(served: Served) -> None:
    key = served.issue()
    wrong: object
    for wrong in ({"key": "a", "other": 1}, {"scope": "read"}, {}, [], None, "a"):
        batch(served, [{"key": key["key"]}, wrong]).problem(422, "invalid_request")
    assert batch(served, [{"key": key["key"]}]).status == 200

    def total() -> int:
        with served.node() as node:
            return node.usage.of(key["key_id"], datetime.now(UTC)).total

    until(lambda: total() == 1)


@pytest.mark.parametrize("length", [int(length) for length in (KeyLength.BITS_256, KeyLength.BITS_8192)])
def test_a_whole_batch_of_the_longest_tokens_can_be_asked(served: Served, length: int) -> None:
    key = served.issue(length=length, prefix="p" * 32)
    answer = batch(served, [{"key": key["key"], "ip": "2001:db8::1"}] * 1_000)
    assert [item["valid"] for item in answer.ok()["items"]] == [True] * 1_000
