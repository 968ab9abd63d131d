"""Trying a change again when somebody else was first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from keyturn.errors import ConflictError

ATTEMPTS: Final = 10

_T = TypeVar("_T")


def retried(change: Callable[[], _T]) -> _T:
    """What `change` returns; it reads anew each time. ConflictError once it has lost ten times in a row."""
    for _ in range(ATTEMPTS - 1):
        try:
            return change()
        except ConflictError:
            continue
    return change()
