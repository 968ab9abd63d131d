"""`keyturn import`: files of tokens and hashes, line by line, all of a batch or nothing, again and again."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cli.program import PROGRAM, Done, Program
from tests.imported import ARGON2ID, START, TOKEN, WRONG

KNOWN: Final = "is there under another owner"


def token(number: int) -> str:
    return f"old_token_{number:06}_x"


def lines(*members: dict[str, Any]) -> str:
    return "".join(json.dumps(line) + "\n" for line in members)


def imports(program: Program, given: str | bytes, *options: str) -> Done:
    return program.run("import", "-", "--json", *options, given=given)


def counts(done: Done) -> tuple[int, int, int, int]:
    found = done.json
    return found["imported"], found["present"], found["refused"], found["held_back"]


def refusals(done: Done) -> dict[int, str]:
    return {said["line"]: said["detail"] for said in map(json.loads, done.err.splitlines())}


def verified(program: Program, text: str) -> Any:
    return program.run("verify", "--json", given=text).json


def test_json_lines_are_imported_with_all_that_they_say(program: Program) -> None:
    given = lines(
        {"token": token(1), "owner": "user_1", "name": "one", "scope": "read_write", "permissions": ["a.b", "c.*"],
         "tags": ["moved"], "metadata": {"plan": "pro"}, "allowed_ips": ["203.0.113.0/24"], "recoverable": True},
        {"hash": hashlib.sha256(token(2).encode()).hexdigest(), "expires_in": 3_600, "owner": None},
        {"hash": hashlib.sha512(token(3).encode()).hexdigest(), "algorithm": "sha512",
         "not_before": "2020-01-01T00:00:00Z"},
        {"hash": ARGON2ID, "algorithm": "argon2id", "start": START, "expires_at": "2100-01-01T00:00:00Z"},
        {"hash": hashlib.sha256(b"pepper" + token(4).encode()).hexdigest(), "salt": "706570706572",
         "salt_encoding": "hex", "start": token(4)[:16]},
    )  # fmt: skip
    done = imports(program, given)
    assert (done.status, counts(done), done.err) == (0, (5, 0, 0, 0), "")
    first = program.run("list", "--owner", "user_1", "--json").json["items"][0]
    assert (first["name"], first["scope"], first["permissions"]) == ("one", "read_write", ["a.b", "c.*"])
    assert (first["tags"], first["metadata"], first["recoverable"]) == (["moved"], {"plan": "pro"}, True)
    assert verified(program, token(1))["code"] == "ip_denied"
    assert [verified(program, text)["code"] for text in (token(2), token(3), TOKEN, token(4))] == [
        "valid"
    ] * 4
    assert [verified(program, text)["code"] for text in (WRONG, token(9))] == ["not_found"] * 2


def test_csv_is_imported_by_its_first_line(program: Program) -> None:
    given = (
        "\ufefftoken,owner,permissions,metadata,expires_in,recoverable,tags\r\n"
        f'{token(1)},"user, 1",documents.read;billing.*,"{{""plan"": ""pro""}}",3600,true,\r\n'
        "\r\n"
        f"{token(2)},,,,,,old;moved\n"
    )
    done = imports(program, given)
    assert counts(done) == (2, 0, 0, 0), done.err
    found = verified(program, token(1))
    assert (found["owner"], found["permissions"]) == ("user, 1", ["documents.read", "billing.*"])
    assert found["metadata"] == {"plan": "pro"}
    assert program.run("list", "--tag", "old", "--json").json["items"][0]["tags"] == ["old", "moved"]


def test_people_are_told_how_it_went(program: Program) -> None:
    assert (
        program.run("import", "-", given=lines({"token": token(1)})).out
        == "Imported 1 token; 0 there already.\n"
    )
    done = program.run(
        "import", "-", "--dry-run", given=lines({"token": token(1)}, {"token": token(2)}, {"token": "x"})
    )
    assert done.status == 1
    assert done.out == "Would import 0 tokens; 1 there already.\n"
    assert "line 3: token: a token has 16 to 1,024" in done.err
    assert "Refused: 1. Held back with them: 1." in done.err


def test_a_dry_run_finds_what_is_wrong_and_stores_nothing(program: Program) -> None:
    assert counts(imports(program, lines({"token": token(1)}), "--dry-run")) == (1, 0, 0, 0)
    assert verified(program, token(1))["code"] == "malformed"
    assert program.run("list", "--type", "api_token", "--json").json["items"] == []


def test_a_batch_with_a_refused_line_is_held_back_and_others_are_stored(program: Program) -> None:
    members: list[dict[str, Any]] = [{"token": token(n)} for n in range(2_500)]
    members[1_234] = {"token": "too short"}
    members[1_777] = {"token": token(1_777), "scope": "everything"}
    done = imports(program, lines(*members))
    assert (done.status, counts(done)) == (1, (1_500, 0, 2, 998))
    assert refusals(done).keys() == {1_235, 1_778}
    members[1_234], members[1_777] = {"token": token(1_234)}, {"token": token(1_777)}
    done = imports(program, lines(*members))
    assert (done.status, counts(done)) == (0, (1_000, 1_500, 0, 0))
    assert counts(imports(program, lines(*members))) == (0, 2_500, 0, 0)


def test_what_is_there_already_is_no_error_and_under_another_owner_it_is(program: Program) -> None:
    digest = hashlib.sha256(token(1).encode()).hexdigest()
    given = lines({"token": token(1), "owner": "a"}, {"hash": digest, "owner": "a"})
    assert counts(imports(program, given)) == (1, 1, 0, 0)
    done = imports(
        program, lines({"token": token(2)}, {"hash": digest, "owner": "b"}, {"token": token(2), "owner": "c"})
    )
    assert counts(done) == (0, 0, 2, 1)
    assert all(KNOWN in detail for detail in refusals(done).values())
    assert imports(program, given, "--tenant", "other").status == 1
    assert verified(program, token(1))["owner"] == "a"


def test_a_hash_is_there_already_also_once_it_was_upgraded(program: Program) -> None:
    given = lines({"hash": ARGON2ID, "algorithm": "argon2id", "start": START})
    assert counts(imports(program, given)) == (1, 0, 0, 0)
    assert verified(program, TOKEN)["valid"]
    assert counts(imports(program, given)) == (0, 1, 0, 0)


def test_a_token_that_was_issued_in_this_store_is_refused(program: Program) -> None:
    native = program.run("issue").secret
    done = imports(program, lines({"token": native}))
    assert refusals(done) == {1: "the token was issued in this store"}


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        ("{", "not JSON"),
        ('{"token": 1}', "token is a text"),
        ('{"token": "s3cret-s3cret-s3cret", "hash": "s3cret-s3cret-s3cret"}', "a token, or a hash"),
        ("{}", "a token, or a hash"),
        ('{"s3cret-s3cret-s3cret": 1}', "a name that is not known"),
        ('{"token": "s3cret-s3cret-s3cret", "token": "s3cret"}', "names something twice"),
        ('{"token": "s3cret-s3cret-s3cret", "start": "s3cret"}', "start: that goes with a hash"),
        ('{"hash": "s3cret-s3cret-s3cret"}', "hash: that is no sha256 hash"),
        ('{"hash": "s3cret-s3cret-s3cret", "algorithm": "s3cret-s3cret"}', "algorithm: "),
        ('{"hash": "s3cret-s3cret-s3cret", "algorithm": ["s3cret"]}', "of another kind"),
        ('{"token": "s3cret-s3cret-s3cret", "scope": "s3cret-s3cret"}', "no such scope"),
        ('{"token": "s3cret-s3cret-s3cret", "permissions": "s3cret-s3cret"}', "permissions is a list"),
        ('{"token": "s3cret-s3cret-s3cret", "permissions": ["s3cret-s3cret-s3cret!"]}', "permissions: "),
        ('{"token": "s3cret-s3cret-s3cret", "expires_at": "s3cret-s3cret"}', "RFC 3339"),
        ('{"token": "s3cret-s3cret-s3cret", "expires_in": "s3cret-s3cret"}', "expires_in"),
        ('{"token": "s3cret-s3cret-s3cret", "metadata": ["s3cret-s3cret"]}', "metadata"),
        ('{"token": "s3cret-s3cret-s3cret", "tags": [1]}', "tags"),
        ('{"token": "s3cret-s3cret-s3cret", "name": 5}', "name"),
        ('{"token": "s3cret-s3cret-s3cret", "owner": "s3cret-\\u0000s3cret"}', "owner"),
        ('{"token": "' + "s3cret" * 11_000 + '"}', "more than 65,536 bytes"),
        ("\x00\x01", "not JSON"),
    ],
)
def test_a_line_that_is_refused_is_named_and_not_repeated(program: Program, line: str, detail: str) -> None:
    done = imports(program, lines({"token": token(1)}) + "\n" + line + "\n")
    assert (done.status, counts(done)) == (1, (0, 0, 1, 1))
    assert refusals(done).keys() == {3}
    assert detail in refusals(done)[3]
    assert "s3cret" not in done.err + done.out


@pytest.mark.parametrize(
    ("given", "detail"),
    [
        ("s3cret-s3cret,owner\n", "column 1 has a name that is not known"),
        ("token,token\n", "column 2"),
        ('"token\n', "neither JSON nor"),
        (b"\xff\xfe", "neither JSON nor"),
    ],
)
def test_a_file_that_is_none_of_these_is_refused_at_once(
    program: Program, given: str | bytes, detail: str
) -> None:
    done = imports(program, given)
    assert done.status == 1
    assert detail in done.error["detail"]
    assert "s3cret" not in done.err


def test_a_csv_line_with_other_columns_or_bytes_is_refused(program: Program) -> None:
    given = (
        b'token,owner\nold-s3cret-s3cret\nold-s3cret-s3cret,\xff\nold-s3cret-s3cret,"a\n'
        + token(1).encode()
        + b",a\n"
    )
    done = imports(program, given)
    assert list(refusals(done)) == [2, 3, 4]
    assert counts(done) == (0, 0, 3, 1)
    assert "s3cret" not in done.err


def test_nothing_is_no_error_and_a_missing_file_is(program: Program, tmp_path: Path) -> None:
    assert counts(imports(program, "\n\n")) == (0, 0, 0, 0)
    assert program.run("import", str(tmp_path / "none")).status == 1


def test_a_long_file_is_read_in_bounded_memory(program: Program, tmp_path: Path) -> None:
    """Its lines are all refused at once, so that it is reading that is measured."""
    file = tmp_path / "long.jsonl"
    with file.open("w") as stream:
        for _ in range(4_000):
            stream.write('{"hash": "' + "x" * 40_000 + '"}\n')
    command = (
        "import resource; from keyturn.cli import main; main();"
        " print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for name in (os.devnull, str(file)):
        done = subprocess.run(
            [PROGRAM[0], "-c", command, "import", name],
            env=program.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        peaks.append(int(done.stdout.splitlines()[-1]) / 1_024)
    assert file.stat().st_size > 160_000_000
    assert peaks[1] - peaks[0] < 80


def test_an_import_that_is_killed_is_finished_by_the_next_one(program: Program, tmp_path: Path) -> None:
    file, count = tmp_path / "tokens.csv", 20_000
    file.write_text("token,owner\n" + "".join(f"{token(n)},user_{n % 7}\n" for n in range(count)))
    started = subprocess.Popen(
        [*PROGRAM, "import", str(file)], env=program.environment, stdout=subprocess.DEVNULL
    )
    until = time.monotonic() + 60
    while not program.run("list", "--limit", "1", "--owner", "user_1", "--json").json["items"]:
        assert time.monotonic() < until
    started.send_signal(signal.SIGKILL)
    assert started.wait() == -signal.SIGKILL
    done = program.run("import", str(file), "--json")
    imported, present, refused, held_back = counts(done)
    assert (done.status, imported + present, refused, held_back) == (0, count, 0, 0)
    assert imported
    assert present
    assert present % 1_000 == 0, "all of a batch, or none"
    assert verified(program, token(count - 1))["valid"]
    assert counts(program.run("import", str(file), "--json")) == (0, count, 0, 0)
