"""Secrets: shown once and where they belong, never taken from an argument, never repeated."""

from __future__ import annotations

from io import StringIO

import pytest

from tests.cli.program import TOKEN, Program
from tests.cli.test_help import COMMANDS


class BrokenOutput(StringIO):
    """A standard output whose writing fails in a way that nobody foresaw."""

    def write(self, text: str) -> int:
        raise RuntimeError("the unforeseen")


@pytest.fixture
def token(program: Program) -> str:
    return str(program.issue()["key"])


@pytest.mark.parametrize(
    "arguments",
    [
        *([command, "{}"] for command in COMMANDS),
        ["issue", "--name={}"],
        ["revoke", "--owner", "acme", "--note", "it is {}, I think"],
        ["issue", "--metadata", '{"token": "{}"}'],
        ["{}"],
        ["list", "{}", "--help"],
    ],
)
def test_a_key_as_an_argument_is_refused_and_not_repeated(
    program: Program, token: str, arguments: list[str]
) -> None:
    done = program.run(*(argument.replace("{}", token) for argument in arguments))
    assert (done.status, done.out) == (2, "")
    assert "never an argument" in done.err
    assert "standard input" in done.err
    assert token[3:] not in done.err


def test_anything_after_verify_is_taken_for_a_key(program: Program, token: str) -> None:
    for given in (token[:-1], "kt_mistyped", "something"):
        done = program.run("verify", given, given=token)
        assert (done.status, done.out) == (2, "")
        assert "never an argument" in done.err
        assert given not in done.err


@pytest.mark.parametrize("command", ["show", "list", "update", "revoke"])
def test_a_damaged_key_is_not_repeated_either(program: Program, token: str, command: str) -> None:
    damaged = token[:-1]
    for arguments in ([damaged], ["key_" + "0" * 22, damaged], [f"--{damaged}"], ["--state", damaged]):
        done = program.run(command, *arguments)
        assert done.status != 0
        assert damaged[10:] not in done.out + done.err


def test_as_json_the_refusal_is_json(program: Program, token: str) -> None:
    error = program.run("show", "--json", token).error
    assert error["code"] == "usage"
    assert token not in str(error)


def test_a_secret_is_written_once_and_not_on_standard_error(fresh: Program) -> None:
    ends = [fresh.run("init", "--json"), fresh.run("issue"), fresh.process("issue", "--json")]
    for end in ends:
        assert len(TOKEN.findall(end.out)) == 1
        assert TOKEN.findall(end.err) == []
    issued = ends[2].json
    for command in ("show", "usage"):
        for form in ((), ("--json",)):
            assert TOKEN.findall(fresh.run(command, issued["key_id"], *form).out) == []
    listed = fresh.run("list").out + fresh.run("list", "--json").out
    assert issued["key_id"] in listed
    assert TOKEN.findall(listed) == []


def test_a_signing_key_s_secret_is_shown_as_a_token_is(program: Program) -> None:
    done = program.run("issue", "--type", "hmac")
    assert done.status == 0
    assert len(done.secret) == 43  # 32 bytes as unpadded base64url


def test_verify_does_not_repeat_the_key(program: Program, token: str) -> None:
    for given in (token, token[:-1], token[::-1]):
        for form in ((), ("--json",)):
            done = program.run("verify", *form, given=given)
            assert given not in done.out + done.err


def test_at_a_terminal_the_key_is_asked_for_and_not_shown(program: Program, token: str) -> None:
    done = program.at_terminal("verify", answers={"Key: ": f"{token}\n"})
    assert done.status == 0, done.out
    assert "valid" in done.out
    assert token not in done.out
    refused = program.at_terminal("verify", "--scope", "write", answers={"Key: ": f"{token}\n"})
    assert refused.status == 1
    assert "insufficient_scope" in refused.out


def test_at_a_terminal_nothing_may_be_typed(program: Program) -> None:
    for given, status, said in (("\n", 2, "no key"), ("\x04", 1, "stopped"), ("\x03", 130, "")):
        done = program.at_terminal("verify", answers={"Key: ": given})
        assert done.status == status, done.out
        assert said in done.out
        assert "Traceback" not in done.out


@pytest.mark.parametrize("said", ["\ufeff{}\r\n", "\ufeff{}", "{}\r\n", " {} \n"])
def test_what_editors_put_around_a_key_is_no_part_of_it(program: Program, said: str) -> None:
    done = program.run("verify", "--json", given=said.format(program.issue()["key"]))
    assert (done.status, done.json["code"]) == (0, "valid")


def test_without_a_key_on_standard_input_verify_says_where_it_belongs(program: Program) -> None:
    ends = [program.run("verify", given=given) for given in ("", "\n", " \n", "\nkt_second_line\n")]
    for done in (*ends, program.shell("keyturn verify <&-")):
        assert (done.status, done.out) == (2, "")
        assert "keyturn verify <" in done.err


def test_a_secret_that_cannot_be_written_is_not_lost_in_silence(program: Program) -> None:
    done = program.shell("keyturn issue > /dev/full")
    assert done.status == 1
    key_id = program.json("list", "--limit", "1")["items"][0]["key_id"]
    assert f"{key_id} was issued, but its secret could not be written out" in done.err
    assert f"keyturn revoke {key_id}" in done.err


def test_a_defect_is_told_without_the_values_of_variables(program: Program) -> None:
    done = program.run("issue", "--owner", "acme", out=BrokenOutput())
    assert done.status == 70
    assert done.err.splitlines()[-2:] == [
        "error: this program failed: RuntimeError",
        "  fix: Report this, with the lines above.",
    ]
    assert "Traceback" in done.err
    assert TOKEN.findall(done.err) == []
    assert "Secret(" not in done.err
