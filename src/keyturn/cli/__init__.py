"""The command line: commands over a node of their own, safely beside a running server.

    keyturn issue --owner acme --scope read_write --expires-in 30d
    keyturn verify --scope read < key.txt && echo accepted

Answers go to standard output, everything else to standard error. The exit status is 0 only when it worked: 1 where an
act was refused or failed and for a key that is not valid, 2 for a command that cannot be understood, 70 for a defect of
this program, 130 after Ctrl-C.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

INTERRUPTED: Final = 130  # 128 and the number of SIGINT, as shells have it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status. Whatever goes wrong is told in a line or two, without a traceback."""
    try:
        from keyturn.cli.running import run  # noqa: PLC0415 - Ctrl-C may come while all the rest is imported

        return run(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
