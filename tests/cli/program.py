"""Ways to run `keyturn` in tests: in this process for many small cases, as a process of its own, and at a terminal.

program = Program(f"sqlite:///{tmp_path / 'keys.db'}")
assert program.run("init").status == 0                      # here
assert program.process("list").status == 0                  # as the operating system runs it
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import IO, Any, Final
from unittest.mock import patch

from keyturn.cli import main
from tests.running_server import KEK, program_environment, run_program

SECONDS: Final = 60.0
TOKEN: Final = re.compile(r"\b[a-z0-9_]{1,32}_[0-9A-Za-z]{65}\b")
PROGRAM: Final = (sys.executable, "-c", "import sys; from keyturn.cli import main; sys.exit(main())")
# The same, with its standard streams as its controlling terminal: a password is asked for at /dev/tty.
_AT_TERMINAL: Final = (
    sys.executable,
    "-c",
    "import os; os.login_tty(os.dup(0)); import sys; from keyturn.cli import main; sys.exit(main())",
)


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, str]:
        """The one JSON object on standard error."""
        error = json.loads(self.err)
        assert isinstance(error, dict)
        return error

    @property
    def secret(self) -> str:
        """The last line of standard output."""
        return self.out.splitlines()[-1]


class Program:
    """`keyturn` in an environment of its own."""

    def __init__(self, store_url: str, **settings: str) -> None:
        self.environment = program_environment(store_url, KEK, **settings)

    def run(self, *arguments: str, given: str | bytes = "", out: IO[str] | None = None) -> Done:
        """Run it in this process; with `out` in the place of standard output."""
        stdin = TextIOWrapper(BytesIO(given.encode() if isinstance(given, str) else given), "utf-8")
        stdout, stderr = (TextIOWrapper(BytesIO(), "utf-8", write_through=True) for _ in range(2))
        with (
            patch.dict(os.environ, self.environment, clear=True),
            patch.object(sys, "stdin", stdin),
            redirect_stdout(out or stdout),
            redirect_stderr(stderr),
        ):
            status = main(arguments)
        return Done(status, _text(stdout), _text(stderr))

    def process(self, *arguments: str, given: str = "") -> Done:
        """Run it as a process."""
        done = run_program(self.environment, *arguments, given=given)
        return Done(done.returncode, done.stdout, done.stderr)

    def json(self, *arguments: str, given: str = "") -> Any:
        """Run it here with `--json`, see that it works, and return the document."""
        done = self.run(*arguments, "--json", given=given)
        assert done.status == 0, done.err
        assert done.err == ""
        return done.json

    def issue(self, *arguments: str) -> dict[str, Any]:
        """A new key, with its secret."""
        issued = self.json("issue", *arguments)
        assert isinstance(issued, dict)
        return issued

    def verify(self, token: str, *arguments: str) -> dict[str, Any]:
        """What `verify` says, valid or not."""
        done = self.run("verify", "--json", *arguments, given=f"{token}\n")
        assert done.status == (0 if done.json["valid"] else 1)
        assert done.err == ""
        answer = done.json
        assert isinstance(answer, dict)
        return answer

    def shell(self, script: str) -> Done:
        """Run a line of shell in which `keyturn` is the program; the status is that of a pipeline's first command."""
        prelude = f"""keyturn() {{ {PROGRAM[0]} -c '{PROGRAM[2]}' "$@"; }}; """
        ending = "; exit ${PIPESTATUS[0]}"
        done = subprocess.run(
            ["bash", "-c", prelude + script + ending], env=self.environment, capture_output=True, text=True,
            check=False, timeout=SECONDS,
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr)

    def at_terminal(self, *arguments: str, answers: dict[str, str] | None = None, columns: int = 120) -> Done:
        """Run it at a pseudo-terminal, answering each prompt when it appears; all that was shown is in `out`."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        environment = {**self.environment, "TERM": "xterm"}
        process = subprocess.Popen(
            [*_AT_TERMINAL, *arguments], env=environment, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        try:
            shown = _converse(ours, dict(answers or {}))
            return Done(process.wait(SECONDS), shown, "")
        finally:
            process.kill()
            process.wait()
            os.close(ours)


def in_development(directory: Path) -> Program:
    """The program as it is without settings, but for where its files are."""
    program = Program("", XDG_CONFIG_HOME=f"{directory}/config", XDG_DATA_HOME=f"{directory}/data")
    for name in ("KEYTURN_STORE", "KEYTURN_ENV", "KEY_STORE_ENCRYPTION_KEY"):
        del program.environment[name]
    return program


def _converse(terminal: int, answers: dict[str, str]) -> str:
    shown, deadline = b"", time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 1.0)[0]:
            continue
        try:
            read = os.read(terminal, 65_536)
        except OSError:  # EIO: the other side is closed
            break
        if not read:
            break
        shown += read
        for prompt in [prompt for prompt in answers if prompt.encode() in shown]:
            os.write(terminal, answers.pop(prompt).encode())
    return shown.decode().replace("\r\n", "\n")


def _text(stream: TextIOWrapper) -> str:
    buffer = stream.buffer
    assert isinstance(buffer, BytesIO)
    return buffer.getvalue().decode()
