"""Handles, keyed digests and sealed hashes of imported tokens, against values that were computed without Keyturn."""

from __future__ import annotations

import json
import sys
from typing import Any, Final

import pytest

from keyturn.crypto.foreign_tokens import (
    handle_of_digest,
    handle_of_start,
    handles_of,
    keyed_digest,
    plain_digest,
)
from keyturn.crypto.hash_forms import read_hash, read_salt
from keyturn.crypto.keyring import Keyring
from keyturn.crypto.sealing import open_material, place_of
from keyturn.crypto.slow_hashes import Bcrypt, decode, encode
from keyturn.domain.bodies import key_from, key_put, version_from, version_put
from keyturn.domain.key import Hashed
from keyturn.domain.secret import Secret
from keyturn.errors import ConfigurationError, IntegrityError, InvalidInputError
from tests.imported import ARGON2ID, BCRYPT, START, TOKEN
from tests.unit.crypto.samples import vectors

VECTORS: Final = vectors("imported")
KINDS: Final = {"sha256": Hashed.KEYED_SHA256, "sha512": Hashed.KEYED_SHA512}


def named(values: list[dict[str, Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "vector", values, ids=lambda vector: vector.get("name", vector.get("token", ""))[:40]
    )


@pytest.fixture
def keyring() -> Keyring:
    """The one of the vectors."""
    deks = {int(version): bytes.fromhex(dek) for version, dek in VECTORS["deks"].items()}
    return Keyring(deks, 1, bytes.fromhex(VECTORS["lookup_key"]), VECTORS["log_id"])


@named(VECTORS["tokens"])
def test_handles_and_digests_are_those_of_the_format(keyring: Keyring, vector: dict[str, Any]) -> None:
    token = vector["token"]
    for name, hashed in KINDS.items():
        plain = plain_digest(hashed, token)
        assert plain.hex() == vector[name]["plain"]
        assert keyed_digest(keyring, hashed, plain).hex() == vector[name]["digest"]
        assert handle_of_digest(keyring, hashed, plain) == vector[name]["handle"]
    starts = {length: handle_of_start(keyring, token[: int(length)]) for length in vector["starts"]}
    assert starts == vector["starts"]
    assert handles_of(keyring, token) == [
        vector["sha256"]["handle"],
        vector["sha512"]["handle"],
        *starts.values(),
    ]


@named(VECTORS["hashes"])
def test_a_sealed_hash_is_read_and_written_as_the_format_says(vector: dict[str, Any]) -> None:
    slow, start = decode(vector["text"])
    assert start == vector["start"]
    assert encode(slow, start) == vector["text"]
    assert slow.matches(Secret(vector["token"]))
    assert not slow.matches(Secret(vector["token"] + "0"))
    assert not slow.matches(Secret(vector["token"][:-1]))
    assert "salt" not in repr(slow)


@named(VECTORS["hashes_refused"])
def test_what_is_no_sealed_hash_or_costs_too_much_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError):
        decode(vector["text"])


@named(VECTORS["rows"])
def test_rows_are_read_and_written_as_the_format_says(vector: dict[str, Any]) -> None:
    body = json.loads(vector["body"])
    put = key_put(key_from(body)) if vector["kind"] == "key" else version_put(version_from(body, None))
    assert put.body == body


@named(VECTORS["bodies_refused"])
def test_a_version_that_contradicts_itself_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError):
        version_from(json.loads(vector["body"]), None)


@named(VECTORS["materials"])
def test_a_hash_is_sealed_as_all_material_is(keyring: Keyring, vector: dict[str, Any]) -> None:
    body = next(json.loads(row["body"]) for row in VECTORS["rows"] if row["name"] == vector["name"])
    place = place_of(body)
    assert place is not None
    opened = open_material(keyring, bytes.fromhex(vector["sealed"]), place)
    slow, _ = decode(opened.reveal())
    assert slow.matches(Secret(VECTORS["tokens"][0]["token"]))


# The forms of other systems; those that are taken are in `tests.imported`


@pytest.mark.parametrize(
    ("algorithm", "text"),
    [
        ("sha256", "0" * 63), ("sha256", "0" * 65), ("sha256", "0" * 128), ("sha256", "g" * 64),
        ("sha512", "0" * 64), ("sha256", "\u0660" * 64), ("sha256", " " + "0" * 64),
        ("sha256", "0" * 5_000), ("sha256", ""),
        ("pbkdf2", "pbkdf2_sha1$1000$salt$" + "A" * 28), ("pbkdf2", "pbkdf2_sha256$2000001$salt$" + "A" * 44),
        ("pbkdf2", "pbkdf2_sha256$1000$$" + "A" * 44), ("pbkdf2", "pbkdf2_sha256$-1$salt$" + "A" * 44),
        ("pbkdf2", "pbkdf2_sha256$1000$salt$" + "A" * 21), ("pbkdf2", "pbkdf2_sha256$1000$salt$" + "A" * 400),
        ("pbkdf2", "pbkdf2:sha256:1000$salt$" + "a" * 63), ("pbkdf2", ARGON2ID),
        ("pbkdf2", "$pbkdf2-sha256$1000$$AAAA"),
        ("scrypt", "scrypt:1048576:8:1$salt$" + "a" * 128), ("scrypt", "scrypt:0:8:1$salt$" + "a" * 128),
        ("scrypt", "$scrypt$ln=99,r=8,p=1$c2FsdA$" + "A" * 86), ("scrypt", "scrypt:64:8:9999999999$salt$" + "a" * 128),
        ("argon2id", ARGON2ID.replace("argon2id", "argon2i")), ("argon2id", ARGON2ID.replace("v=19", "v=16")),
        ("argon2id", ARGON2ID.replace("m=64", "m=999999")), ("argon2id", ARGON2ID.replace("t=1", "t=99999")),
        ("argon2id", ARGON2ID[:-30]), ("argon2id", ARGON2ID + "\n"),
        ("bcrypt", BCRYPT.replace("$04$", "$15$")), ("bcrypt", BCRYPT.replace("$04$", "$03$")), ("bcrypt", BCRYPT[:-1]),
        ("bcrypt", BCRYPT + "a"), ("md5", "0" * 32), ("SHA256", "0" * 64),
    ],
)  # fmt: skip
def test_a_hash_in_no_known_form_or_of_no_bearable_cost_is_refused(algorithm: str, text: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        read_hash(text, algorithm)
    assert refused.value.field in ("hash", "algorithm")
    assert refused.value.fix
    assert len(text) < 8 or text not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [("0g", "hex"), ("0", "hex"), ("", "hex"), ("0 1 ", "hex"), ("a", "base64"), ("a", "utf-8")],
)
def test_a_salt_that_is_not_what_it_says_is_refused(text: str, encoding: str) -> None:
    with pytest.raises(InvalidInputError):
        read_salt(text, encoding)


def test_bcrypt_takes_no_token_of_which_it_would_leave_a_part_out() -> None:
    import bcrypt  # noqa: PLC0415 - as the program does

    full = "x" * 72
    slow = Bcrypt(bcrypt.hashpw(full.encode(), bcrypt.gensalt(4)).decode())
    assert slow.matches(Secret(full))
    assert not slow.matches(Secret(full + "anything"))


def test_without_bcrypt_its_hashes_are_refused_with_the_extras_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bcrypt", None)
    for attempt in (lambda: read_hash(BCRYPT, "bcrypt"), lambda: Bcrypt(BCRYPT).matches(Secret(TOKEN))):
        with pytest.raises(ConfigurationError) as refused:
            attempt()
        assert "keyturn[bcrypt]" in refused.value.fix
    assert START in TOKEN
