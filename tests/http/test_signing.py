"""Signing over HTTP: the private key stays where it is, and what was signed verifies anywhere."""

from __future__ import annotations

import base64
import hmac
import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tests.http.served import Served, unknown_token

DATA = base64.urlsafe_b64encode(b"the bytes").rstrip(b"=").decode()
KINDS: list[dict[str, Any]] = [
    {"type": "hmac"},
    {"type": "hmac", "algorithm": "HS512"},
    {"type": "ecdsa"},
    {"type": "ecdsa", "length": 521},
    {"type": "rsa"},
    {"type": "rsa", "length": 4096, "algorithm": "PS512"},
]


def issue(served: Served, **wanted: Any) -> dict[str, Any]:
    """A signing key; one that is made ahead may have to be waited for, as the answer says."""
    for _ in range(60):
        answer = served.call("POST", "/v1/keys", {"scope": "read_write", **wanted})
        if answer.status != 503:
            made: dict[str, Any] = answer.ok(201)
            return made
        answer.problem(503, "pool_empty")
        time.sleep(int(answer.field("retry-after") or "1"))
    raise AssertionError("no key was ready within a minute")


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_signature_verifies_here_and_altered_data_do_not(served: Served, kind: dict[str, Any]) -> None:
    key = issue(served, **kind)
    signed = served.act(key["key_id"], "sign", {"data": DATA}).ok()
    assert (signed["key_id"], signed["version"], signed["token"]) == (key["key_id"], 1, None)
    asked = {"data": DATA, "signature": signed["signature"]}
    assert served.act(key["key_id"], "verify-signature", asked).ok() == {
        "valid": True,
        "code": "valid",
        "key_id": key["key_id"],
        "version": 1,
        "algorithm": key["algorithm"],
        "claims": None,
    }
    other = served.act(key["key_id"], "verify-signature", {**asked, "data": "b3RoZXI"}).ok()
    assert (other["valid"], other["code"]) == (False, "invalid_signature")


def test_of_a_pair_the_public_key_is_given_and_verifies_without_us(served: Served) -> None:
    key = issue(served, type="rsa")
    assert key["key"] is None
    public = load_pem_public_key(key["public_key"].encode())
    assert isinstance(public, rsa.RSAPublicKey)
    signature = served.act(key["key_id"], "sign", {"data": DATA}).ok()["signature"]
    raw = base64.urlsafe_b64decode(signature + "==")
    public.verify(raw, b"the bytes", padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())


def test_an_hmac_secret_is_given_once_and_no_public_key(served: Served) -> None:
    key = issue(served, type="hmac")
    assert key["public_key"] is None
    assert len(base64.urlsafe_b64decode(key["key"] + "==")) == 32


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256"])
def test_a_json_web_token_verifies_here_and_without_us(served: Served, algorithm: str) -> None:
    key = issue(served, type="jwt", algorithm=algorithm)
    signed = served.act(key["key_id"], "sign", {"claims": {"sub": "ada"}, "expires_in": 60}).ok()
    check = served.act(key["key_id"], "verify-signature", {"token": signed["token"]}).ok()
    assert (check["valid"], check["claims"]["sub"]) == (True, "ada")
    head, _, last = signed["token"].rpartition(".")
    raw, public = base64.urlsafe_b64decode(last + "=="), load_pem_public_key(key["public_key"].encode())
    if isinstance(public, ed25519.Ed25519PublicKey):
        public.verify(raw, head.encode())
    else:
        assert isinstance(public, ec.EllipticCurvePublicKey)
        assert len(raw) == 64, "the two numbers side by side, not DER"


def test_a_token_of_another_key_is_not_this_keys(served: Served) -> None:
    first, second = issue(served, type="jwt"), issue(served, type="jwt")
    token = served.act(first["key_id"], "sign", {"claims": {}}).ok()["token"]
    check = served.act(second["key_id"], "verify-signature", {"token": token}).ok()
    assert (check["valid"], check["code"], check["claims"]) == (False, "not_found", None)


