"""Signing from the command line: data come from standard input, and a signature or a token goes out."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tests.cli.program import Program


def issue(program: Program, key_type: str, *more: str) -> dict[str, Any]:
    return program.issue("--type", key_type, "--scope", "read_write", *more)


@pytest.mark.parametrize("key_type", ["hmac", "ecdsa", "rsa"])
def test_what_was_signed_verifies_and_anything_else_does_not(program: Program, key_type: str) -> None:
    key_id = issue(program, key_type)["key_id"]
    signed = program.run("sign", key_id, given=b"\x00\xff the bytes\n")
    assert (signed.status, signed.err) == (0, "")
    signature = signed.out.strip()
    good = program.run("verify-signature", key_id, "--signature", signature, given=b"\x00\xff the bytes\n")
    assert (good.status, "valid" in good.out) == (0, True)
    bad = program.run("verify-signature", key_id, "--signature", signature, given=b"\x00\xff the bytes")
    assert (bad.status, "invalid_signature" in bad.out) == (1, True)


def test_claims_become_a_token(program: Program) -> None:
    key_id = issue(program, "jwt")["key_id"]
    signed = program.run("sign", key_id, "--claims", '{"sub": "ada"}', "--expires-in", "5m")
    assert signed.status == 0
    checked = program.run("verify-signature", key_id, "--json", given=signed.out)
    assert checked.status == 0
    claims = checked.json["claims"]
    assert (claims["sub"], claims["exp"] - claims["iat"]) == ("ada", 300)
    altered = program.run("verify-signature", key_id, "--json", given="x" + signed.out)
    assert (altered.status, altered.json["valid"]) == (1, False)


def test_of_a_pair_the_public_key_is_the_last_that_is_printed(program: Program) -> None:
    done = program.run("issue", "--type", "rsa", "--scope", "read_write")
    assert done.status == 0
    pem = done.out[done.out.index("-----BEGIN PUBLIC KEY-----") :]
    public = load_pem_public_key(pem.encode())
    assert isinstance(public, rsa.RSAPublicKey)
    assert public.key_size == 3_072
    assert "PRIVATE" not in done.out + done.err


def test_the_answer_in_json_is_that_of_http(program: Program) -> None:
    key_id = issue(program, "ecdsa", "--length", "384")["key_id"]
    view = program.run("sign", key_id, "--json", given="data").json
    assert view.keys() == {"key_id", "version", "algorithm", "signature", "token"}
    assert (view["algorithm"], view["token"]) == ("ES384", None)
    assert base64.urlsafe_b64decode(view["signature"] + "==")[0] == 0x30, "ECDSA as DER"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--expires-in", "5m"), "--expires-in is for claims"),
        (("--claims", "[]"), "object"),
        (("--claims", '{"exp": "tomorrow"}'), "exp is a number"),
    ],
)
def test_what_makes_no_sense_is_refused(program: Program, arguments: tuple[str, ...], message: str) -> None:
    key_id = issue(program, "jwt")["key_id"]
    done = program.run("sign", key_id, *arguments)
    assert done.status != 0
    assert message in done.err
    assert done.out == ""


def test_a_key_that_may_not_sign_says_why(program: Program) -> None:
    key_id = program.issue("--type", "ecdsa")["key_id"]
    done = program.run("sign", key_id, given="data")
    assert done.status != 0
    assert "scope read does not sign" in done.err


def test_a_signature_that_is_none_is_refused(program: Program) -> None:
    key_id = issue(program, "ecdsa")["key_id"]
    done = program.run("verify-signature", key_id, "--signature", "!", given="data")
    assert "not base64" in done.err
    assert done.status != 0


def test_a_token_passes_for_what_it_is(program: Program) -> None:
    key_id = issue(program, "jwt", "--published-for", "1h")["key_id"]
    meant = ("--issuer", "https://a", "--audience", "https://b", "--typ", "at+jwt")
    signed = program.run("sign", key_id, "--claims", '{"sub": "ada"}', *meant)
    assert program.run("verify-signature", key_id, *meant, given=signed.out).status == 0
    refused = program.run("verify-signature", key_id, "--audience", "https://b", "--json", given=signed.out)
    assert (refused.status, refused.json["code"]) == (1, "wrong_type")
    for said in (meant[:2], meant[2:4], meant[4:]):
        assert program.run("sign", key_id, *said, given="data").status == 2
        assert program.run("verify-signature", key_id, "--signature", "aGk", *said, given="data").status == 2


def test_the_set_has_what_is_published_and_what_is_withdrawn_no_more(program: Program) -> None:
    key_id = issue(program, "jwt", "--published-for", "1h")["key_id"]
    issue(program, "jwt")
    done = program.run("jwks")
    assert done.status == 0
    (jwk,) = (each for each in done.json["keys"] if each["kid"].startswith(key_id))
    assert (jwk["kid"], jwk["kty"], "d" in jwk) == (f"{key_id}.1", "OKP", False)
    assert program.run("jwks", "--tenant", "nobody").json == {"keys": []}
    assert program.run("update", key_id, "--clear", "published_for").status == 0
    assert key_id not in program.run("jwks").out
    assert program.run("update", key_id, "--published-for", "2h", "--json").json["published_for"] == 7_200
    assert key_id in program.run("jwks").out
