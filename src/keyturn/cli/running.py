"""Running one command: from arguments to an exit status."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Final

from keyturn.cli.failures import DEFECT, Failure, failure_of, log_to_stderr, refuse_secrets, tell
from keyturn.cli.naming import program

FAILED: Final = 1


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status. KeyboardInterrupt after Ctrl-C."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - for the rest of the process
    if sys.stdout is None:
        tell(_NOWHERE, as_json=False)
        return _NOWHERE.status
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name may not fit into the terminal's encoding
    as_json = "--json" in given
    log_to_stderr(as_json=as_json)
    return _delivered(_run(given, as_json=as_json))


def _run(given: list[str], *, as_json: bool) -> int:
    try:
        refuse_secrets(given)
        from keyturn.cli.app import command  # noqa: PLC0415 - a refusal needs no commands

        status = command()(given, prog_name=program(), standalone_mode=False)
        return status if isinstance(status, int) else 0
    except SystemExit as ended:  # nobody reads any more, or a shell asked for completions
        return ended.code if isinstance(ended.code, int) else FAILED
    except BrokenPipeError:
        return FAILED
    except Exception as error:  # noqa: BLE001 - the last resort: people see what happened, programs an exit status
        failure = failure_of(error)
        if failure.status == DEFECT:
            traceback.print_exception(error)  # without the values of variables: one may be a secret
        tell(failure, as_json=as_json)
        return failure.status


def _delivered(status: int) -> int:
    """The exit status, once standard output has taken everything; what it does not take is let go."""
    try:
        sys.stdout.flush()
    except OSError:
        # Or the interpreter would try again, fail and say so when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return status or FAILED
    return status


_NOWHERE: Final = Failure(
    FAILED, "no_output", "standard output is closed", "Let it go to a file, a pipe or a terminal."
)
