"""`keyturn doctor`: what is broken is found, named, and said how to mend; what is not broken is left as it is."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg
import pytest

from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.bootstrap import open_node
from keyturn.config import settings_from
from keyturn.doctor.findings import Level
from keyturn.doctor.store import store as examine_store
from keyturn.domain.ids import DEFAULT_TENANT
from keyturn.domain.principal import LOCAL_ACTOR, Principal
from keyturn.domain.secret import Secret
from keyturn.key_generator import SecureKeyGenerator
from tests.cli.program import PROGRAM, Program, in_development
from tests.cli.test_rekey import NEW, key_file, store_file, under
from tests.contract.postgres_server import APP_ROLE, PostgresDatabase, PostgresServer
from tests.fakes import ManualClock
from tests.running_server import KEK, RunningServer, prepared_postgres

ROOT = Path(__file__).parents[2]
BY = Principal(actor=LOCAL_ACTOR, tenant=DEFAULT_TENANT)
Findings = dict[str, dict[str, str]]


@pytest.fixture
def program(fresh: Program, made: Path, tmp_path: Path) -> Program:
    """The program on a store that was made, whose file is for its user alone, as `keyturn init` makes it."""
    shutil.copyfile(made, tmp_path / "keys.db")
    (tmp_path / "keys.db").chmod(0o600)
    return fresh


def examined(program: Program, *, fails: bool) -> Findings:
    """What `doctor` finds, by check; of several findings of one check the worst."""
    done = program.run("doctor", "--json")
    assert done.err == ""
    assert (done.status, done.json["ok"]) == ((1, False) if fails else (0, True)), done.out
    order = ["ok", "warning", "failed"]
    found: Findings = {}
    for finding in sorted(done.json["findings"], key=lambda finding: order.index(finding["level"])):
        assert finding.keys() == {"check", "level", "found", "fix"}
        assert bool(finding["fix"]) is (finding["level"] != "ok")
        found[finding["check"]] = finding
    return found


def levels(found: Findings, level: str) -> list[str]:
    return sorted(check for check, finding in found.items() if finding["level"] == level)


def assert_only(found: Findings, check: str, level: str, says: str) -> None:
    """This one finding is not in order, and says so."""
    assert levels(found, "warning") + levels(found, "failed") == [check]
    assert found[check]["level"] == level
    assert says in found[check]["found"]


def direct(program: Program) -> sqlite3.Connection:
    return sqlite3.connect(store_file(program), isolation_level=None)


def contents(program: Program) -> dict[str, list[tuple[Any, ...]]]:
    with closing(direct(program)) as connection:
        names = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        ]
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in names}


def written_at(program: Program, hours: float, *, expires_in: int | None = None) -> None:
    """An entry that a process wrote whose clock was off by so many hours."""
    clock = ManualClock(datetime.now(UTC) + timedelta(hours=hours))
    node = open_node(program.environment["KEYTURN_STORE"], LocalKeyWrapper(Secret(KEK)), clock=clock)
    node.issuer.issue(SecureKeyGenerator(clock=clock).generate_api_key(expires_in=expires_in), BY)
    node.close()


# In order


def test_where_nothing_is_broken_it_says_so_and_changes_nothing(program: Program) -> None:
    program.issue("--recoverable")
    program.issue("--owner", "acme")
    program.run("revoke", "--owner", "acme")
    before, files = contents(program), sorted(store_file(program).parent.iterdir())
    found = examined(program, fails=False)
    assert levels(found, "warning") + levels(found, "failed") == []
    assert found.keys() == {
        "python", "libraries", "configuration", "key-encryption key", "permissions", "temporary disk", "data disk",
        "round trip", "store", "check value", "log", "rows", "sealed head", "time in the log", "housekeeping", "server",
    }  # fmt: skip
    assert re.search(r"^[0-9]+ entries", found["log"]["found"])
    assert "8 rows" in found["rows"]["found"]
    assert contents(program) == before
    assert sorted(store_file(program).parent.iterdir()) == files


def test_for_people_each_finding_is_a_line_and_what_to_mend_is_below_it(program: Program) -> None:
    done = program.run("doctor")
    assert (done.status, done.err) == (0, "")
    assert re.search(r"^ok       log +[0-9]+ entries", done.out, re.MULTILINE)
    wrong = under(program, NEW).run("doctor")
    assert wrong.status == 1
    lines = wrong.out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("failed   check value"))
    assert lines[at + 1].startswith("         fix: Set KEY_STORE_ENCRYPTION_KEY")


def test_at_a_terminal_it_is_the_same(program: Program) -> None:
    done = program.at_terminal("doctor")
    assert done.status == 0, done.out
    assert "entries: chain, seals and details hold" in done.out


def test_before_the_first_start_there_is_nothing_to_fail(tmp_path: Path) -> None:
    found = examined(in_development(tmp_path), fails=False)
    assert_only(found, "store", "warning", "none yet")
    assert "keyturn init" in found["store"]["fix"]
    assert list(tmp_path.iterdir()) == [], "nor is anything made"


def test_in_development_the_key_file_is_looked_at(tmp_path: Path) -> None:
    program = in_development(tmp_path)
    program.run("init")
    found = examined(program, fails=False)
    assert str(key_file(tmp_path)) in found["key-encryption key"]["found"]
    assert levels(found, "warning") == []


def test_the_front_for_newcomers_is_the_same(tmp_path: Path) -> None:
    program = in_development(tmp_path)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, ROOT / "test_installation.py", *arguments],
            env=program.environment, capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path,
        )  # fmt: skip

    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == program.run("doctor").out
    program.environment["KEYTURN_ENV"] = "staging"
    assert run("--json").returncode == 1


def test_the_front_says_how_to_install_where_nothing_is(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-I", ROOT / "test_installation.py"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "pip install" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_front_is_no_test(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--collect-only", "test_installation.py"],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 5, "collected nothing"


# The environment


@pytest.fixture
def packages(tmp_path: Path, program: Program) -> Path:
    """A directory whose packages come before those that are installed."""
    directory = tmp_path / "packages"
    directory.mkdir()
    path = os.environ.get("PYTHONPATH", "")
    program.environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(directory), path)))
    return directory


def as_process(program: Program) -> list[dict[str, str]]:
    done = program.process("doctor", "--json")
    assert done.status == 1, done.err
    findings = done.json["findings"]
    assert isinstance(findings, list)
    return [finding for finding in findings if finding["level"] == "failed"]


def test_a_library_that_is_too_old_is_named(program: Program, packages: Path) -> None:
    (packages / "rich-12.6.0.dist-info").mkdir()
    (packages / "rich-12.6.0.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: rich\nVersion: 12.6.0\n"
    )
    (finding,) = as_process(program)
    assert finding["check"] == "libraries"
    assert finding["found"] == "rich is 12.6.0, and must be >=13"
    assert "pip install" in finding["fix"]


def test_a_driver_that_does_not_load_is_named(program: Program, packages: Path) -> None:
    (packages / "psycopg").mkdir()
    (packages / "psycopg/__init__.py").write_text("raise ImportError('no libpq')")
    program.environment |= {
        "KEYTURN_ENV": "production",
        "KEYTURN_STORE": "postgresql://somebody@127.0.0.1:1/keys",
    }
    (finding,) = as_process(program)
    assert (finding["check"], "no libpq" in finding["found"]) == ("store", True)
    assert "keyturn[postgres]" in finding["fix"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"KEYTURN_HSOT": "x", "KEYTURN_STROE": "y"}, "KEYTURN_HSOT, KEYTURN_STROE"),
        ({"KEYTURN_ENV": "staging"}, "KEYTURN_ENV"),
        ({"KEYTURN_PORT": "many"}, "KEYTURN_PORT"),
        ({"KEYTURN_STORE": "postgresql://app@127.0.0.1/keys"}, "development keeps to SQLite"),
        ({"KEYTURN_HOST": "0.0.0.0"}, "loopback"),
        ({"KEYTURN_ENV": "production", "KEYTURN_HOST": "0.0.0.0"}, "TLS"),
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_named(program: Program, settings: dict[str, str], says: str) -> None:
    program.environment |= settings
    found = examined(program, fails=True)
    assert levels(found, "failed") == ["configuration"]
    assert says in found["configuration"]["found"]
    assert found["round trip"]["level"] == "ok", "what can be looked at is"


def test_settings_that_contradict_each_other_are_told(tmp_path: Path) -> None:
    program = in_development(tmp_path)
    program.run("init")
    program.environment["KEY_STORE_ENCRYPTION_KEY"] = key_file(tmp_path).read_text().strip()
    found = examined(program, fails=False)
    assert_only(found, "configuration", "warning", "is not read")
    del program.environment["KEY_STORE_ENCRYPTION_KEY"]
    data = program.environment["XDG_DATA_HOME"]
    program.environment |= {"KEYTURN_STORE": f"sqlite:///{data}/keyturn/keyturn.db", "KEYTURN_DATA_DIR": data}
    assert_only(examined(program, fails=False), "configuration", "warning", "both set")


# The key-encryption key


def test_a_wrong_key_encryption_key_is_told_from_everything_else(program: Program) -> None:
    found = examined(under(program, NEW), fails=True)
    assert_only(found, "check value", "failed", "did not wrap")
    assert "log" not in found, "without it nothing can be checked"


@pytest.mark.parametrize("setting", ["hex:beef", "nonsense", "passphrase:short"])
def test_a_malformed_one_is_named_and_not_repeated(program: Program, setting: str) -> None:
    found = examined(under(program, setting), fails=True)
    assert levels(found, "failed") == ["key-encryption key"]
    assert "base64" in found["key-encryption key"]["fix"]
    assert setting not in str(found)


def test_production_needs_one(program: Program) -> None:
    program.environment["KEYTURN_ENV"] = "production"
    del program.environment["KEY_STORE_ENCRYPTION_KEY"]
    assert levels(examined(program, fails=True), "failed") == ["key-encryption key"]


def test_a_key_file_that_is_gone_is_missed_and_not_replaced(tmp_path: Path) -> None:
    program = in_development(tmp_path)
    program.run("init")
    key_file(tmp_path).rename(tmp_path / "kept")
    found = examined(program, fails=True)
    assert levels(found, "failed") == ["key-encryption key"]
    assert "put the file back" in found["key-encryption key"]["fix"]
    assert not key_file(tmp_path).exists()


# Files and disks


@pytest.mark.parametrize(
    ("mode", "level", "says"),
    [
        (0o644, "warning", "others may read"),
        (0o622, "failed", "others may write"),
        (0o602, "failed", "others may write"),
    ],
)
def test_data_that_others_may_touch(program: Program, mode: int, level: str, says: str) -> None:
    file = store_file(program)
    file.chmod(mode)
    found = examined(program, fails=level == "failed")
    assert_only(found, "permissions", level, f"{says}{' to' if 'write' in says else ''} {file}")
    subprocess.run(found["permissions"]["fix"].removeprefix("Run: ").split(), check=True)
    assert levels(examined(program, fails=False), "warning") == []


def test_a_directory_in_which_others_may_exchange_files(program: Program) -> None:
    directory = store_file(program).parent
    directory.chmod(0o777)
    found = examined(program, fails=True)
    assert_only(found, "permissions", "failed", f"may exchange what is in {directory}")
    directory.chmod(0o700)
    examined(program, fails=False)


def test_a_key_file_that_others_may_read(tmp_path: Path) -> None:
    program = in_development(tmp_path)
    program.run("init")
    key_file(tmp_path).chmod(0o640)
    found = examined(program, fails=True)
    assert levels(found, "failed") == ["key-encryption key", "permissions"]
    assert str(key_file(tmp_path)) in found["permissions"]["found"]


def test_a_private_key_for_tls_that_others_may_read(program: Program, tmp_path: Path) -> None:
    for name in ("cert", "key"):
        (tmp_path / name).write_text("PEM")
        program.environment[f"KEYTURN_TLS_{name.upper()}"] = str(tmp_path / name)
    (tmp_path / "key").chmod(0o644)
    assert_only(examined(program, fails=True), "permissions", "failed", str(tmp_path / "key"))


def test_a_disk_that_takes_nothing(program: Program) -> None:
    """Here by a limit on the size of files; a full disk, a quota and a read-only one fail in the same place."""
    script = f"ulimit -f 48; {PROGRAM[0]} -B -c '{PROGRAM[2]}' doctor --json | cat"
    done = subprocess.run(
        ["bash", "-c", script],
        env=program.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    findings = {finding["check"]: finding for finding in json.loads(done.stdout)["findings"]}
    for check in ("temporary disk", "data disk"):
        assert findings[check]["level"] == "failed", done.stdout
        assert "File too large" in findings[check]["found"]
        assert "disk" in findings[check]["fix"]
    assert findings["log"]["level"] == "ok", "reading needs no room"


def test_a_directory_for_temporary_files_that_is_not_there(program: Program, tmp_path: Path) -> None:
    program.environment["TMPDIR"] = str(tmp_path / "absent")
    done = program.process("doctor", "--json")
    temporary = next(each for each in done.json["findings"] if each["check"] == "temporary disk")
    assert str(tmp_path / "absent") not in temporary["found"], "Python takes another one then"


# The store


def test_a_schema_that_was_not_brought_up_to_date(program: Program) -> None:
    with closing(direct(program)) as connection:
        connection.execute("UPDATE meta SET value = '1' WHERE key = 'schema_version'")
    found = examined(program, fails=True)
    assert_only(found, "store", "failed", "version 1")
    assert "keyturn init" in found["store"]["fix"]


def test_a_file_that_is_no_store(program: Program) -> None:
    store_file(program).write_bytes(b"something else".ljust(4_096))
    assert levels(examined(program, fails=True), "failed") == ["store"]


@pytest.mark.parametrize(
    ("statement", "check", "says"),
    [
        (
            "UPDATE log SET entry = CAST(replace(entry, 'local', 'loca1') AS BLOB) WHERE position = 2",
            "log",
            "chain",
        ),
        ("DELETE FROM log WHERE position = 2", "log", "chain breaks"),
        ("DELETE FROM sealed_head", "log", "sealed head is missing"),
        ("UPDATE log SET seal = zeroblob(45) WHERE position = 2", "log", "seal"),
        ("UPDATE log SET details = '{}' WHERE details IS NOT NULL", "log", "details"),
        ("UPDATE rows SET body = replace(body, '\"full\"', '\"read\"') WHERE kind = 'key'", "rows", "key_"),
        ("UPDATE rows SET seal = zeroblob(37) WHERE kind = 'version'", "rows", "key_"),
    ],
)
def test_a_log_or_a_row_that_was_tampered_with(
    program: Program, statement: str, check: str, says: str
) -> None:
    program.run("revoke", program.issue()["key_id"], "--note", "so that there are details")
    with closing(direct(program)) as connection:
        assert connection.execute(statement).rowcount > 0
    found = examined(program, fails=True)
    assert levels(found, "failed") == [check]
    assert says in found[check]["found"]
    assert "backup" in found[check]["fix"]
    after = contents(program)
    examined(program, fails=True)
    assert contents(program) == after, "it only looks"


def test_an_older_row_that_was_put_back(program: Program) -> None:
    key_id = program.issue("--name", "before")["key_id"]
    with closing(direct(program)) as connection:
        query = "SELECT revision, body, seal FROM rows WHERE id = ?"
        older = connection.execute(query, (key_id,)).fetchone()
        program.run("update", key_id, "--name", "after")
        connection.execute("UPDATE rows SET revision = ?, body = ?, seal = ? WHERE id = ?", (*older, key_id))
    assert_only(examined(program, fails=True), "rows", "failed", key_id)


@pytest.mark.parametrize(("hours", "level"), [(0.005, "warning"), (5.0, "failed")])
def test_an_entry_from_the_future(program: Program, hours: float, level: str) -> None:
    written_at(program, hours)
    found = examined(program, fails=level == "failed")
    assert_only(found, "time in the log", level, "ahead of this clock")
    assert "NTP" in found["time in the log"]["fix"]


def test_entries_for_which_nobody_vouches(program: Program) -> None:
    with closing(direct(program)) as connection:
        head = connection.execute("SELECT position, hash, seal FROM sealed_head").fetchone()
        written_at(program, -1.0)
        connection.execute("UPDATE sealed_head SET position = ?, hash = ?, seal = ?", head)
    assert_only(examined(program, fails=False), "sealed head", "warning", "1 entries at the end")


def test_keys_whose_expiry_nobody_records(program: Program) -> None:
    written_at(program, -3.0, expires_in=60)
    assert_only(examined(program, fails=False), "housekeeping", "warning", "1 keys have expired")


# PostgreSQL


@pytest.fixture
def app(postgres_database: PostgresDatabase) -> Program:
    """The program as the restricted role, on a store that was made."""
    prepared_postgres(postgres_database)
    return Program(postgres_database.app_url)


@pytest.fixture
def owner(postgres_database: PostgresDatabase) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres_database.owner_url, autocommit=True) as connection:
        yield connection


def test_a_database_that_is_in_order(app: Program) -> None:
    found = examined(app, fails=False)
    assert levels(found, "warning") == []
    assert APP_ROLE in found["database role"]["found"]
    assert {"database", "database role", "clock", "log", "rows", "check value"} <= found.keys()


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("GRANT INSERT ON keyturn.rows TO keyturn_app", "may write to keyturn.rows"),
        ("GRANT UPDATE ON keyturn.uses TO keyturn_app", "may write to keyturn.uses"),
        ("GRANT TRUNCATE ON keyturn.entries TO keyturn_app", "may write to keyturn.entries"),
        ("GRANT CREATE ON SCHEMA keyturn TO keyturn_app", "may add to the schema"),
        (
            "REVOKE EXECUTE ON FUNCTION keyturn.commit(jsonb) FROM keyturn_app",
            "may not use keyturn.commit(jsonb)",
        ),
        (
            "REVOKE EXECUTE ON FUNCTION keyturn.reseal(jsonb) FROM keyturn_app",
            "may not use keyturn.reseal(jsonb)",
        ),
        ("REVOKE SELECT ON keyturn.last_uses FROM keyturn_app", "may not use keyturn.last_uses"),
    ],
)
def test_a_role_that_may_do_more_or_less_than_it_should(
    app: Program,
    owner: psycopg.Connection[Any],
    postgres_database: PostgresDatabase,
    statement: str,
    says: str,
) -> None:
    owner.execute(statement.encode())
    found = examined(app, fails=True)
    assert_only(found, "database role", "failed", says)
    assert f"--grant-to {APP_ROLE}" in found["database role"]["fix"]
    mended = Program(postgres_database.owner_url).run("init", "--grant-to", APP_ROLE)
    assert mended.status == 0, mended.err
    assert levels(examined(app, fails=False), "warning") == []


def test_a_role_that_owns_the_schema_or_is_a_superuser(
    app: Program, postgres_database: PostgresDatabase
) -> None:
    found = examined(Program(postgres_database.owner_url), fails=True)
    assert_only(found, "database role", "failed", "owns keyturn.")
    assert "CREATE ROLE" in found["database role"]["fix"]
    found = examined(Program(postgres_database.superuser_url), fails=True)
    assert_only(found, "database role", "failed", "is a superuser")


def test_a_role_that_may_read_nothing_at_all(app: Program, owner: psycopg.Connection[Any]) -> None:
    owner.execute("REVOKE USAGE ON SCHEMA keyturn FROM keyturn_app")
    found = examined(app, fails=True)
    assert_only(found, "store", "failed", "lacks a right")
    assert "grant_to" in found["store"]["fix"]


def test_a_database_without_the_schema_or_without_a_server(postgres_database: PostgresDatabase) -> None:
    found = examined(Program(postgres_database.app_url), fails=True)
    assert_only(found, "store", "failed", "keyturn init")
    found = examined(Program("postgresql://app:hunter2hunter2@127.0.0.1:1/keys"), fails=True)
    assert levels(found, "failed") == ["store"]
    assert "hunter2" not in str(found)


def test_a_server_without_which_commits_may_be_lost(tmp_path: Path) -> None:
    with PostgresServer(fsync="off") as server:
        database = server.create_database()
        prepared_postgres(database)
        assert_only(examined(Program(database.app_url), fails=True), "database", "failed", "fsync")


@pytest.mark.parametrize(
    ("seconds", "level"), [(0.0, Level.OK), (-10.0, Level.WARNING), (3_600.0, Level.FAILED)]
)
def test_a_clock_that_is_not_the_databases(app: Program, seconds: float, level: Level) -> None:
    """The server's clock is the real one; this process's is not."""
    clock = ManualClock(datetime.now(UTC) + timedelta(seconds=seconds))
    settings = settings_from({**app.environment})
    findings = list(
        examine_store(settings, LocalKeyWrapper(Secret(KEK)), clock, lambda what, done, total: None)
    )
    (found,) = (finding for finding in findings if finding.check == "clock")
    assert found.level is level, found


# A server


def at_port(program: Program, port: int) -> Program:
    program.environment["KEYTURN_PORT"] = str(port)
    return program


def test_a_server_that_runs_says_how_far_it_has_read(program: Program) -> None:
    with RunningServer(program.environment["KEYTURN_STORE"]) as server:
        found = examined(at_port(program, server.port), fails=False)
        assert levels(found, "warning") == []
        assert "is ready" in found["server"]["found"]
        assert "wait to be written" in found["server"]["found"]


def test_a_server_that_decides_nothing_any_more(program: Program) -> None:
    with RunningServer(program.environment["KEYTURN_STORE"]) as server:
        with closing(direct(program)) as connection:
            connection.execute(
                "INSERT INTO log (position, entry, seal, hash) SELECT max(position) + 1, entry, seal, hash FROM log"
            )
        while server.call("GET", "/readyz")[0] == 200:
            pass
        found = examined(at_port(program, server.port), fails=True)
        assert levels(found, "failed") == ["log", "server"]
        assert "does not hold" in found["server"]["found"]


class _Other(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None:
        pass


def test_something_else_at_the_servers_address(program: Program) -> None:
    other = HTTPServer(("127.0.0.1", 0), _Other)
    thread = Thread(target=other.serve_forever)
    thread.start()
    try:
        found = examined(at_port(program, other.server_port), fails=False)
    finally:
        other.shutdown()
        thread.join()
        other.server_close()
    assert_only(found, "server", "warning", "is not Keyturn")
