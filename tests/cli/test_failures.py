"""Failures: an exit status for programs, a reason and a remedy for people, and never a traceback."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.program import Program, in_development

UNKNOWN = "key_" + "0" * 22


def assert_told(err: str) -> None:
    """Two lines: what is wrong, and what to do about it."""
    assert re.fullmatch(r"error: \S.*\n  fix: [A-Z].*\.\n", err), err


@pytest.mark.parametrize(
    "command", ["show", "update --name x", "revoke", "suspend", "resume", "destroy --yes", "usage"]
)
def test_what_does_not_exist_is_not_found(program: Program, command: str) -> None:
    theirs = program.issue("--tenant", "other")["key_id"]
    unknown, foreign = (program.run(*command.split(), key_id) for key_id in (UNKNOWN, theirs))
    assert (unknown.status, unknown.out) == (1, "")
    assert_told(unknown.err)
    assert foreign == unknown
    assert program.run(*command.split(), UNKNOWN, "--json").error["code"] == "not_found"


@pytest.mark.parametrize("key_id", ["key_1", "", "own_" + "0" * 22, UNKNOWN + "0", "../" + UNKNOWN])
def test_a_malformed_id_is_refused(program: Program, key_id: str) -> None:
    for command in (["show"], ["revoke"], ["usage"], ["destroy", "--yes"]):
        done = program.run(*command, key_id, "--json")
        assert (done.status, done.out) == (1, "")
        assert (done.error["code"], done.error["field"]) == ("invalid_request", "key_id")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ("issue --type rsa --length 2048", "length"),
        ("issue --length 77", "length"),
        ("issue --prefix A", "prefix"),
        ("issue --owner .", "owner"),
        ("issue --permission ..", "permissions"),
        ("issue --allow-ip 10.0.0.1/8", "allowed_ips"),
        ('issue --metadata {"a":1.5}', "metadata"),
        ("issue --tag x --tag x", "tags"),
        ("issue --expires-in 0", "expires_in"),
        ("issue --expires-in 1d --expires-at 2100-01-01T00:00:00Z", "expires_in"),
        ("issue --expires-at 2000-01-01T00:00:00Z", "expires_at"),
        ("issue --tenant system", "tenant"),
        ("list --tenant A", "tenant"),
        ("list --limit 0", "limit"),
        ("list --limit 1001", "limit"),
        ("list --cursor abc", "cursor"),
        (f"list --q {'x' * 257}", "q"),
        ("revoke --owner .", "owner"),
        ("usage {key_id} --since 500d", "since"),
        ("usage {key_id} --since 2100-01-01T00:00:00Z", "since"),
        ("update {key_id} --expires-at 2000-01-01T00:00:00Z", "expires_at"),
    ],
)  # fmt: skip
def test_what_is_out_of_bounds_is_refused_by_name(program: Program, arguments: str, field: str) -> None:
    key_id = program.issue()["key_id"]
    done = program.run(*arguments.replace("{key_id}", key_id).split(), "--json")
    assert (done.status, done.out) == (1, "")
    assert done.error.keys() == {"code", "detail", "fix", "field"}
    assert (done.error["code"], done.error["field"]) == ("invalid_request", field)


@pytest.mark.parametrize(
    "arguments",
    [
        "nonsense", "list --nonsense", "show", f"show {UNKNOWN} {UNKNOWN}", "issue --scope everything",
        "issue --type token", "issue --length many", "issue --expires-in soon", "issue --expires-in 1y",
        "issue --expires-in 99999999999w", "issue --expires-at tomorrow", "issue --not-before 2026-01-31",
        "issue --metadata {", "issue --metadata []", "list --state expired", "list --unused-since 30d",
        f"revoke {UNKNOWN} --reason bored", "revoke", f"revoke {UNKNOWN} --owner acme", f"update {UNKNOWN}",
        f"update {UNKNOWN} --name x --clear name", f"update {UNKNOWN} --expires-in 1d --clear expires_at",
        f"update {UNKNOWN} --clear scope", f"destroy {UNKNOWN}", f"usage {UNKNOWN} --since yesterday",
        "verify --scope everything", "serve --json", f"issue --metadata {'[' * 100_000}",
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_misuse(program: Program, arguments: str) -> None:
    done = program.run(*arguments.split(), given="kt_x\n")
    assert (done.status, done.out) == (2, "")
    if "--json" not in arguments:
        assert_told(done.err)
        done = program.run(*arguments.split(), "--json", given="kt_x\n")
    assert done.status == 2
    assert done.error["code"] == "usage"


def test_an_act_that_the_state_does_not_allow_is_refused(program: Program) -> None:
    key_id = program.issue()["key_id"]
    assert program.run("resume", key_id, "--json").error["code"] == "illegal_transition"
    program.json("destroy", "--yes", key_id)
    for command in (["suspend"], ["resume"], ["update", "--name", "x"], ["destroy", "--yes"]):
        done = program.run(*command, key_id)
        assert (done.status, done.out) == (1, "")
        assert_told(done.err)


def test_a_cursor_is_bound_to_its_tenant_and_filters(program: Program) -> None:
    for _ in range(2):
        program.issue("--tag", "x")
    cursor = program.json("list", "--tag", "x", "--limit", "1")["next_cursor"]
    for options in (["--tag", "y"], ["--tag", "x", "--tenant", "other"]):
        done = program.run("list", *options, "--cursor", cursor, "--json")
        assert (done.status, done.error["field"]) == (1, "cursor")


def test_an_unknown_setting_is_an_error(program: Program) -> None:
    program.environment["KEYTURN_STROE"] = "sqlite:///elsewhere.db"
    done = program.process("list")
    assert (done.status, done.out) == (1, "")
    assert "KEYTURN_STROE" in done.err
    assert_told(done.err)


def test_another_key_encryption_key_is_refused(program: Program) -> None:
    program.environment["KEY_STORE_ENCRYPTION_KEY"] = "hex:" + "ab" * 32
    done = program.process("list")
    assert (done.status, done.out) == (1, "")
    assert_told(done.err)
    assert "ab" * 32 not in done.err


@pytest.mark.parametrize("kek", ["secret-in-no-known-form", "hex:abcd", "base64:!!!", "passphrase:short"])
def test_a_malformed_key_encryption_key_is_not_repeated(program: Program, kek: str) -> None:
    program.environment["KEY_STORE_ENCRYPTION_KEY"] = kek
    done = program.run("list")
    assert done.status == 1
    assert_told(done.err)
    assert kek.partition(":")[2] or kek not in done.err


def test_a_missing_store_is_named_with_its_remedy(fresh: Program, tmp_path: Path) -> None:
    done = fresh.process("list")
    assert (done.status, done.out) == (1, "")
    assert str(tmp_path / "keys.db") in done.err
    assert "keyturn init" in done.err
    assert_told(done.err)
    assert list(tmp_path.iterdir()) == []


def test_a_store_of_an_unknown_kind_is_named() -> None:
    done = Program("mysql://somewhere/db").run("list", "--json")
    assert (done.status, done.error["code"]) == (1, "configuration")
    assert "postgresql" in done.error["fix"]


def test_development_keeps_to_sqlite() -> None:
    done = Program("postgresql://somewhere/db", KEYTURN_ENV="development").run("list")
    assert done.status == 1
    assert "KEYTURN_ENV=production" in done.err


def test_a_file_that_is_something_else_is_refused(fresh: Program, tmp_path: Path) -> None:
    (tmp_path / "keys.db").write_text("something else entirely\n" * 100)
    for command in ("list", "init", "serve"):
        done = fresh.run(command)
        assert done.status == 1
        assert_told(done.err)


def test_a_tampered_store_is_told_as_such(program: Program, tmp_path: Path) -> None:
    key_id = program.issue("--name", "mine")["key_id"]
    with closing(sqlite3.connect(tmp_path / "keys.db")) as connection, connection:
        changed = connection.execute(
            "UPDATE rows SET body = replace(body, 'mine', 'ours') WHERE id = ?", (key_id,)
        )
        assert changed.rowcount == 1
    done = program.run("show", key_id, "--json")
    assert (done.status, done.out) == (1, "")
    assert '"code": "integrity_failed"' in done.err.splitlines()[-1]


def test_a_directory_that_may_not_be_entered_is_no_defect(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a file where a directory should be")
    done = in_development(tmp_path).run("init")
    assert (done.status, done.out) == (1, "")
    assert str(tmp_path / "config") in done.err
    assert_told(done.err)


def test_destroying_needs_a_word(program: Program) -> None:
    key_id = program.issue("--name", "precious")["key_id"]
    done = program.process("destroy", key_id)
    assert (done.status, done.out) == (2, "")
    assert "--yes" in done.err
    declined = program.at_terminal("destroy", key_id, answers={"[y/N]": "n\n"})
    assert declined.status == 1
    assert "precious" in declined.out
    assert program.json("show", key_id)["state"] == "active"
    agreed = program.at_terminal("destroy", key_id, answers={"[y/N]": "y\n"})
    assert agreed.status == 0, agreed.out
    assert program.json("show", key_id)["state"] == "destroyed"


def test_metadata_with_a_member_twice_are_refused(program: Program) -> None:
    done = program.run("issue", "--metadata", '{"plan": "pro", "plan": "free"}')
    assert (done.status, done.out) == (2, "")
    assert "the member 'plan' is there twice" in done.err
