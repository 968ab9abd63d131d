"""What there is: commands and options as the contract names them, found where people look for them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import keyturn
from tests.cli.program import Program

ISSUED = ["--name", "--scope", "--expires-in", "--expires-at", "--not-before", "--permission", "--allow-ip",
          "--metadata", "--tag", "--require-scope", "--require-permissions",
          "--published-for"]  # fmt: skip
TOKEN = ["--issuer", "--audience", "--typ"]
COMMANDS = {
    "serve": ["--host", "--port", "--tls-cert", "--tls-key", "--allow-plain-http"],
    "init": ["--grant-to", "--json"],
    "rekey": ["--new-kek-from-env", "--data-key", "--reseal", "--retire", "--status", "--rate", "--json"],
    "doctor": ["--json"],
    "issue": ["--type", "--length", "--algorithm", "--owner", "--prefix", "--recoverable", "--tenant", "--json",
              *ISSUED],
    "import": ["FILE", "--dry-run", "--tenant", "--json"],
    "verify": ["--scope", "--permissions", "--ip", "--tenant", "--json"],
    "list": ["--owner", "--type", "--scope", "--state", "--tag", "--prefix", "--expires-before", "--unused-since",
             "--q", "--limit", "--cursor", "--all", "--tenant", "--json"],
    "show": ["KEY_ID", "--tenant", "--json"],
    "update": ["KEY_ID", "--clear", "--tenant", "--json", *ISSUED],
    "usage": ["KEY_ID", "--since", "--tenant", "--json"],
    "sign": ["KEY_ID", "--claims", "--expires-in", *TOKEN, "--tenant", "--json"],
    "verify-signature": ["KEY_ID", "--signature", "--version", *TOKEN, "--tenant", "--json"],
    "jwks": ["--tenant"],
    "rotate": ["KEY_ID", "--owner", "--all", "--type", "--strategy", "--overlap", "--compromised", "--keep-secret",
               "--since", "--more", "--tenant", "--json"],
    "policy": [],
    "rotation": [],
    "revoke": ["KEY_ID", "--owner", "--reason", "--note", "--wait", "--tenant", "--json"],
    "suspend": ["KEY_ID", "--note", "--tenant", "--json"],
    "resume": ["KEY_ID", "--note", "--tenant", "--json"],
    "destroy": ["KEY_ID", "--note", "--yes", "--tenant", "--json"],
    "endpoint": [],
}  # fmt: skip
OPTION = re.compile(r"│ [* ]{0,5}(--[a-z-]+|[A-Z_]+) ")


def listed(text: str) -> list[str]:
    """The options and arguments that a help text lists, but for --help."""
    return [name for name in OPTION.findall(text) if name != "--help"]


def test_help_names_every_command_of_the_contract_that_exists(fresh: Program) -> None:
    done = fresh.run("--help")
    assert done.status == 0
    assert re.findall(r"^│ ([a-z][a-z-]*) ", done.out, re.MULTILINE) == list(COMMANDS)
    assert "--version" in done.out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_lists_its_options(fresh: Program, command: str) -> None:
    done = fresh.run(command, "--help")
    assert done.status == 0
    assert sorted(listed(done.out)) == sorted(COMMANDS[command])
    assert f"Usage: keyturn {command} [OPTIONS]" in done.out


def test_the_version_is_the_package_s(fresh: Program) -> None:
    assert fresh.process("--version").out == f"keyturn {keyturn.__version__}\n"


def test_without_a_command_help_is_shown_and_nothing_worked(fresh: Program) -> None:
    done = fresh.run()
    assert done.status == 2
    assert "Usage: keyturn" in done.out


def test_completion_offers_commands(fresh: Program) -> None:
    done = fresh.shell("COMP_WORDS='keyturn re' COMP_CWORD=1 _KEYTURN_COMPLETE=complete_bash keyturn")
    assert done.out.split() == ["rekey", "revoke", "resume"]


def test_help_needs_no_store_and_loads_no_server(fresh: Program, tmp_path: Path) -> None:
    code = "import sys; from keyturn.cli import main; main(['--help']); print([n for n in sys.modules if n in {}])"
    heavy = {"fastapi", "uvicorn", "psycopg", "pydantic", "httptools"}
    done = fresh.shell(f'{sys.executable} -c "{code.format(heavy)}" | tail -n 1')
    assert done.out == "[]\n"
    assert list(tmp_path.iterdir()) == []
