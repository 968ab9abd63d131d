"""Canonical JSON: RFC 8785 (JCS) without floats, so that one value has one text and one seal.

    encode({"b": 1, "a": None})     # '{"a":null,"b":1}'

Values are dict with str keys, list or tuple, str, int, bool and None, of exactly these types: a subclass may print
other than it compares. Integers keep within ±(2^53-1), which every JSON reader holds exactly; floats are refused
because their text depends on who prints them.

There are two ways back. `decode` is for any text and proves that it is canonical, by encoding what it read. Text whose
seal has been checked was made by `encode` to begin with, so proving it again would only double the cost of every row
read: `decode_sealed` skips that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final, NoReturn

from keyturn.errors import InvalidInputError

MAX_INTEGER: Final = 2**53 - 1  # RFC 8785, section 3.2.2.3, by way of RFC 7493, section 2.2
MAX_DEPTH: Final = (
    16  # objects and arrays inside one another; rows and entries need 4, metadata has a bound of its own
)
_FIRST_ASTRAL: Final = "\U00010000"

# For these settings json's C encoder writes strings as RFC 8785, section 3.2.2.2, has them. It knows no order but that
# of code points, which is that of UTF-16 as long as nothing lies beyond U+FFFF.
_ENCODER: Final = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, sort_keys=True, separators=(",", ":")
)
_UNSORTED: Final = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")
)


def encode(value: object) -> str:
    """The canonical text of `value`; InvalidInputError (a ValueError) for what has none."""
    _check(value, MAX_DEPTH)
    text = _ENCODER.encode(value)
    if text.isascii():
        return text
    _refuse_surrogates(text)
    return text if max(text) < _FIRST_ASTRAL else _UNSORTED.encode(_in_utf16_order(value))


def decode(text: str) -> object:
    """The value of a canonical text; InvalidInputError for any text that `encode` does not make.

    So duplicate members, floats, oversized integers, needless escapes, spaces and another order are all refused.
    """
    value = decode_sealed(text)
    if encode(value) != text:
        raise InvalidInputError("not canonical JSON (RFC 8785)")
    return value


def decode_sealed(text: str) -> object:
    """The value of a text that `encode` made, as its seal has shown: half the cost of `decode`.

    Never for text from outside: of its own it refuses only what is no JSON, floats and NaN. It takes the last of
    duplicate members.
    """
    try:
        value, end = _DECODER.raw_decode(text)
    except InvalidInputError:
        raise
    except (ValueError, RecursionError):
        raise InvalidInputError("not JSON") from None
    if end != len(text):
        raise InvalidInputError("not JSON: something follows the value")
    return value


def _refuse_number(text: str) -> NoReturn:
    raise InvalidInputError(f"{text[:32]} is not an integer; floats have no place here", fix=_NUMBER_FIX)


_NUMBER_FIX: Final = "Use an integer of a smaller unit, or a string."
_DECODER: Final = json.JSONDecoder(parse_float=_refuse_number, parse_constant=_refuse_number)


def _check(value: object, depth: int) -> None:
    """Refuse what has no canonical text; `depth` is how many levels may still open."""
    kind = type(value)
    if kind is dict:
        members: dict[object, object] = value  # type: ignore[assignment]
        for name in members:
            if type(name) is not str:
                raise InvalidInputError("names in an object are strings")
        _check_each(members.values(), depth)
    elif kind is list or kind is tuple:
        _check_each(value, depth)  # type: ignore[arg-type]
    elif kind is int:
        if not -MAX_INTEGER <= value <= MAX_INTEGER:  # type: ignore[operator]
            raise InvalidInputError("an integer lies outside ±(2^53-1)", fix="Write it as a string.")
    elif kind is float:
        raise InvalidInputError("floats have no place here", fix=_NUMBER_FIX)
    elif kind is not str and kind is not bool and value is not None:
        raise InvalidInputError(f"JSON has no value for a {kind.__name__}")


def _check_each(values: Iterable[object], depth: int) -> None:
    if not depth:
        raise InvalidInputError(f"objects and arrays nest at most {MAX_DEPTH} deep")
    for value in values:
        if type(value) is not str:  # most are: not calling for them halves the time
            _check(value, depth - 1)


def _refuse_surrogates(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInputError("half of a surrogate pair is not a character") from None


def _in_utf16_order(value: object) -> object:
    """`value` with its members in the order of RFC 8785, section 3.2.3."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return {name: _in_utf16_order(value[name]) for name in names}
    if isinstance(value, (list, tuple)):
        return [_in_utf16_order(item) for item in value]
    return value
