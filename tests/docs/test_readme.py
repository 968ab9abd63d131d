"""The README's own words, run: its commands as a new user would type them, its program as it stands, its settings."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from keyturn.config import KNOWN_SETTINGS
from tests.running_server import RunningServer

ROOT: Final = Path(__file__).parents[2]
README: Final = (ROOT / "README.md").read_text()
PROMPT: Final = "$ "


def section(title: str) -> str:
    """The text below a heading, up to the next one of its level."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found is not None, f"the README has no section {title!r}"
    return found[1]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(text: str) -> list[str]:
    """What a reader types: the lines after each prompt, those that continue them included."""
    typed: list[str] = []
    for block in blocks(text, "console"):
        for line in block.splitlines():
            if line.startswith(PROMPT):
                typed.append(line.removeprefix(PROMPT))
            elif typed and typed[-1].endswith("\\"):
                typed[-1] += "\n" + line
    return typed


class Shell:
    """A reader's second terminal: exports last from one command to the next."""

    def __init__(self, server: RunningServer, environment: Mapping[str, str]) -> None:
        self._server = server
        self._environment = dict(environment)

    def set(self, **variables: str) -> None:
        self._environment |= variables

    def run(self, command: str) -> str:
        # Only the port, and the place of the installed program, are the test's own.
        command = command.replace("127.0.0.1:8700", f"127.0.0.1:{self._server.port}")
        command = command.replace(".venv/bin/keyturn", str(Path(sys.executable).parent / "keyturn"))
        done = subprocess.run(
            ["bash", "-euc", command],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout


def test_the_quick_start_issues_verifies_and_revokes_a_key(tmp_path: Path) -> None:
    serve, export_first, issue, export_key, verify, revoke = commands(section("Quick start"))
    assert serve == "make serve"
    assert shlex.split(export_first, comments=True)[1].startswith("PROVISIONING_KEY=kt_")
    assert {word.partition("=")[0] for word in shlex.split(export_key, comments=True)[1:]} == {
        "KEY",
        "KEY_ID",
    }

    # What `make serve` starts is `keyturn serve` with no settings but the reader's own home.
    homes = {"XDG_DATA_HOME": str(tmp_path / "data"), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("KEYTURN_")
    } | homes
    with RunningServer(f"sqlite:///{tmp_path}/data/keyturn/keyturn.db", kek=None, **homes) as server:
        shell = Shell(server, environment)
        shell.set(PROVISIONING_KEY=server.first_key)
        issued = json.loads(shell.run(issue))
        assert (issued["owner"], issued["scope"], issued["permissions"]) == (
            "acme",
            "read_write",
            ["documents.*"],
        )
        shell.set(KEY=issued["key"], KEY_ID=issued["key_id"])
        verified = json.loads(shell.run(verify))
        assert (verified["valid"], verified["owner"]) == (True, "acme")
        shell.run(revoke)
        refused = json.loads(shell.run(verify))
        assert (refused["valid"], refused["code"]) == (False, "revoked")
        assert '`"code": "revoked"`' in section("Quick start")


def test_a_key_is_rotated_by_a_policy(tmp_path: Path) -> None:
    issue, export_key, *rotate = commands(section("Rotate without downtime"))
    assert shlex.split(export_key, comments=True)[1].startswith("KEY_ID=key_")
    homes = {"XDG_DATA_HOME": str(tmp_path / "data"), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("KEYTURN_")
    } | homes
    with RunningServer(f"sqlite:///{tmp_path}/data/keyturn/keyturn.db", kek=None, **homes) as server:
        shell = Shell(server, environment)
        shown = shell.run(issue)
        old, key_id = shown.split()[-1], re.findall(r"key_\w{22}", shown)[0]
        shell.set(KEY_ID=key_id)
        create, now, show = rotate
        shell.run(create)
        new = shell.run(now).split()[-1]
        assert new.startswith("kt_")
        assert new != old
        assert key_id in shell.run(show)


def test_the_python_program_works_as_it_stands(tmp_path: Path) -> None:
    (program,) = blocks(section("In Python"), "python")
    for _ in range(2):  # a reader runs it again
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")


def test_the_settings_are_those_that_the_program_knows() -> None:
    named = set(re.findall(r"`(KEYTURN_[A-Z_]+)`", section("Settings")))
    assert named == KNOWN_SETTINGS


@pytest.mark.parametrize("target", ["serve", "test", "check", "bench"])
def test_the_commands_for_make_exist(target: str) -> None:
    assert any(typed.startswith(f"make {target}") for typed in commands(README))
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_what_ci_runs_is_what_the_readme_names() -> None:
    (command,) = re.findall(r"^exec (.*?) *(?:<.*)?$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert any(typed.startswith(command) for typed in commands(section("To work on it")))


def test_files_that_the_readme_links_to_exist() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
