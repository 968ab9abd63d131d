"""`keyturn rekey`: the keys under the keys are changed, and the keys that were issued are none the wiser."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from sqlite3 import connect
from typing import Any

import pytest

from tests.cli.program import PROGRAM, Program, in_development
from tests.contract.postgres_server import PostgresDatabase
from tests.running_server import KEK, prepared_postgres

NEW = "hex:" + "4e" * 32
PASSPHRASE = "passphrase:a staple for the battery horse"
OLD = f"hex:{KEK.hex()}"


def under(program: Program, setting: str) -> Program:
    """The same program, started with another key-encryption key."""
    other = Program("")
    other.environment.update({**program.environment, "KEY_STORE_ENCRYPTION_KEY": setting})
    return other


def status(program: Program) -> dict[str, Any]:
    found = program.json("rekey", "--status")
    assert isinstance(found, dict)
    return found


def store_file(program: Program) -> Path:
    return Path(program.environment["KEYTURN_STORE"].removeprefix("sqlite:///"))


def events(program: Program) -> list[str]:
    """The types of the log's entries, read from the file as it is."""
    path = program.environment["KEYTURN_STORE"].removeprefix("sqlite:///")
    with closing(connect(path)) as connection:
        return [
            json.loads(entry)["type"]
            for (entry,) in connection.execute("SELECT entry FROM log ORDER BY position")
        ]


@pytest.fixture(params=["sqlite", "postgres"])
def on_each(request: pytest.FixtureRequest) -> Iterator[Program]:
    """The program on a store that was made, in a file and in a database."""
    if request.param == "sqlite":
        yield request.getfixturevalue("program")
    else:
        database: PostgresDatabase = request.getfixturevalue("postgres_database")
        prepared_postgres(database)
        yield Program(database.app_url)


# The key-encryption key


@pytest.mark.parametrize("setting", [NEW, PASSPHRASE])
def test_under_the_new_key_encryption_key_everything_is_as_it_was(on_each: Program, setting: str) -> None:
    token, recoverable = on_each.issue(), on_each.issue("--recoverable")
    done = on_each.run("rekey", given=f"{setting}\n")
    assert done.status == 0, done.err
    assert "KEY_STORE_ENCRYPTION_KEY" in done.err
    new = under(on_each, setting)
    assert new.verify(token["key"])["valid"]
    assert new.verify(recoverable["key"])["valid"]
    assert new.verify(new.issue()["key"])["valid"]
    assert status(new)["revision"] == 2


def test_the_old_one_is_refused_and_told_what_to_do(program: Program) -> None:
    assert program.run("rekey", given=NEW).status == 0
    for command in (["list"], ["init"], ["rekey"], ["rekey", "--data-key"]):
        done = program.run(*command, "--json", given=PASSPHRASE)
        assert (done.status, done.out, done.error["code"]) == (1, "", "wrong_kek")
        assert "keyturn rekey" in done.error["fix"]


def test_it_comes_from_a_variable_where_one_is_named(program: Program) -> None:
    program.environment["NEXT_KEK"] = NEW
    done = program.run("rekey", "--new-kek-from-env", "NEXT_KEK", "--json")
    assert done.status == 0, done.err
    assert done.json == {"changed": "kek", "revision": 2, "key_file": None, "old_key_file": None}
    assert under(program, NEW).run("list").status == 0
    done = program.run("rekey", "--new-kek-from-env", "ABSENT")
    assert (done.status, done.out) == (2, "")
    assert "ABSENT" in done.err


def test_at_a_terminal_it_is_asked_for_twice_and_not_shown(program: Program) -> None:
    differing = {"New key-encryption key: ": f"{NEW}\n", "The same again: ": f"{NEW[:-1]}f\n"}
    assert program.at_terminal("rekey", answers=differing).status == 2
    assert program.run("list").status == 0
    done = program.at_terminal(
        "rekey", answers={"New key-encryption key: ": f"{NEW}\n", "The same again: ": f"{NEW}\n"}
    )
    assert done.status == 0, done.out
    assert "4e4e" not in done.out
    assert under(program, NEW).run("list").status == 0


