import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keyturn.domain import canonical
from keyturn.domain.answer import KEPT, Answer, KeptAnswer, fingerprint
from keyturn.domain.bodies import answer_from, answer_put
from keyturn.domain.secret import Secret
from keyturn.errors import IntegrityError, InvalidInputError
from tests.unit.crypto.samples import Vector, named, vectors

VECTORS = vectors("answer")
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
SAMPLES = {
    vector["name"]: KeptAnswer(
        row_id=vector["id"],
        tenant=vector["tenant"],
        subjects=subjects,
        created_at=NOON,
        expires_at=NOON + timedelta(hours=24),
        material=b"sealed",
    )
    for vector, subjects in zip(
        VECTORS["rows"],
        [
            ("key_0123456789ABCDEFGHIJKL",),
            ("key_zyxwvutsrqponmlkjihgfe", "key_0123456789ABCDEFGHIJKL"),
            (),
        ],
        strict=True,
    )
}


def answer_of(vector: Vector) -> Answer:
    request = bytes.fromhex(vector["request"])
    return Answer(request, vector["status"], vector["etag"], Secret(vector["body"]))


@named(VECTORS["answers"])
def test_an_answer_is_written_as_the_format_says(vector: Vector) -> None:
    """docs/formats/answer.md, by an implementation of its own."""
    assert answer_of(vector).to_secret().reveal_bytes().hex() == vector["plaintext"]
    assert fingerprint(vector["operation"], vector["sent"]).hex() == vector["request"]


@named(VECTORS["answers"])
def test_an_answer_gives_its_parts_back(vector: Vector) -> None:
    assert Answer.from_secret(Secret(bytes.fromhex(vector["plaintext"]))) == answer_of(vector)


@pytest.mark.parametrize("length", range(36))
def test_an_answer_that_was_cut_off_is_none(length: int) -> None:
    raw = bytes.fromhex(VECTORS["answers"][1]["plaintext"])
    assert len(raw) == 36, "the shortest there is"
    with pytest.raises(IntegrityError, match="malformed"):
        Answer.from_secret(Secret(raw[:length]))


def test_an_answer_does_not_show_its_body() -> None:
    assert "kt_" not in repr(Answer(bytes(32), 201, "", Secret("kt_...")))


@named(VECTORS["requests"])
def test_a_request_is_told_by_its_operation_and_its_values(vector: Vector) -> None:
    assert fingerprint(vector["operation"], json.loads(vector["text"])).hex() == vector["request"]


def test_spaces_and_order_make_no_other_request_and_anything_else_does() -> None:
    requests = [vector["request"] for vector in VECTORS["requests"]]
    assert requests[0] == requests[1]
    assert len(set(requests)) == len(requests) - 1


@pytest.mark.parametrize("body", [{"a": 1.5}, {"a": 2**53}, {"a": "\ud800"}])
def test_what_has_no_canonical_form_cannot_be_kept_under_an_idempotency_key(body: Any) -> None:
    with pytest.raises(InvalidInputError):
        fingerprint("POST /v1/keys", body)


# -- the row ----------------------------------------------------------------------------------------------------------


@named(VECTORS["rows"])
def test_a_row_is_written_as_the_format_says(vector: Vector) -> None:
    put = answer_put(SAMPLES[vector["name"]])
    assert canonical.encode(put.body) == vector["body"]
    columns = {"id": put.id, "kind": put.kind, "tenant": put.tenant, "revision": put.revision}
    assert columns == {name: vector[name] for name in columns}
    assert put.material == b"sealed"


@named(VECTORS["rows"])
def test_a_body_gives_its_value_back(vector: Vector) -> None:
    assert answer_from(json.loads(vector["body"]), b"sealed") == SAMPLES[vector["name"]]


SAYS = {
    "unknown_member": "members this program does not know: rate_limits$",
    "format": "^not a answer row of format 1$",
    "missing_member": "body is malformed",
    "value": "body is malformed",
}


@named(VECTORS["bodies_refused"])
def test_a_body_that_is_not_of_this_format_is_refused(vector: Vector) -> None:
    with pytest.raises(IntegrityError, match=SAYS[vector["failure"]]):
        answer_from(json.loads(vector["body"]), None)


def test_answers_are_kept_for_a_day() -> None:
    assert timedelta(days=1) == KEPT
