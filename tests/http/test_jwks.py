"""Key sets over HTTP: open to everybody, cached rightly, and what two other libraries verify our tokens with."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import jwt
import pytest
from joserfc import jwt as jose
from joserfc.jwk import KeySet

from tests.contract.waiting import until
from tests.http.raw import Answer
from tests.http.served import Served, another_source

DEFAULT: Final = "/.well-known/jwks.json"
ALGORITHMS: Final = ("EdDSA", "ES256", "PS256", "RS256")


def of_tenant(tenant: str) -> str:
    return f"/v1/tenants/{tenant}/jwks.json"


def fetch(served: Served, path: str = DEFAULT, *seen: str) -> Answer:
    """As somebody who has no key."""
    return served.call("GET", path, key=None, fields=[("If-None-Match", tag) for tag in seen])


def issue(served: Served, *, key: str | None = None, **more: Any) -> dict[str, Any]:
    wanted = {"type": "jwt", "scope": "read_write", "published_for": 3_600, **more}
    found: list[dict[str, Any]] = []

    def made() -> bool:  # RSA keys are made ahead, and there may be none yet
        answer = served.call("POST", "/v1/keys", wanted, key=key or served.key)
        if answer.status == 201:
            found.append(answer.json)
        return answer.status != 503

    until(made)
    return found[0]


def sign(served: Served, key: dict[str, Any], **asked: Any) -> str:
    answer = served.call("POST", f"/v1/keys/{key['key_id']}/sign", {"claims": {"sub": "ada"}, **asked})
    return str(answer.ok()["token"])


def kids(answer: Answer) -> set[str]:
    return {jwk["kid"] for jwk in answer.ok()["keys"]}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # joserfc, since RFC 9864
def test_two_other_libraries_verify_a_token_with_the_set(served: Served, algorithm: str) -> None:
    key = issue(served, algorithm=algorithm)
    token = sign(served, key, issuer="https://a", audience="https://b", typ="at+jwt")
    client = jwt.PyJWKClient(f"{served.server.url}{DEFAULT}")
    claims = jwt.decode(
        token,
        client.get_signing_key_from_jwt(token),
        algorithms=[algorithm],
        issuer="https://a",
        audience="https://b",
    )
    assert claims["sub"] == "ada"
    keys = KeySet.import_key_set(fetch(served).ok())
    decoded = jose.decode(token, keys, algorithms=[algorithm])
    assert (decoded.claims, decoded.header["typ"]) == (claims, "at+jwt")


@pytest.mark.parametrize(("kind", "algorithm"), [("rsa", "PS384"), ("ecdsa", "ES512")])
def test_keys_that_sign_data_are_there_as_well(served: Served, kind: str, algorithm: str) -> None:
    key = issue(served, type=kind, algorithm=algorithm, length={"ES512": 521}.get(algorithm))
    (jwk,) = (each for each in fetch(served).ok()["keys"] if each["kid"] == f"{key['key_id']}.1")
    assert (jwk["alg"], jwk["use"]) == (algorithm, "sig")
    assert KeySet.import_key_set({"keys": [jwk]}).keys[0].is_private is False


def test_the_set_is_open_to_everybody_and_may_be_kept_for_its_time(served: Served) -> None:
    issue(served)
    answer = fetch(served)
    assert answer.field("content-type") == "application/jwk-set+json"
    assert answer.field("cache-control") == "public, max-age=300"
    assert answer.field("access-control-allow-origin") == "*"
    assert answer.json == fetch(served, of_tenant("default")).json
    assert set(answer.json) == {"keys"}
    assert fetch(served).body == answer.body


def test_who_has_seen_the_set_is_told_so_and_nothing_more(served: Served) -> None:
    issue(served)
    etag = str(fetch(served).field("etag"))
    for tags in ((etag,), (f"W/{etag}",), ('"x"', etag), ("*",)):
        answer = fetch(served, DEFAULT, *tags)
        assert (answer.status, answer.body, answer.field("etag")) == (304, b"", etag)
        assert answer.field("cache-control") == "public, max-age=300"
    assert fetch(served, DEFAULT, '"x"').status == 200
    fetch(served, DEFAULT, "x").problem(400, "malformed_header")
    issue(served)
    changed = fetch(served, DEFAULT, etag)
    assert (changed.status, changed.field("etag") != etag) == (200, True)


def test_a_change_is_in_the_next_answer(served: Served) -> None:
    for _ in range(20):
        key = issue(served)
        assert f"{key['key_id']}.1" in kids(fetch(served))
        served.act(key["key_id"], "revoke", {"reason": "keyCompromise"}).ok()
        assert f"{key['key_id']}.1" not in kids(fetch(served))


def test_tenants_have_sets_of_their_own_and_who_is_none_has_an_empty_one(served: Served) -> None:
    foreigner = served.tenant("jwks-elsewhere")
    key = issue(served, key=foreigner)
    assert kids(fetch(served, of_tenant("jwks-elsewhere"))) == {f"{key['key_id']}.1"}
    assert f"{key['key_id']}.1" not in kids(fetch(served))
    assert fetch(served, of_tenant("nobody")).ok() == {"keys": []}
    for name in ("system", "A", "a.b", "a" * 64):
        fetch(served, of_tenant(name)).problem(422, "invalid_request")


def test_what_verifies_with_a_secret_is_refused_and_never_there(served: Served) -> None:
    for more in ({"type": "hmac"}, {"algorithm": "HS256"}, {"type": "api_token"}):
        wanted = {"type": "jwt", "scope": "read_write", "published_for": 60, **more}
        answer = served.call("POST", "/v1/keys", wanted)
        assert answer.problem(422, "invalid_request")["field"] == "published_for"
    text = fetch(served).body.decode()
    assert not {'"k"', '"d"', "oct"} & set(text.replace(":", ",").split(","))


def test_a_key_is_published_and_withdrawn_over_http(served: Served) -> None:
    key = issue(served, published_for=None)
    path, kid = f"/v1/keys/{key['key_id']}", f"{key['key_id']}.1"
    assert kid not in kids(fetch(served))
    assert served.call("PATCH", path, {"published_for": 60}).ok()["published_for"] == 60
    assert kid in kids(fetch(served))
    served.call("PATCH", path, {"published_for": 59}).problem(422, "invalid_request")
    assert served.call("PATCH", path, {"published_for": None}).ok()["published_for"] is None
    assert kid not in kids(fetch(served))


def test_a_token_is_verified_for_what_it_is(served: Served) -> None:
    key = issue(served)
    path = f"/v1/keys/{key['key_id']}/verify-signature"
    token = sign(served, key, issuer="https://a", audience="https://b", typ="at+jwt")

    def code(**asked: str) -> str:
        return str(served.call("POST", path, {"token": token, **asked}).ok()["code"])

    assert code(audience="https://b", typ="at+jwt", issuer="https://a") == "valid"
    assert code() == "wrong_type"
    assert code(typ="at+jwt") == "wrong_audience"
    assert code(typ="at+jwt", audience="https://b", issuer="https://c") == "wrong_issuer"
    for said in ({"issuer": "a"}, {"audience": "a"}, {"typ": "JWT"}):
        answer = served.call("POST", path, {"data": "aGk", "signature": "aGk", **said})
        answer.problem(422, "invalid_request")
        answer = served.call("POST", f"/v1/keys/{key['key_id']}/sign", {"data": "aGk", **said})
        answer.problem(422, "invalid_request")


def test_whoever_asks_for_sets_in_masses_costs_no_reads(served: Served) -> None:
    issue(served)
    fetch(served)

    def reads() -> float:
        text = served.call("GET", "/metrics", key=None).body.decode()
        found = re.findall(
            r'^keyturn_ledger_call_duration_seconds_count\{[^}]*"read"[^}]*\} (\S+)', text, re.MULTILINE
        )
        return sum(map(float, found))

    source, before = another_source(), reads()
    for number in range(300):
        answer = served.call("GET", of_tenant(f"t{number}"), key=None, source=source)
        assert json.loads(answer.body) == {"keys": []}
    assert reads() - before <= 5
