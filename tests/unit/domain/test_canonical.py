import json
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any

import pytest

from keyturn.domain import canonical
from keyturn.errors import InvalidInputError

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "canonical.json").read_text())
SAYS = {
    "float": "floats have no place",
    "integer": "outside ±",
    "surrogate": "surrogate",
    "depth": "16 deep",
    "not_json": "^not JSON$",
    "trailing": "something follows",
    "not_canonical": "not canonical",
}


def named(vectors: list[dict[str, Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", vectors, ids=lambda vector: vector["name"])


@named(VECTORS["encoded"])
def test_a_value_has_the_text_that_the_standard_gives_it(vector: dict[str, Any]) -> None:
    """RFC 8785, sections 3.2.2 and 3.2.3."""
    assert canonical.encode(vector["value"]) == vector["text"]


@named(VECTORS["encoded"])
def test_a_canonical_text_gives_its_value_back(vector: dict[str, Any]) -> None:
    assert canonical.decode(vector["text"]) == vector["value"]
    assert canonical.decode_sealed(vector["text"]) == vector["value"]


@named(VECTORS["not_encoded"])
def test_a_value_without_a_canonical_text_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=SAYS[vector["failure"]]):
        canonical.encode(vector["value"])


@named(VECTORS["not_decoded"])
def test_a_text_that_is_not_canonical_is_refused(vector: dict[str, Any]) -> None:
    """So a value cannot hide behind a second text with a seal of its own, or behind a duplicate member."""
    with pytest.raises(InvalidInputError, match=SAYS[vector["failure"]]):
        canonical.decode(vector["text"])


def test_sealed_text_is_not_proved_canonical_again() -> None:
    """What `decode_sealed` leaves out, so that nobody takes it for the strict one."""
    assert canonical.decode_sealed('{"b":1,"a":2,"a":3}') == {"b": 1, "a": 3}


@pytest.mark.parametrize("text", ["1.5", "NaN", "[Infinity]", "{", "{}{}"])
def test_sealed_text_is_still_refused_when_it_is_no_json_or_holds_floats(text: str) -> None:
    with pytest.raises(InvalidInputError):
        canonical.decode_sealed(text)


def test_a_json_bomb_is_an_error_like_any_other() -> None:
    """CVE-2025-6203: deeply nested JSON must not take the process down."""
    with pytest.raises(InvalidInputError):
        canonical.decode("[" * 100_000 + "]" * 100_000)
    with pytest.raises(InvalidInputError):
        canonical.decode('{"a":' * 100_000)


def test_a_value_nests_sixteen_deep_and_no_deeper() -> None:
    value: object = 1
    for _ in range(canonical.MAX_DEPTH):
        value = {"a": value}
    assert canonical.decode(canonical.encode(value)) == value
    with pytest.raises(InvalidInputError, match="16 deep"):
        canonical.encode([value])


def test_a_value_that_contains_itself_is_refused() -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(InvalidInputError, match="16 deep"):
        canonical.encode(value)


class Number(IntEnum):
    ONE = 1


class Word(StrEnum):
    ONE = "one"


@pytest.mark.parametrize("value", [Number.ONE, [Word.ONE], {"a": b"b"}, {"a": {1}}, object()])
def test_types_that_only_look_like_json_are_refused(value: object) -> None:
    with pytest.raises(InvalidInputError, match="JSON has no value"):
        canonical.encode(value)


@pytest.mark.parametrize("name", [1, None, True, ("a",), Word.ONE])
def test_a_name_that_is_no_text_is_refused(name: object) -> None:
    """json would write 1 as "1", and two names could become one."""
    with pytest.raises(InvalidInputError, match="names"):
        canonical.encode({name: 1})


def test_true_and_one_stay_apart() -> None:
    assert canonical.encode([True, 1, False, 0]) == "[true,1,false,0]"


def test_a_tuple_is_written_as_a_list() -> None:
    assert canonical.encode({"a": (1, ("b",))}) == '{"a":[1,["b"]]}'


def test_encoding_leaves_the_value_as_it_was() -> None:
    value = {"\ufb33": 1, "\U0001f600": [2]}
    canonical.encode(value)
    assert list(value) == ["\ufb33", "\U0001f600"]