@pytest.mark.parametrize(
    ("given", "status"),
    [("", 2), ("\n", 2), ("x" * 5_000, 2), ("base64:short\n", 1), ("4e" * 32, 1), ("passphrase:short", 1)],
)
def test_what_is_no_key_encryption_key_changes_nothing(program: Program, given: str, status: int) -> None:
    done = program.run("rekey", given=given)
    assert (done.status, done.out) == (status, "")
    assert given.strip()[:20] not in done.err or not given.strip()
    assert program.run("list").status == 0


@pytest.mark.parametrize("given", ["passphrase:correct horse staple \n", "\tpassphrase:correct horse staple"])
def test_white_space_at_an_end_is_refused_and_not_cut_off(program: Program, given: str) -> None:
    """Set as KEY_STORE_ENCRYPTION_KEY just as it was given here, it would not open the store any more."""
    for how in ([], ["--new-kek-from-env", "NEXT_KEK"]):
        program.environment["NEXT_KEK"] = given.rstrip("\n")
        done = program.run("rekey", *how, given=given)
        assert (done.status, done.out) == (2, "")
        assert "white space" in done.err
    assert status(program)["revision"] == 1


def test_the_present_one_is_no_other(program: Program) -> None:
    done = program.run("rekey", "--json", given=OLD)
    assert (done.status, done.out, done.error["code"]) == (1, "", "invalid_request")
    assert status(program)["revision"] == 1


def test_it_is_never_an_argument(program: Program) -> None:
    for arguments in ([NEW], ["--data-key", NEW]):
        done = program.run("rekey", *arguments, given=NEW)
        assert (done.status, done.out) == (2, "")
        assert "never an argument" in done.err
        assert "4e4e" not in done.err
    assert program.run("list").status == 0


def test_of_several_at_once_one_wins_and_the_others_lose_cleanly(on_each: Program) -> None:
    settings = [f"hex:{number:02x}" * 1 + f"{number:02x}" * 31 for number in range(1, 5)]
    with ThreadPoolExecutor(len(settings)) as threads:
        ends = list(threads.map(lambda setting: on_each.process("rekey", "--json", given=setting), settings))
    won = [setting for setting, end in zip(settings, ends, strict=True) if end.status == 0]
    assert len(won) == 1, [end.err for end in ends]
    assert {end.error["code"] for end in ends if end.status} <= {"conflict", "wrong_kek"}
    for setting in (OLD, *settings):
        assert (under(on_each, setting).run("list").status == 0) is (setting in won)


# Development's key file


def key_file(directory: Path) -> Path:
    return directory / "config/keyturn/key-encryption-key"


def files(directory: Path) -> dict[str, str]:
    """What is beside the key file, by name."""
    return {path.name: path.read_text().strip() for path in key_file(directory).parent.iterdir()}


def test_in_development_the_key_file_holds_the_new_one_and_the_old_one_is_kept(tmp_path: Path) -> None:
    program = in_development(tmp_path)
    program.run("init")
    old = key_file(tmp_path).read_text().strip()
    done = program.run("rekey", given=NEW)
    assert done.status == 0, done.err
    assert str(key_file(tmp_path)) in done.out
    assert program.run("list").status == 0
    found = files(tmp_path)
    assert (found["key-encryption-key"], found["key-encryption-key.old-1"]) == (NEW, old)
    assert "key-encryption-key.new" not in found
    for path in key_file(tmp_path).parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    second = program.json("rekey", given=PASSPHRASE)
    assert second["old_key_file"] == str(key_file(tmp_path)) + ".old-2"
    assert files(tmp_path)["key-encryption-key.old-2"] == NEW
    assert program.run("list").status == 0