@pytest.mark.parametrize(
    ("act", "body", "field"),
    [
        ("sign", {}, None),
        ("sign", {"data": DATA, "claims": {}}, None),
        ("sign", {"data": DATA, "expires_in": 5}, None),
        ("sign", {"data": "!"}, "data"),
        ("sign", {"data": "A" * 700_001}, "data"),
        ("sign", {"claims": {}}, "key_id"),
        ("sign", {"digest": DATA}, "digest"),
        ("verify-signature", {}, None),
        ("verify-signature", {"data": DATA}, None),
        ("verify-signature", {"data": DATA, "signature": "!"}, "signature"),
        ("verify-signature", {"data": DATA, "signature": DATA, "token": "a.b.c"}, None),
        ("verify-signature", {"token": "a.b.c", "version": 1}, None),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_send(
    served: Served, act: str, body: dict[str, Any], field: str | None
) -> None:
    key = issue(served, type="ecdsa")
    problem = served.act(key["key_id"], act, body).problem(422, "invalid_request", field=field)
    assert problem["fix"]


def test_a_version_that_is_not_there_is_not_found(served: Served) -> None:
    key = issue(served, type="ecdsa")
    for version in (0, 2, -1, 2**70):
        asked = {"data": DATA, "signature": DATA, "version": version}
        served.act(key["key_id"], "verify-signature", asked).problem(404, "not_found")


def test_a_key_that_may_not_sign_says_why(served: Served) -> None:
    reading = issue(served, type="ecdsa", scope="read")
    served.act(reading["key_id"], "sign", {"data": DATA}).problem(403, "forbidden")
    token = served.issue()
    served.act(token["key_id"], "sign", {"data": DATA}).problem(422, "invalid_request", field="key_id")
    revoked = issue(served, type="ecdsa")
    served.act(revoked["key_id"], "revoke").ok()
    served.act(revoked["key_id"], "sign", {"data": DATA}).problem(409, "illegal_transition")


def test_numbers_that_json_has_and_integers_have_not_come_back_as_they_went(served: Served) -> None:
    key = issue(served, type="jwt")
    claims = {"n": 2**80, "x": 0.5, "text": "ö\u2028\U0001f600"}
    token = served.act(key["key_id"], "sign", {"claims": claims}).ok()["token"]
    found = served.act(key["key_id"], "verify-signature", {"token": token}).ok()["claims"]
    assert {name: found[name] for name in claims} == claims


def with_claims(key: dict[str, Any], claims: bytes) -> str:
    """A token by somebody who shares the secret of an HS256 key, and writes claims as no program would."""
    head = json.dumps({"alg": "HS256", "kid": f"{key['key_id']}.1", "typ": "JWT"}).encode()
    parts = [base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (head, claims)]
    signed = ".".join(parts)
    secret = base64.urlsafe_b64decode(key["key"] + "==")
    mac = hmac.digest(secret, signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


@pytest.mark.parametrize(
    "claims",
    [
        b'{"exp":1e999}',
        b'{"a":[{"b":-1e999}]}',
        b'{"a":' + b"[" * 32 + b"]" * 32 + b"}",
        b'{"a":' + b"[" * 300 + b"]" * 300 + b"}",
        b'{"a":' + b'{"a":' * 800 + b"1" + b"}" * 801,
    ],
    ids=["no end", "no number", "deep", "deeper", "deepest"],
)
def test_claims_that_could_not_be_passed_on_are_malformed_though_the_signature_holds(
    served: Served, claims: bytes
) -> None:
    """A number beyond the largest is none in JSON: as `exp` it would be a token for ever, and as an answer a 500."""
    key = issue(served, type="jwt", algorithm="HS256")
    asked = {"token": with_claims(key, b'{"sub":"ada"}')}
    assert served.act(key["key_id"], "verify-signature", asked).ok()["valid"]
    check = served.act(key["key_id"], "verify-signature", {"token": with_claims(key, claims)}).ok()
    assert (check["valid"], check["code"], check["claims"]) == (False, "malformed", None)


def test_no_request_waits_for_a_large_key_to_be_made(served: Served) -> None:
    """One is kept ready at most: of two requests in a row the second is told to come back."""
    answers = [
        served.call("POST", "/v1/keys", {"type": "rsa", "length": 8192, "scope": "read_write"})
        for _ in range(2)
    ]
    assert answers[0].status in (201, 503)
    problem = answers[1].problem(503, "pool_empty")
    assert answers[1].field("retry-after") == "10"
    assert "Retry-After" in problem["fix"]


def test_a_secret_of_a_signing_key_is_no_credential(served: Served) -> None:
    key = issue(served, type="hmac")
    assert served.verify(key["key"])["code"] == "malformed"
    assert served.verify(unknown_token())["code"] == "not_found"
