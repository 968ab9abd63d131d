"""Shell completion: commands, options and values are offered, and nothing that only the store knows."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cli.program import PROGRAM, Program


@pytest.fixture
def home(tmp_path: Path, program: Program) -> Path:
    """A user's directory, with `keyturn` in its path."""
    executable = tmp_path / "home/bin/keyturn"
    executable.parent.mkdir(parents=True)
    executable.write_text(f"#!/bin/sh\nexec {PROGRAM[0]} -c '{PROGRAM[2]}' \"$@\"\n")
    executable.chmod(0o755)
    program.environment["HOME"] = str(tmp_path / "home")
    program.environment["PATH"] = f"{executable.parent}:{program.environment['PATH']}"
    return tmp_path / "home"


def bash(program: Program, script: str) -> str:
    done = subprocess.run(
        ["bash", "-c", script],
        env=program.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def offered(program: Program, *words: str) -> list[str]:
    """What bash offers for the last of these words."""
    line = " ".join(f"'{word}'" for word in ("keyturn", *words))
    return bash(
        program,
        f'eval "$(keyturn --show-completion)"; COMP_WORDS=({line}); COMP_CWORD={len(words)};'
        ' _keyturn_completion keyturn; printf "%s\\n" "${COMPREPLY[@]}"',
    ).split()


def test_bash_offers_commands_options_and_values(home: Path, program: Program) -> None:
    assert offered(program, "re") == ["rekey", "revoke", "resume"]
    assert offered(program, "doc") == ["doctor"]
    assert offered(program, "rekey", "--re") == ["--reseal", "--retire"]
    assert "suspended" in offered(program, "list", "--state", "")


def test_it_offers_no_key_ids_and_needs_no_store(home: Path, program: Program, tmp_path: Path) -> None:
    """They would be in the shell's memory and on the screen, and each press of a key would open the store."""
    program.issue()
    assert offered(program, "show", "key_") == []
    (tmp_path / "keys.db").unlink()
    assert offered(program, "show", "") == []
    assert not (tmp_path / "keys.db").exists()


def test_it_installs_itself_where_it_is_asked_to(home: Path, program: Program) -> None:
    bash(program, "keyturn --install-completion")
    assert "keyturn" in (home / ".bashrc").read_text()
    assert bash(program, "source ~/.bashrc; complete -p keyturn").endswith("_keyturn_completion keyturn\n")
