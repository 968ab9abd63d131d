"""Secrets that are encrypted to a receiver's key, decrypted by a library that knows nothing of Keyturn."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from typing import Any, Final

import pytest
from joserfc import jwe
from joserfc.errors import DecodeError, JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from keyturn.crypto.jwe import encrypted, require_usable
from keyturn.domain.bytestext import to_base64url
from keyturn.domain.notices.receiver import Receiver
from keyturn.domain.secret import Secret
from keyturn.errors import InvalidInputError

PAYLOAD: Final = '{"key":"kt_abc"}'
KINDS: Final[dict[str, Any]] = {
    "P-256": lambda: ECKey.generate_key("P-256"),
    "X25519": lambda: OKPKey.generate_key("X25519"),
    "RSA": lambda: RSAKey.generate_key(2_048),
}
WAYS: Final = [
    ("P-256", "ECDH-ES"),
    ("P-256", "ECDH-ES+A256KW"),
    ("X25519", "ECDH-ES"),
    ("X25519", "ECDH-ES+A256KW"),
    ("RSA", "RSA-OAEP-256"),
]


def jwk_of(key: Any, **members: Any) -> dict[str, str]:
    """What is kept of the public half."""
    return dict(Receiver.of({**key.as_dict(private=False), **members}, every_owner=True).jwk)


def decrypted(token: str, key: Any, algorithm: str) -> str:
    found = jwe.decrypt_compact(token, key, algorithms=[algorithm, "A256GCM"]).plaintext
    assert found is not None
    return found.decode()


@pytest.mark.parametrize(("kind", "algorithm"), WAYS)
def test_the_holder_of_the_private_key_decrypts_it_and_nobody_else(kind: str, algorithm: str) -> None:
    key, other = KINDS[kind](), KINDS[kind]()
    token = encrypted(jwk_of(key, alg=algorithm, kid="laptop"), Secret(PAYLOAD))
    assert decrypted(token, key, algorithm) == PAYLOAD
    assert "kt_abc" not in token
    header = json.loads(urlsafe_b64decode(token.partition(".")[0] + "=="))
    assert (header["alg"], header["enc"], header["cty"], header["kid"]) == (
        algorithm,
        "A256GCM",
        "json",
        "laptop",
    )
    with pytest.raises((JoseError, ValueError)):
        decrypted(token, other, algorithm)


@pytest.mark.parametrize(("kind", "algorithm"), WAYS)
def test_a_changed_byte_is_noticed(kind: str, algorithm: str) -> None:
    key = KINDS[kind]()
    parts = encrypted(jwk_of(key, alg=algorithm), Secret(PAYLOAD)).split(".")
    for index, part in enumerate(parts):
        if not part:
            continue
        changed = ("B" if part[4] != "B" else "C").join((part[:4], part[5:]))
        altered = ".".join((*parts[:index], changed, *parts[index + 1 :]))
        with pytest.raises((JoseError, DecodeError, ValueError)):
            decrypted(altered, key, algorithm)


def test_nothing_is_used_twice() -> None:
    for kind, algorithm in WAYS:
        jwk = jwk_of(KINDS[kind](), alg=algorithm)
        first, second = (encrypted(jwk, Secret(PAYLOAD)).split(".") for _ in range(2))
        assert all(a != b for a, b in zip(first[1:], second[1:], strict=True) if a)
        assert algorithm == "RSA-OAEP-256" or first[0] != second[0]  # the key pair of its own


def test_a_key_says_its_algorithm_or_has_that_of_its_kind() -> None:
    assert jwk_of(KINDS["P-256"]())["alg"] == jwk_of(KINDS["X25519"]())["alg"] == "ECDH-ES+A256KW"
    assert jwk_of(KINDS["RSA"]())["alg"] == "RSA-OAEP-256"


P256: Final[dict[str, str]] = jwk_of(KINDS["P-256"]())
X25519: Final[dict[str, str]] = jwk_of(KINDS["X25519"]())


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "oct", "alg": "A256KW"},
        {**P256, "crv": "P-384"},
        {**P256, "alg": "RSA-OAEP"},
        {**P256, "alg": "dir"},
        {**P256, "alg": None},
        {**P256, "use": "sig"},
        {**P256, "y": "!"},
        {**P256, "y": None},
        {**P256, "y": P256["y"] + "="},
        {**P256, "x": "A" * 4_000},
        {**P256, "kid": ""},
        {**P256, "kid": "k" * 129},
        {**X25519, "crv": "Ed25519"},
        {**X25519, "crv": ["X25519"]},
        {"kty": ["EC"]},
        {**X25519, "d": "AAAA"},
        {"kty": "oct", "k": "AAAA"},
    ],
)
def test_what_is_no_public_key_for_encryption_is_refused(jwk: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as refused:
        Receiver.of(jwk, every_owner=True)
    assert "AAAA" not in str(refused.value)


@pytest.mark.parametrize(
    "jwk",
    [
        {**P256, "y": to_base64url(bytes(32))},  # no point of the curve
        {**P256, "x": to_base64url(b"\xff" * 40)},
        {**X25519, "x": to_base64url(bytes(32))},  # all share the same secret with it
        {**X25519, "x": to_base64url(bytes(31))},
        {"kty": "RSA", "alg": "RSA-OAEP-256", "n": to_base64url(b"\xff" * 128), "e": "AQAB"},  # 1,024 bits
        {"kty": "RSA", "alg": "RSA-OAEP-256", "n": to_base64url(b"\xff" * 256), "e": "AQ"},
    ],
)
def test_numbers_that_make_no_key_are_refused(jwk: dict[str, str]) -> None:
    kept = Receiver.of(jwk, every_owner=True).jwk
    with pytest.raises(InvalidInputError):
        require_usable(kept)


def test_a_receiver_is_for_some_owners_or_says_that_it_is_for_all() -> None:
    with pytest.raises(InvalidInputError, match="owners"):
        Receiver.of(P256)
    with pytest.raises(InvalidInputError, match="owners"):
        Receiver.of(P256, owners=["acme"], every_owner=True)
    with pytest.raises(InvalidInputError, match="owners"):
        Receiver.of(P256, owners=[f"owner-{number}" for number in range(101)])
    acme = Receiver.of(P256, owners=["acme", "acme"])
    assert [acme.takes(owner) for owner in ("acme", "globex", None)] == [True, False, False]
    assert Receiver.of(P256, every_owner=True).takes(None)
