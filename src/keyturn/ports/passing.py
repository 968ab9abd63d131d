"""Writes that are made in passing, by a call that is there for something else and must not be held up by them.

    with in_passing():
        ledger.record_uses(counts)      # within a small part of a second, or StorageError

It is a matter of the caller and not of any one method, so it does not travel through the signatures in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_PASSING: Final = ContextVar("passing", default=False)


@contextmanager
def in_passing() -> Iterator[None]:
    """Until this ends, the ledger's writes in this thread give up soon."""
    token = _PASSING.set(True)
    try:
        yield
    finally:
        _PASSING.reset(token)


def is_in_passing() -> bool:
    """Whether the caller has no time to wait for a write."""
    return _PASSING.get()
