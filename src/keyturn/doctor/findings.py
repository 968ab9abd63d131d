"""What an examination says: one finding for each thing that was looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from keyturn.errors import KeyturnError


class Level(Enum):
    """How it stands with what was looked at."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it stands, what was found, and what to do about it; `fix` is empty where nothing is."""

    check: str
    level: Level
    found: str
    fix: str = ""


Watch = Callable[[str, int, int], None]
"""Told of a long check how much of it is done: what it is, so many, of so many."""


def in_order(check: str, found: str) -> Finding:
    """Nothing need be done."""
    return Finding(check, Level.OK, found)


def doubtful(check: str, found: str, fix: str) -> Finding:
    """It works, and will not for ever, or not for everybody."""
    return Finding(check, Level.WARNING, found, fix)


def failed(check: str, found: str, fix: str) -> Finding:
    """It does not work, or does not protect what it should."""
    return Finding(check, Level.FAILED, found, fix)


def refused(check: str, error: KeyturnError | OSError) -> Finding:
    """What an error says."""
    if isinstance(error, KeyturnError):
        return failed(check, str(error), error.fix)
    named = f"{error.filename}: " if error.filename else ""
    return failed(check, f"{named}{error.strerror or error}", "Check the path, its permissions and the disk.")
