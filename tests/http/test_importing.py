"""Importing over HTTP: tokens and hashes become keys, and are never repeated."""

from __future__ import annotations

import base64
import hashlib
from itertools import count
from typing import Any, Final

import pytest

from tests.http.raw import Answer
from tests.http.served import METADATA, Served
from tests.imported import ARGON2ID, BCRYPT

_NUMBERS: Final = count(1)


def token() -> str:
    return f"old_{next(_NUMBERS):04}_8f3a61c09be2d475"


def imports(served: Served, given: object, **policy: object) -> Answer:
    return served.call("POST", "/v1/keys", {"import": given, **policy})


def hashed(text: str, algorithm: str = "sha256") -> str:
    return hashlib.new(algorithm, text.encode()).hexdigest()


def test_a_token_becomes_a_key_and_is_not_repeated(served: Served) -> None:
    text = token()
    answer = imports(served, {"token": text}, owner="user_42", permissions=["documents.read"], expires_in=600)
    issued = answer.ok(201)
    assert issued.keys() == METADATA | {"key", "public_key"}
    assert (issued["key"], issued["public_key"], issued["prefix"]) == (None, None, None)
    assert text not in answer.body.decode()
    verification = served.verify(text)
    assert (verification["valid"], verification["key_id"]) == (True, issued["key_id"])
    assert served.verify(text[:-1] + "0")["code"] == "not_found"
    (version,) = served.call("GET", f"/v1/keys/{issued['key_id']}/versions").ok()["items"]
    assert version["credential_id"] is None
    served.call("POST", f"/v1/keys/{issued['key_id']}/revoke").ok()
    assert served.verify(text)["code"] == "revoked"


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_hash_becomes_a_key(served: Served, algorithm: str) -> None:
    text, other = token(), token()
    imports(served, {"hash": hashed(text, algorithm), "algorithm": algorithm}).ok(201)
    raw = hashlib.new(algorithm, other.encode()).digest()
    imports(served, {"hash": base64.b64encode(raw).decode(), "algorithm": algorithm}).ok(201)
    assert served.verify(text)["valid"]
    assert served.verify(other)["valid"]


def test_a_salted_hash_is_upgraded_at_its_first_use(served: Served) -> None:
    text = token()
    digest = hashlib.sha256(text.encode() + b"pepper").hexdigest()
    given = {
        "hash": digest,
        "salt": "cGVwcGVy",
        "salt_encoding": "base64",
        "salt_position": "after",
        "start": text[:12],
    }
    key_id = imports(served, given).ok(201)["key_id"]
    assert served.verify(text[:-1] + "0")["code"] == "not_found"
    assert served.verify(text)["key_id"] == key_id
    with served.node() as node:
        assert any(
            e.type == "token_upgraded" and key_id in e.subjects
            for e in node.trail.events(("default",), key_id=key_id)
        )
    assert served.verify(text)["key_id"] == key_id


def test_it_passes_a_gateway_and_another_one_does_not(served: Served) -> None:
    text = token()
    imports(served, {"token": text}).ok(201)
    gateway = served.issue(type="provisioning", scope="full", permissions=["keys.verify"])["key"]
    fields = [("Keyturn-Gateway-Key", gateway)]
    assert served.call("GET", "/v1/authorize", key=text, fields=fields).status == 200
    assert served.call("GET", "/v1/authorize", key=token(), fields=fields).status == 401


def test_it_manages_nothing(served: Served) -> None:
    text = token()
    imports(served, {"token": text}, permissions=["*"], scope="full").ok(201)
    served.call("GET", "/v1/keys", key=text).problem(401, "unauthenticated")


def test_the_same_token_again_is_a_conflict_that_says_so(served: Served) -> None:
    text = token()
    imports(served, {"token": text}).ok(201)
    problem = imports(served, {"hash": hashed(text)}).problem(409, "conflict")
    assert "has been imported already" in problem["detail"]
    given = {"hash": ARGON2ID, "algorithm": "argon2id", "start": "same_start"}
    imports(served, given).ok(201)
    problem = imports(served, given).problem(409, "conflict")
    assert "same start" in problem["detail"]
    assert "longer start" in problem["fix"]


