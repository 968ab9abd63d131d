"""Sealed answers: they open with the Idempotency-Key and the keyring together, in their own row, and not otherwise."""

import os
from pathlib import Path

import pytest

from keyturn.crypto.answers import answer_row_id, associated_data, open_answer, seal_answer
from keyturn.crypto.keyring import Keyring
from keyturn.domain.answer import Answer
from keyturn.domain.secret import Secret
from keyturn.errors import IntegrityError
from tests.unit.crypto.samples import (
    DEKS,
    LOG_ID,
    LOOKUP_KEY,
    Vector,
    flipped,
    keyring,
    named,
    scripted,
    vectors,
)

VECTORS = vectors("answer")
FIRST = VECTORS["answers"][0]
KEY = Secret(FIRST["idempotency_key"])
ROW = FIRST["row"]


def aad_of(vector: Vector) -> bytes:
    return associated_data(vector["tenant"], vector["row"], vector["created_at"])


def refusal(
    sealed: bytes, key: Secret = KEY, aad: bytes = aad_of(FIRST), held: Keyring | None = None
) -> IntegrityError:
    with pytest.raises(IntegrityError) as refused:
        Answer.from_secret(open_answer(held or keyring(), key, sealed, aad))
    return refused.value


def test_the_vectors_share_the_log_the_data_keys_and_the_look_up_key_of_the_others() -> None:
    assert VECTORS["log_id"] == LOG_ID
    assert {int(version): bytes.fromhex(dek) for version, dek in VECTORS["deks"].items()} == DEKS
    assert bytes.fromhex(VECTORS["lookup_key"]) == LOOKUP_KEY


@named(VECTORS["answers"])
def test_an_answer_is_sealed_as_the_format_says(vector: Vector, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/formats/answer.md, by an implementation of its own."""
    key = Secret(vector["idempotency_key"])
    assert answer_row_id(keyring(), vector["tenant"], vector["actor"], key) == vector["row"]
    assert aad_of(vector).hex() == vector["aad"]
    monkeypatch.setattr(os, "urandom", scripted(bytes.fromhex(vector["salt"])))
    plaintext = Secret(bytes.fromhex(vector["plaintext"]))
    assert seal_answer(keyring(vector["dek"]), key, plaintext, aad_of(vector)).hex() == vector["sealed"]


@named(VECTORS["answers"])
def test_a_sealed_answer_comes_back(vector: Vector) -> None:
    for primary in DEKS:
        opened = open_answer(
            keyring(primary),
            Secret(vector["idempotency_key"]),
            bytes.fromhex(vector["sealed"]),
            aad_of(vector),
        )
        assert opened == Secret(bytes.fromhex(vector["plaintext"]))


@named(VECTORS["answers_refused"])
def test_an_answer_that_was_altered_moved_or_asked_for_with_another_key_is_refused(vector: Vector) -> None:
    error = refusal(bytes.fromhex(vector["sealed"]), Secret(vector["idempotency_key"]), aad_of(vector))
    expected = "a kept answer is malformed" if vector["failure"] == "content" else "sealed material refused"
    assert str(error).startswith(expected)


def test_every_way_to_fail_has_a_vector() -> None:
    failures = {"place", "commitment", "tag", "dek", "format", "length", "content"}
    assert {vector["failure"] for vector in VECTORS["answers_refused"]} == failures


def test_the_documented_example_is_the_real_one() -> None:
    text = (Path(__file__).parents[3] / "docs" / "formats" / "answer.md").read_text()
    unspaced = "".join(text.split())
    values = ("row", "request", "salt", "secret", "key", "nonce", "commitment")
    assert [name for name in values if FIRST[name] not in unspaced] == []
    assert FIRST["sealed"][106:] in unspaced


def test_neither_the_keyring_nor_the_idempotency_key_opens_an_answer_alone() -> None:
    """Who reads the store has neither, who runs the server has no Idempotency-Key, and who sent it has no keyring."""
    sealed = seal_answer(keyring(), KEY, Secret(b"kt_..."), aad_of(FIRST))
    for key in (Secret("5f1c7a52-2a0e-4c55-9d0b-6f4f1f0a7b38"), Secret("")):
        refusal(sealed, key)
    others = Keyring({1: bytes(32), 2: DEKS[1]}, 1, LOOKUP_KEY, LOG_ID)
    refusal(sealed, held=others)


def test_every_flipped_byte_is_refused_alike() -> None:
    sealed = seal_answer(keyring(), KEY, Secret(bytes(64)), aad_of(FIRST))
    assert {str(refusal(other)) for other in flipped(sealed)} == {"sealed material refused"}


def test_the_row_tells_who_asked_only_to_who_has_the_look_up_key() -> None:
    """Tenant, caller and Idempotency-Key each make another row, and no two lists of them run together."""
    ring = keyring()
    ids = [
        answer_row_id(ring, *who, Secret(key))
        for who in (("a", "key:b"), ("a", "key:c"), ("b", "key:b"), ("ak", "ey:b"))
        for key in ("x", "y", "xy")
    ]
    assert len(set(ids)) == len(ids)
    other = Keyring(DEKS, 1, bytes(32), LOG_ID)
    assert answer_row_id(other, "a", "key:b", Secret("x")) not in ids
    assert answer_row_id(keyring(2), "a", "key:b", Secret("x")) == ids[0], "a new data key finds the old rows"


def test_each_sealing_has_a_key_and_a_nonce_of_its_own() -> None:
    """ASVS 11.3.4."""
    sealed = {seal_answer(keyring(), KEY, Secret(b"same"), aad_of(FIRST))[53:] for _ in range(100)}
    assert len(sealed) == 100
