"""`keyturn init`: a store is made once, its first key is shown once, and running it again harms nothing."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.cli.program import PROGRAM, TOKEN, Program, in_development
from tests.contract.postgres_server import APP_ROLE, PostgresDatabase
from tests.contract.waiting import until

STARTERS = 4


def test_the_first_key_is_shown_alone_on_its_line_and_may_do_everything(fresh: Program) -> None:
    done = fresh.process("init")
    assert (done.status, done.err) == (0, "")
    tokens = TOKEN.findall(done.out)
    assert len(tokens) == 1
    assert tokens[0] in done.out.splitlines()
    assert "keyturn serve" in done.out.splitlines()[-1]
    answer = fresh.verify(tokens[0], "--scope", "full", "--permissions", "keys.create")
    assert (answer["valid"], answer["permissions"]) == (True, ["*"])


def test_again_it_shows_no_key_and_says_how_to_issue_another(fresh: Program) -> None:
    first = TOKEN.findall(fresh.run("init").out)[0]
    done = fresh.run("init")
    assert (done.status, TOKEN.findall(done.out)) == (0, [])
    command = next(line for line in done.out.splitlines() if "keyturn issue" in line).strip()
    issued = fresh.shell(command)
    assert issued.status == 0
    answer = fresh.verify(issued.secret, "--scope", "full", "--permissions", "keys.create")
    assert (answer["valid"], answer["permissions"]) == (True, ["*"])
    assert fresh.verify(first)["valid"]


@pytest.mark.parametrize("command", ["init", "init --json", "serve"])
def test_a_first_key_that_cannot_be_shown_is_not_lost_in_silence(fresh: Program, command: str) -> None:
    done = fresh.shell(f"keyturn {command} > /dev/full")
    assert done.status == 1
    (first,) = fresh.json("list")["items"]
    assert f"its first provisioning key, {first['key_id']}, could not be written out" in done.err
    assert f"keyturn revoke {first['key_id']}" in done.err
    assert "keyturn issue --type provisioning" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_first_key_that_was_made_is_shown_whoever_interrupts(
    fresh: Program, tmp_path: Path, number: signal.Signals
) -> None:
    """The pipe is full, so that the program waits between the commit and the key's last character."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    filled = 0
    with suppress(BlockingIOError):
        while True:
            filled += os.write(writing, b"." * 4_096)
    os.set_blocking(writing, True)
    process = subprocess.Popen(
        [*PROGRAM, "init"], env=fresh.environment, stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    until(lambda: (tmp_path / "keys.db").exists() and fresh.run("list").status == 0)
    process.send_signal(number)
    with os.fdopen(reading, "rb") as shown:
        (token,) = TOKEN.findall(shown.read()[filled:].decode())
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130 if number == signal.SIGINT else -number, b"")
    assert fresh.verify(token)["valid"]


