"""What members of a policy are held to. Each check names the member in its InvalidInputError."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final, TypeVar

from keyturn.errors import InvalidInputError, shown

DAY: Final = 86_400  # seconds
MAX_LISTED: Final = 256  # of owners, tags or key_ids
_T = TypeVar("_T")


def unchecked(kind: type[_T], **members: object) -> _T:
    """A value as it was stored, with a member for each of its fields.

    What it is held to was checked when it was written, by the rules of then: a rule that has become stricter since must
    not take away what people have.
    """
    made = object.__new__(kind)
    for name, value in members.items():
        object.__setattr__(made, name, value)
    return made


def require_kind(name: str, value: object, kind: type[Enum]) -> None:
    """InvalidInputError, which lists the members, for what is none of them."""
    if not isinstance(value, kind):
        raise InvalidInputError(
            f"{shown(value)} is no {kind.__name__}",
            field=name,
            fix=f"Use one of: {', '.join(member.value for member in kind)}.",
        )


def tuple_of(values: object, most: int) -> object:
    """A sequence as a tuple, of which one more than `most` is kept so that it is seen to be too long.

    Whatever is no sequence, and text, stays as it is.
    """
    if not isinstance(values, Sequence) or isinstance(values, (str, bytes, bytearray, memoryview)):
        return values
    return tuple(values[: most + 1])


def require_each(name: str, values: object, kind: type, most: int = MAX_LISTED) -> None:
    """InvalidInputError for what is no tuple of this kind, is too long, or has something in it twice."""
    if not isinstance(values, tuple) or not all(type(value) is kind for value in values):
        raise InvalidInputError(
            f"{name} is a list of {kind.__name__}",
            field=name,
            fix=f"Give a sequence in which each is of the type {kind.__name__}.",
        )
    if len(values) > most or len(set(values)) < len(values):
        raise InvalidInputError(
            f"{name}: at most {most}, none of them twice", field=name, fix="Leave some out."
        )


def require_seconds(name: str, value: object, least: int, most: int) -> None:
    """InvalidInputError for what is no whole number of seconds within these bounds."""
    if type(value) is not int or not least <= value <= most:
        raise InvalidInputError(
            f"{name} is a whole number of seconds from {least} to {most}",
            field=name,
            fix=f"Take a value from {least} to {most}.",
        )


def require_range(name: str, value: object, applies: bool, least: int, most: int) -> None:
    """InvalidInputError for a number out of its bounds, or where the strategy has no use for it."""
    if not applies:
        if type(value) is not int or value:
            raise InvalidInputError(
                f"{name} means nothing for this strategy",
                field=name,
                fix="Leave it out, or choose another strategy.",
            )
        return
    if type(value) is not int or not least <= value <= most:
        raise InvalidInputError(f"{name} is a whole number from {least} to {most}", field=name)
