"""Reading what a store gave back: whoever can write to it can make it anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from keyturn.errors import IntegrityError


@contextmanager
def read_as(what: str) -> Iterator[None]:
    """Whatever reading a malformed `what` provokes is an IntegrityError."""
    try:
        yield
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{what} is malformed: {type(error).__name__}") from None
