"""JSON objects in which no member is there twice."""

from __future__ import annotations

import json

import pytest

from keyturn.domain.members import RepeatedMemberError, parse_unambiguous


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 1}', '{"b": [{"a": 1, "c": 2, "a": 3}]}', '{"a": 1, "\\u0061": 2}']
)
def test_a_member_that_is_there_twice_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(RepeatedMemberError, match="the member 'a' is there twice"):
        parse_unambiguous(text)


def test_a_name_that_may_be_a_secret_is_not_repeated() -> None:
    name = "kt_" + "A" * 60
    with pytest.raises(RepeatedMemberError) as refused:
        parse_unambiguous(json.dumps({name: 1})[:-1] + f', "{name}": 2}}')
    assert name not in str(refused.value)


def test_anything_else_is_what_json_makes_of_it() -> None:
    text = '{"a": {"a": [1, {"a": null}]}, "b": "a"}'
    assert parse_unambiguous(text) == json.loads(text)
    with pytest.raises(json.JSONDecodeError):
        parse_unambiguous("{")