def test_commands_are_named_by_the_path_that_the_program_was_started_by(
    fresh: Program, tmp_path: Path
) -> None:
    """Who has it in `.venv/bin` only cannot run `keyturn`."""
    script = tmp_path / "bin" / "keyturn"
    script.parent.mkdir()
    script.write_text(f"#!{PROGRAM[0]}\n{PROGRAM[2]}\n")
    script.chmod(0o755)

    def out(path: str, environment: dict[str, str], *arguments: str) -> str:
        done = subprocess.run(
            [path, *arguments],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.stdout + done.stderr

    plain = fresh.environment
    assert "fix: Make one with 'bin/keyturn init'" in out("bin/keyturn", plain, "list")
    assert "\nStart the server: bin/keyturn serve\n" in out("bin/keyturn", plain, "init")
    assert "\n  bin/keyturn issue --type provisioning" in out("bin/keyturn", plain, "init")
    on_path = {**plain, "PATH": f"{script.parent}:{plain['PATH']}"}
    assert "\nStart the server: keyturn serve\n" in out("keyturn", on_path, "init")


def test_as_json_it_says_whether_the_store_was_made(fresh: Program, tmp_path: Path) -> None:
    made, again = fresh.json("init"), fresh.json("init")
    assert made.keys() == {"store", "created", "key_id", "key"}
    assert made["store"] == str(tmp_path / "keys.db")
    assert fresh.verify(made["key"])["key_id"] == made["key_id"]
    assert again == {"store": made["store"], "created": False, "key_id": None, "key": None}


def test_of_several_at_once_one_shows_a_key(fresh: Program) -> None:
    with ThreadPoolExecutor(STARTERS) as threads:
        ends = list(threads.map(lambda _: fresh.process("init"), range(STARTERS)))
    assert [end.status for end in ends] == [0] * STARTERS, [end.err for end in ends]
    tokens = [token for end in ends for token in TOKEN.findall(end.out)]
    assert len(tokens) == 1
    assert fresh.verify(tokens[0])["valid"]


def test_another_key_encryption_key_is_refused(program: Program, tmp_path: Path) -> None:
    other = Program(f"sqlite:///{tmp_path / 'keys.db'}", KEY_STORE_ENCRYPTION_KEY="hex:" + "ab" * 32)
    done = other.run("init", "--json")
    assert (done.status, done.out, done.error["code"]) == (1, "", "wrong_kek")


def test_a_file_has_no_roles(fresh: Program, tmp_path: Path) -> None:
    done = fresh.run("init", "--grant-to", "somebody")
    assert (done.status, done.out) == (1, "")
    assert "no roles" in done.err
    assert not (tmp_path / "keys.db").exists()


def test_in_development_the_key_file_is_private_and_away_from_the_data(tmp_path: Path) -> None:
    program = in_development(tmp_path)
    done = program.run("init")
    file = tmp_path / "config/keyturn/key-encryption-key"
    assert done.status == 0
    assert str(file) in done.out
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().strip() not in done.out
    assert [path.name for path in (tmp_path / "data").rglob("*key-encryption*")] == []
    assert program.run("list").status == 0


def key_file(tmp_path: Path, contents: bytes) -> Path:
    """Development's key file with these contents, for its owner alone."""
    file = tmp_path / "config/keyturn/key-encryption-key"
    file.parent.mkdir(parents=True)
    file.write_bytes(contents)
    file.chmod(0o600)
    return file


DAMAGED = {
    "empty": b"",
    "only an end of line": b"\r\n",
    "no text": b"\xff\xfe" + "base64:".encode("utf-16-le"),
    "cut off": b"base64:AAAA",
    "binary": bytes(32),
    "something else": b"hello\n",
    "two lines": b"passphrase:correct horse battery\r\nstaple\n",
    "too long": b"passphrase:" + b"x" * 5_000,
}


@pytest.mark.parametrize("contents", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_key_file_is_named_and_kept(tmp_path: Path, contents: bytes) -> None:
    file = key_file(tmp_path, contents)
    for command in ("init", "serve"):
        done = in_development(tmp_path).run(command)
        assert (done.status, done.out) == (1, "")
        assert f"{file} is damaged" in done.err
        assert "fix:" in done.err
        assert "battery" not in done.err
    assert file.read_bytes() == contents
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_no_key_file(tmp_path: Path, make: Callable[[Path], None]) -> None:
    file = key_file(tmp_path, b"")
    file.unlink()
    make(file)
    done = in_development(tmp_path).run("init")
    assert (done.status, done.out) == (1, "")
    assert f"{file} is no file" in done.err


def test_a_key_file_that_an_editor_saved_is_read(tmp_path: Path) -> None:
    key_file(tmp_path, b"\xef\xbb\xbfhex:" + b"ab" * 32 + b"\r\n")
    program = in_development(tmp_path)
    assert program.run("init").status == 0
    program.environment["KEY_STORE_ENCRYPTION_KEY"] = "hex:" + "ab" * 32
    assert program.run("list").status == 0


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_key_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    program = in_development(tmp_path)
    assert program.run("init").status == 0
    file = tmp_path / "config/keyturn/key-encryption-key"
    file.chmod(mode)
    for command in ("list", "serve", "init"):
        done = program.run(command)
        assert (done.status, done.out) == (1, "")
        assert f"chmod 600 {file}" in done.err
    file.chmod(0o400)
    assert program.run("list").status == 0


@pytest.mark.parametrize(
    "setting", ["KEYTURN_DATA_DIR={}/keyturn", "KEYTURN_DATA_DIR={}", "KEYTURN_STORE=sqlite:///{}/keyturn/keys.db",
                "KEYTURN_DATA_DIR={}/elsewhere/../keyturn", "XDG_DATA_HOME={}"],
)  # fmt: skip
def test_the_key_file_is_not_made_in_the_data_directory(tmp_path: Path, setting: str) -> None:
    program = in_development(tmp_path)
    name, _, value = setting.format(tmp_path / "config").partition("=")
    program.environment[name] = value
    for command in ("init", "serve"):
        done = program.run(command)
        assert (done.status, done.out) == (1, "")
        assert "KEYTURN_DATA_DIR" in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_store_of_another_key_is_not_said_to_have_lost_its_file(tmp_path: Path) -> None:
    program = in_development(tmp_path)
    program.environment["KEY_STORE_ENCRYPTION_KEY"] = "hex:" + "ab" * 32
    assert program.run("init").status == 0
    del program.environment["KEY_STORE_ENCRYPTION_KEY"]
    done = program.run("list")
    assert (done.status, done.out) == (1, "")
    assert "KEY_STORE_ENCRYPTION_KEY is not set" in done.err
    assert "gone" not in done.err
    assert not (tmp_path / "config").exists()


def test_a_key_file_that_is_gone_is_missed_and_not_replaced(tmp_path: Path) -> None:
    program = in_development(tmp_path)
    program.run("init")
    file = tmp_path / "config/keyturn/key-encryption-key"
    file.rename(tmp_path / "kept")
    for command in ("list", "init", "serve"):
        done = program.run(command)
        assert (done.status, done.out) == (1, "")
        assert str(file) in done.err
    assert not file.exists()


def test_no_other_command_makes_a_store_or_a_key(tmp_path: Path) -> None:
    done = in_development(tmp_path).run("list")
    assert done.status == 1
    assert "keyturn init" in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def owner(postgres_database: PostgresDatabase) -> Program:
    return Program(postgres_database.owner_url)


@pytest.fixture
def app(postgres_database: PostgresDatabase) -> Program:
    return Program(postgres_database.app_url)


def test_on_postgresql_the_role_that_was_named_may_work(owner: Program, app: Program) -> None:
    done = owner.process("init", "--grant-to", APP_ROLE)
    assert done.status == 0, done.err
    assert app.verify(TOKEN.findall(done.out)[0])["valid"]
    issued = app.issue("--owner", "acme")
    assert app.json("revoke", issued["key_id"])["state"] == "deactivated"
    assert app.json("list", "--all", "--limit", "1")["items"][0]["key_id"] == issued["key_id"]
    assert owner.json("init", "--grant-to", APP_ROLE)["created"] is False


def test_on_postgresql_a_store_that_was_not_prepared_names_the_command(app: Program) -> None:
    for command in (["list"], ["serve"]):
        done = app.run(*command)
        assert (done.status, done.out) == (1, "")
        assert "keyturn init" in done.err


def test_the_password_of_a_store_is_not_shown(postgres_database: PostgresDatabase) -> None:
    url = postgres_database.owner_url.replace("@", ":hunter2hunter2@", 1)
    done = Program(url).run("init")
    assert done.status == 0, done.err
    assert "hunter2" not in done.out + done.err


def test_the_first_key_is_shown_where_the_store_has_several_hosts(
    postgres_database: PostgresDatabase,
) -> None:
    own = conninfo_to_dict(postgres_database.owner_url)
    hosts = f"127.0.0.1:1,{quote(str(own['host']), safe='')}:5432"
    done = Program(f"postgresql://{own['user']}@{hosts}/{own['dbname']}").run("init")
    assert done.status == 0, done.err
    assert TOKEN.search(done.out)
    assert f"postgresql://{hosts}/{own['dbname']}" in done.out


def test_nor_where_the_store_does_not_answer() -> None:
    done = Program("postgresql://somebody:hunter2hunter2@127.0.0.1:1/keys").run("init")
    assert (done.status, done.out) == (1, "")
    assert "127.0.0.1" in done.err
    assert "hunter2" not in done.err
