"""What goes wrong, as people and programs see it on standard error; and arguments that no command may have."""

from __future__ import annotations

import json
import logging
import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import typer

from keyturn.cli.naming import named
from keyturn.cli.output import printable
from keyturn.domain import token
from keyturn.errors import InvalidInputError, KeyturnError

REFUSED: Final = 1
MISUSED: Final = 2
DEFECT: Final = 70  # EX_SOFTWARE of sysexits.h

_TOKENS: Final = re.compile(token.SCANNER_PATTERN)
_SECRETIVE: Final = re.compile("[0-9A-Za-z_-]{32,}")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a command did not do what it was asked, and what to do about it."""

    status: int
    code: str
    detail: str
    fix: str = ""
    field: str = ""


class UnshownSecretError(KeyturnError):
    """A key was issued, and its secret could not be written out."""

    code = "secret_not_shown"


class MisuseError(typer.TyperException):
    """A command that cannot be understood as it was given."""

    exit_code = MISUSED

    def __init__(self, message: str, *, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


def refuse_secrets(arguments: list[str]) -> None:
    """MisuseError where a token stands among the arguments; it is not repeated."""
    if any(token.parse(found[0]) for argument in arguments for found in _TOKENS.finditer(argument)):
        raise secret_in_arguments()


def secret_in_arguments() -> MisuseError:
    """The refusal of a key that was given as an argument."""
    return MisuseError(
        "a key is never an argument: it would stay in the shell's history and be seen in the list of processes",
        fix="Let it come from standard input, as in 'keyturn verify < key.txt', and replace the key that was typed.",
    )


def failure_of(error: Exception) -> Failure:
    """What an error means to whoever gave the command."""
    match error:
        case KeyturnError():
            field = error.field if isinstance(error, InvalidInputError) else ""
            return Failure(REFUSED, error.code, str(error), error.fix, field)
        case MisuseError():
            return Failure(MISUSED, "usage", error.message, error.fix)
        case typer.TyperException():
            return Failure(error.exit_code, "usage", _misuse(error), _help_for(error))
        case typer.Abort():
            return Failure(REFUSED, "aborted", "stopped before anything was done")
        case OSError():
            named = f"{error.filename}: " if error.filename else ""
            fix = "Check the path, its permissions and the disk."
            return Failure(REFUSED, "system", f"{named}{error.strerror or error}", fix)
        case _:
            detail = f"this program failed: {type(error).__name__}"
            return Failure(DEFECT, "internal", detail, "Report this, with the lines above.")


def _misuse(error: typer.TyperException) -> str:
    # The message may repeat an argument, and that a key which was mistyped or cut off.
    message = _SECRETIVE.sub("...", error.format_message().rstrip(".")).replace("Value error, ", "")
    return message[:1].lower() + message[1:]


def _help_for(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f"See '{'keyturn' if context is None else context.command_path} --help'."


def tell(failure: Failure, *, as_json: bool) -> None:
    """Write a failure to standard error: two lines for people, one JSON object for programs."""
    detail, fix = named(failure.detail), named(failure.fix)
    if as_json:
        field = {"field": failure.field} if failure.field else {}
        members = {"code": failure.code, "detail": detail, "fix": fix, **field}
        lines = [json.dumps(members)]
    else:
        lines = [f"error: {printable(detail)}"]
        lines += [f"  fix: {printable(fix)}"] if fix else []
    with suppress(OSError):
        print(*lines, sep="\n", file=sys.stderr, flush=True)


def log_to_stderr(*, as_json: bool) -> None:
    """Let warnings of the services be seen, in the form that errors have."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLine() if as_json else logging.Formatter("%(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


class _JsonLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps({"level": record.levelname.lower(), "detail": record.getMessage()})