@pytest.mark.parametrize("moment", ["before the commit", "after the commit"])
def test_a_crash_leaves_a_key_file_that_opens_the_store(tmp_path: Path, moment: str) -> None:
    """Both are there between the commit and the moment when the new one takes the old one's place."""
    program = in_development(tmp_path)
    program.run("init")
    file = key_file(tmp_path)
    if moment == "before the commit":
        file.with_name(f"{file.name}.new").write_text(NEW)
        file.with_name(f"{file.name}.new").chmod(0o600)
        assert program.run("list").status == 0
        assert files(tmp_path)["key-encryption-key"] != NEW
    else:
        old = file.read_text()
        assert program.run("rekey", given=NEW).status == 0
        file.rename(file.with_name(f"{file.name}.new"))
        file.with_name(f"{file.name}.old-1").unlink()
        file.write_text(old)
        file.chmod(0o600)
        done = program.process("list")
        assert done.status == 0, done.err
        assert "was finished" in done.err
        found = files(tmp_path)
        assert found["key-encryption-key"] == NEW
        assert found["key-encryption-key.old-1"] == old.strip()
        assert "key-encryption-key.new" not in found
    assert program.run("rekey", given=PASSPHRASE).status == 0
    assert program.run("list").status == 0


def test_a_rekey_that_is_refused_leaves_no_file_behind(tmp_path: Path) -> None:
    program = in_development(tmp_path)
    program.run("init")
    before = files(tmp_path)
    assert program.run("rekey", given=before["key-encryption-key"]).status == 1
    after = files(tmp_path)
    after.pop("key-encryption-key.lock")
    assert after == before


def test_in_development_of_several_at_once_one_wins_each_time(tmp_path: Path) -> None:
    program = in_development(tmp_path)
    program.run("init")
    settings = [f"passphrase:number {number} of several" for number in range(4)]
    with ThreadPoolExecutor(4) as threads:
        ends = list(threads.map(lambda setting: program.process("rekey", "--json", given=setting), settings))
    assert {end.status for end in ends} <= {0, 1}
    assert any(end.status == 0 for end in ends)
    assert {end.error["code"] for end in ends if end.status} <= {"conflict", "wrong_kek"}
    assert program.run("list").status == 0
    assert files(tmp_path)["key-encryption-key"] in settings


# Data keys


def test_a_new_data_key_and_every_row_under_it(on_each: Program) -> None:
    tokens = [
        on_each.issue("--owner", "acme"),
        on_each.issue("--recoverable"),
        on_each.issue("--type", "hmac"),
    ]
    on_each.run("revoke", "--owner", "bolt")
    assert status(on_each)["data_keys"] == [{"version": 1, "rows": 10}]
    done = on_each.run("rekey", "--data-key")
    assert done.status == 0, done.err
    assert "Sealed anew under data key 2: 10 of 10 rows." in done.out
    found = status(on_each)
    assert (found["primary"], found["minimum"], found["rows"]) == (2, 1, 10)
    assert found["data_keys"] == [{"version": 1, "rows": 0}, {"version": 2, "rows": 10}]
    assert [on_each.verify(token["key"])["valid"] for token in tokens[:2]] == [True, True]

    assert on_each.json("rekey", "--retire") == {"changed": "minimum", "minimum": 2}
    assert status(on_each)["minimum"] == 2
    assert [on_each.verify(token["key"])["valid"] for token in tokens[:2]] == [True, True]
    again = on_each.run("rekey", "--retire", "--json")
    assert (again.status, again.error["code"]) == (1, "illegal_transition")
    assert on_each.json("rekey", "--reseal")["resealed"] == 0, "there is nothing left to do"


def test_as_json_each_act_is_one_document(program: Program) -> None:
    program.issue()
    done = program.json("rekey", "--data-key")
    assert done == {"primary": 2, "rows": 5, "resealed": 5, "refused": 0, "refused_rows": []}


def test_status_is_a_table_for_people(program: Program) -> None:
    program.run("rekey", "--data-key")
    program.run("rekey", "--retire")
    lines = [line.split() for line in program.run("rekey", "--status").out.splitlines()]
    assert ["primary", "2"] in lines
    assert ["1", "(retired)", "0"] in lines
    assert ["2", "(seals", "what", "is", "new)", "3"] in lines


