"""How bodies of rows are taken apart and put together, whatever they say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, ParamSpec, TypeVar

from keyturn.domain.instants import from_micros, to_micros
from keyturn.errors import IntegrityError

BODY_VERSION: Final = 1
Body = dict[str, object]
_NEWER: Final = "A newer program wrote this row: upgrade this one."
_T = TypeVar("_T")
_P = ParamSpec("_P")


def without_absent(body: Body) -> Body:
    """The members that there are: an optional one is left out rather than null."""
    return {name: value for name, value in body.items() if value is not None}


def micros_of(instant: datetime | None) -> int | None:
    """A time that may be absent, as a body has it."""
    return None if instant is None else to_micros(instant)


class Members:
    """Takes members out of a body, each of one type, and at the end refuses what nobody took."""

    def __init__(self, body: Mapping[str, object], kind: str | None = None) -> None:
        self._left = dict(body)
        if kind is not None and (self.take("v", int) != BODY_VERSION or self.take("kind", str) != kind):
            raise IntegrityError(f"not a {kind} row of format {BODY_VERSION}", fix=_NEWER)

    def take(self, name: str, kind: type[_T]) -> _T:
        """A member that must be there."""
        value = self._left.pop(name)
        if type(value) is not kind:  # a bool would pass for an int
            raise TypeError(f"{name} is no {kind.__name__}")
        return value

    def optional(self, name: str, kind: type[_T]) -> _T | None:
        """A member that may be absent, but never null."""
        return self.take(name, kind) if name in self._left else None

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        found = self.take(name, list)
        if not all(type(item) is str for item in found):
            raise TypeError(f"{name} holds what is no text")
        return tuple(found)

    def numbers(self, name: str) -> tuple[int, ...]:
        """A list of integers."""
        found = self.take(name, list)
        if not all(type(item) is int for item in found):
            raise TypeError(f"{name} holds what is no integer")
        return tuple(found)

    def objects(self, name: str) -> tuple[dict[str, object], ...]:
        """A list of objects."""
        found = self.take(name, list)
        if not all(type(item) is dict for item in found):
            raise TypeError(f"{name} holds what is no object")
        return tuple(found)

    def time(self, name: str) -> datetime:
        """A time."""
        return from_micros(self.take(name, int))

    def optional_time(self, name: str) -> datetime | None:
        """A time that may be absent."""
        return self.time(name) if name in self._left else None

    def finish(self) -> None:
        """IntegrityError for a member that nobody took."""
        if self._left:
            raise IntegrityError(
                f"a row has members this program does not know: {', '.join(sorted(self._left))}", fix=_NEWER
            )


def guarded(decode: Callable[_P, _T]) -> Callable[_P, _T]:
    """Turn what a malformed body provokes into IntegrityError."""

    def decoded(*body: _P.args, **named: _P.kwargs) -> _T:
        try:
            return decode(*body, **named)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise IntegrityError(f"a row's body is malformed: {type(error).__name__}") from None

    return decoded
