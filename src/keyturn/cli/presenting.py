"""Secrets that commands are given: from standard input, or asked for at a terminal, and never an argument."""

from __future__ import annotations

import sys
from getpass import getpass
from typing import Final

from keyturn.cli.failures import MisuseError
from keyturn.domain.token import MAX_TOKEN_CHARACTERS

_MAX_BYTES: Final = 2 * MAX_TOKEN_CHARACTERS  # of the one line that is read


def presented(prompt: str, *, what: str, example: str) -> str:
    """The secret that is presented, on the first line; MisuseError for none. No text may come out: others refuse it."""
    if sys.stdin is None:
        line = ""
    elif sys.stdin.isatty():
        line = getpass(prompt)
    else:
        line = sys.stdin.buffer.readline(_MAX_BYTES).decode("utf-8-sig", "surrogateescape")
    if not line.strip():
        raise MisuseError(f"there is no {what} on standard input", fix=f"Let it come from there: {example}")
    return line.strip()
