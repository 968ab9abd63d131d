"""What this program is called, for commands that people copy from its messages."""

from __future__ import annotations

import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Final

NAME: Final = "keyturn"


@cache
def program() -> str:
    """The name by which a shell finds this program: the path that it was started by, where the name is not enough."""
    started = sys.argv[0] if sys.argv else NAME
    if "/" not in started or Path(started).name != NAME:
        return NAME
    found = shutil.which(NAME)
    return NAME if found is not None and Path(found).samefile(started) else started


def named(text: str) -> str:
    """A message in which commands of this program, after a quotation mark, are named as they can be given."""
    return text.replace(f"'{NAME} ", f"'{program()} ")
