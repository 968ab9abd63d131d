"""Scopes: named sets of actions. For signing keys, write signs and read verifies."""

from __future__ import annotations

from enum import Enum
from typing import Final

from keyturn.errors import InvalidInputError


class Action(Enum):
    """What a scope is made of."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


_ACTIONS: Final = {
    "read": frozenset({Action.READ}),
    "write": frozenset({Action.WRITE}),
    "admin": frozenset({Action.ADMIN}),
    "read_write": frozenset({Action.READ, Action.WRITE}),
    "full": frozenset(Action),
}


class KeyScope(Enum):
    """What a key may do, and what a request may ask for.

    ADMIN holds no more than its own action: a key that shall also read and write is FULL.

    Attributes:
        actions: the set of actions that the scope stands for.
    """

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"
    READ_WRITE = "read_write"
    FULL = "full"

    def __init__(self, value: str) -> None:
        self.actions: frozenset[Action] = _ACTIONS[value]

    # Members are single objects; Enum's own hash is a Python function, and demands are looked up by scope.
    __hash__ = object.__hash__

    def covers(self, other: KeyScope) -> bool:
        """Whether a key of this scope meets a request for `other`: it holds every action of it."""
        return other.actions <= self.actions


def parse_scope(text: str) -> KeyScope:
    """The scope of that name, exactly as written; InvalidInputError that lists the names otherwise."""
    try:
        return KeyScope(text)
    except ValueError:
        names = ", ".join(scope.value for scope in KeyScope)
        raise InvalidInputError("no such scope", field="scope", fix=f"Use one of: {names}.") from None