def test_the_same_request_again_is_answered_as_before(served: Served) -> None:
    text = token()
    fields = [("Idempotency-Key", text)]
    wanted = {"import": {"token": text}}
    first = served.call("POST", "/v1/keys", wanted, fields=fields).ok(201)
    assert served.call("POST", "/v1/keys", wanted, fields=fields).ok(201) == first


def test_a_batch_imports_and_issues_all_or_none(served: Served) -> None:
    texts = [token() for _ in range(3)]
    items: list[dict[str, Any]] = [{"import": {"token": text}} for text in texts]
    bad = {"import": {"hash": "0" * 63, "algorithm": "sha256"}}
    problem = served.call("POST", "/v1/keys/batch", {"items": [*items, bad]}).problem(422, "invalid_request")
    assert problem["field"] == "items.3.import.hash"
    problem = served.call("POST", "/v1/keys/batch", {"items": [*items, items[1]]}).problem(409, "conflict")
    assert "item 3 is there twice" in problem["detail"]
    assert served.verify(texts[0])["code"] == "not_found"
    issued = served.call("POST", "/v1/keys/batch", {"items": [*items, {}]}).ok(201)["items"]
    assert [item["key"] is None for item in issued] == [True, True, True, False]
    assert [served.verify(text)["key_id"] for text in texts] == [item["key_id"] for item in issued[:3]]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"import": {}}, "import.hash.hash"),
        ({"import": {"token": "x" * 15}}, "import.token"),
        ({"import": {"token": "x" * 1_025}}, "import.token"),
        ({"import": {"token": "x" * 16, "hash": "0" * 64}}, "import.token.hash"),
        ({"import": {"token": "x" * 16, "salt": "a"}}, "import.token.salt"),
        ({"import": {"token": 1}}, "import.token.token"),
        ({"import": []}, "import.hash"),
        ({"import": {"hash": "0" * 64, "algorithm": "md5"}}, "import.algorithm"),
        ({"import": {"hash": "0" * 64, "salt": "a"}}, "import.start"),
        (
            {"import": {"hash": "0" * 64, "salt": "a", "salt_encoding": "hex", "start": "abcdef"}},
            "import.salt",
        ),
        (
            {"import": {"hash": "0" * 64, "salt": "a", "salt_encoding": "x", "start": "abcdef"}},
            "import.salt_encoding",
        ),
        (
            {"import": {"hash": "0" * 64, "salt": "a", "salt_position": "x", "start": "abcdef"}},
            "import.salt_position",
        ),
        (
            {"import": {"hash": BCRYPT.replace("$04$", "$31$"), "algorithm": "bcrypt", "start": "abcdef"}},
            "import.hash",
        ),
        ({"import": {"hash": "0" * 64}, "recoverable": True}, "import.recoverable"),
        ({"import": {"token": "x" * 16}, "type": "provisioning"}, "type"),
        ({"import": {"token": "x" * 16}, "type": "hmac"}, "type"),
        ({"import": {"token": "x" * 16}, "prefix": "acme"}, "prefix"),
        ({"import": {"token": "x" * 16}, "length": 256}, "length"),
    ],
)
def test_what_cannot_be_imported_is_refused_by_name(served: Served, body: object, field: str) -> None:
    problem = served.call("POST", "/v1/keys", body).problem(422, "invalid_request")
    assert problem["field"] == field


def test_who_may_not_issue_may_not_import(served: Served) -> None:
    reader = served.provision("keys.read")
    served.call("POST", "/v1/keys", {"import": {"token": token()}}, key=reader).problem(403, "forbidden")
    creator = served.provision("keys.create")
    wanted = {"import": {"token": token()}, "permissions": ["documents.read"]}
    served.call("POST", "/v1/keys", wanted, key=creator).problem(403, "forbidden")
