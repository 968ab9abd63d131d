"""Output: one JSON document for programs, plain lines for pipes, colours for terminals, and quiet ends."""

from __future__ import annotations

import time

import pytest

from tests.cli.program import Program

ESCAPE = "\x1b["


@pytest.fixture
def key_id(program: Program) -> str:
    return str(
        program.issue("--owner", "acme", "--name", "a name that is rather long for a narrow table")["key_id"]
    )


def test_what_is_piped_is_plain_one_line_each(program: Program, key_id: str) -> None:
    listed, shown = program.process("list").out, program.run("show", key_id).out
    for text in (listed, shown, program.run("usage", key_id).out):
        assert ESCAPE not in text
        assert all(line == line.rstrip() for line in text.splitlines())
    assert "a name that is rather long for a narrow table" in listed.splitlines()[1]


@pytest.mark.parametrize("columns", [30, 160])
def test_a_terminal_has_colours_and_whole_ids(program: Program, key_id: str, columns: int) -> None:
    listed, shown = (
        program.at_terminal(*command, columns=columns) for command in (["list"], ["show", key_id])
    )
    for done in (listed, shown):
        assert done.status == 0
        assert ESCAPE in done.out
        assert key_id in done.out
    assert ("SCOPE" in listed.out) == (columns >= 100)


def test_programs_get_one_document_and_nothing_else(program: Program, key_id: str) -> None:
    for command in (["list"], ["list", "--all"], ["show", key_id], ["usage", key_id], ["suspend", key_id],
                    ["resume", key_id], ["update", key_id, "--name", "x"], ["revoke", key_id],
                    ["revoke", "--owner", "acme"], ["destroy", key_id, "--yes"], ["issue"], ["init"]):  # fmt: skip
        done = program.run(*command, "--json")
        assert (done.status, done.err) == (0, "")
        assert isinstance(done.json, dict)


def test_an_empty_list_is_said_beside_the_output(program: Program) -> None:
    done = program.run("list", "--owner", "nobody")
    assert (done.status, done.out, done.err) == (0, "", "There are no such keys.\n")
    assert program.json("list", "--owner", "nobody") == {"items": [], "next_cursor": None}


def test_what_would_move_the_cursor_is_escaped(program: Program) -> None:
    metadata = '{"a": "\\u001b]0;title\\u0007 \\u009b2J \\u202e"}'
    issued = program.issue("--metadata", metadata)
    shown = program.run("show", issued["key_id"]).out
    assert not set(shown) & set("\x1b\x07\x9b\u202e")
    assert "\\x9b2J" in shown
    misused = program.run("list", "--\x1b[2J\u202e")
    assert misused.status == 2
    assert not set(misused.err) & set("\x1b\u202e")


def test_markup_in_a_name_is_text(program: Program) -> None:
    program.issue("--name", "[red]not red[/red] :boom:")
    assert "[red]not red[/red] :boom:" in program.run("list").out


def test_a_name_that_the_terminal_cannot_show_is_escaped(program: Program) -> None:
    program.issue("--name", "schlüssel")
    program.environment |= {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONIOENCODING": "ascii",
    }
    done = program.process("list")
    assert done.status == 0
    assert "schl\\xfcssel" in done.out


@pytest.mark.parametrize("command", ["list", "show {} --json", "--help"])
def test_a_reader_that_goes_away_ends_it_quietly(program: Program, key_id: str, command: str) -> None:
    done = program.shell(f"keyturn {command.format(key_id)} | true")
    assert (done.status, done.err) in ((0, ""), (1, ""))


def test_a_list_stops_when_its_reader_has_enough(program: Program) -> None:
    for _ in range(20):
        program.issue()
    done = program.shell("keyturn list --all --limit 1 | head -n 1")
    assert done.out.startswith("KEY_ID")
    assert done.err == ""


@pytest.mark.parametrize("command", ["list", "--help"])
def test_output_that_cannot_be_written_is_a_failure(program: Program, key_id: str, command: str) -> None:
    done = program.shell(f"keyturn {command.format(key_id)} > /dev/full")
    assert done.status == 1
    assert done.err.startswith("error: No space left on device\n")
    assert "Traceback" not in done.err


def test_a_closed_output_is_a_failure_before_anything_is_done(program: Program) -> None:
    before = program.json("list")
    assert program.shell("keyturn issue >&-").status == 1
    assert program.json("list") == before


def test_a_closed_standard_error_changes_nothing(program: Program) -> None:
    done = program.shell("keyturn issue 2>&-")
    assert done.status == 0
    assert program.verify(done.secret)["valid"]
    assert program.shell("keyturn show key_1 2>&-").status == 1


def test_wait_returns_when_the_bound_has_passed(program: Program, key_id: str) -> None:
    program.environment["KEYTURN_MAX_STALENESS"] = "0.7"
    began = time.monotonic()
    done = program.run("revoke", key_id, "--wait")
    assert time.monotonic() - began >= 0.7
    assert (done.status, done.err) == (0, "Every node refuses it now.\n")


def test_without_wait_the_bound_is_said(program: Program, key_id: str) -> None:
    program.environment["KEYTURN_MAX_STALENESS"] = "60"
    began = time.monotonic()
    assert program.run("suspend", key_id).err == "Every node refuses it within 60 s.\n"
    assert program.run("revoke", key_id).err == "Every node refuses it within 60 s.\n"
    assert time.monotonic() - began < 30


def test_waiting_at_a_terminal_is_shown_and_can_be_interrupted(program: Program, key_id: str) -> None:
    program.environment["KEYTURN_MAX_STALENESS"] = "60"
    done = program.at_terminal("revoke", key_id, "--wait", answers={"Waiting 60 s": "\x03"})
    assert done.status == 130
    assert f"{key_id} is now deactivated." in done.out
    assert "Traceback" not in done.out