def test_at_a_terminal_there_is_a_progress_bar_and_nowhere_else(program: Program) -> None:
    assert "Sealing rows anew" in program.at_terminal("rekey", "--data-key").out
    assert "Reading every row" in program.at_terminal("rekey", "--status").out
    assert program.run("rekey", "--data-key").err == ""


def test_nothing_is_retired_while_a_row_needs_it(program: Program) -> None:
    program.issue()
    file = store_file(program)
    with closing(connect(file)) as connection:
        before = connection.execute("SELECT seal, id FROM rows WHERE kind = 'key'").fetchall()
    program.run("rekey", "--data-key")
    with closing(connect(file)) as connection, connection:
        connection.executemany("UPDATE rows SET seal = ? WHERE id = ?", before)
    done = program.run("rekey", "--retire", "--json")
    assert (done.status, done.error["code"]) == (1, "conflict")
    assert "2 rows" in done.error["detail"]
    assert status(program)["minimum"] == 1
    assert program.json("rekey", "--reseal")["resealed"] == 2
    assert program.run("rekey", "--retire").status == 0


def test_what_was_tampered_with_is_not_sealed_anew_and_makes_the_command_fail(program: Program) -> None:
    key_id = program.issue("--name", "before")["key_id"]
    path = store_file(program)
    shutil.copy(path, f"{path}.older")
    program.run("update", key_id, "--name", "after")
    with closing(connect(f"{path}.older")) as older:
        record = older.execute("SELECT revision, body, seal FROM rows WHERE id = ?", (key_id,)).fetchone()
    with closing(connect(path)) as connection, connection:
        connection.execute("UPDATE rows SET revision = ?, body = ?, seal = ? WHERE id = ?", (*record, key_id))
    done = program.run("rekey", "--data-key", "--json")
    assert done.status == 1
    assert done.json["refused_rows"] == [key_id]
    assert done.json["resealed"] == 4
    assert program.run("show", key_id).status == 1, "it stays refused"
    assert "integrity_failed" in events(program)
    people = program.run("rekey", "--reseal")
    assert people.status == 1
    assert key_id in people.err
    assert program.run("rekey", "--retire").status == 1


def test_one_thing_at_a_time(program: Program) -> None:
    for given in (["--data-key", "--retire"], ["--status", "--new-kek-from-env", "X"], ["--rate", "0"]):
        assert program.run("rekey", *given, given=NEW).status == 2
    assert status(program)["revision"] == 1


def test_the_log_has_an_entry_for_each_act(program: Program) -> None:
    program.run("rekey", "--data-key")
    program.run("rekey", "--retire")
    program.run("rekey", given=NEW)
    assert [kind for kind in events(program) if kind.startswith("keyring")] == [
        "keyring_created",
        "keyring_rotated",
        "keyring_resealed",
        "keyring_rotated",
        "keyring_rotated",
    ]


def test_no_key_is_left_in_the_file_that_the_old_key_encryption_key_opens(program: Program) -> None:
    """What SQLite overwrote would otherwise stay in the file, or in the write-ahead log, while servers are open."""
    path = store_file(program)
    with closing(connect(path)) as server:
        (body,) = server.execute("SELECT body FROM rows WHERE id = 'keyring'").fetchone()
        wrapped = json.loads(body)["deks"][0]["wrapped"].encode()
        assert wrapped in path.read_bytes()
        assert program.process("rekey", given=NEW).status == 0
        left = [file for file in path.parent.iterdir() if file.is_file() and wrapped in file.read_bytes()]
        assert left == []


def test_interrupted_it_can_go_on(program: Program) -> None:
    for _ in range(5):
        program.issue()
    process = subprocess.Popen(
        [*PROGRAM, "rekey", "--data-key", "--rate", "1"], env=program.environment, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()  # the data key is there; the rows, at this pace, are not done
    process.kill()
    process.wait()
    process.stdout.close()
    assert program.run("list").status == 0
    assert program.json("rekey", "--reseal")["primary"] == 2
    assert status(program)["data_keys"][0] == {"version": 1, "rows": 0}
