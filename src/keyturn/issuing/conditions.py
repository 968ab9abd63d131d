"""Conditions that a caller puts on a change: it is made to the key that the caller has seen, or not at all."""

from __future__ import annotations

from collections.abc import Callable

from keyturn.domain.key import Key

Condition = Callable[[Key], None]
"""Given the key as it is now, raises PreconditionFailedError where the change is not to be made to that.

Whatever it lets pass is what the commit requires, so that nobody comes in between.
"""


def always(_: object) -> None:
    """Whatever it is by now."""
