"""`keyturn serve`: what it prints, what it refuses, and how it ends."""

from __future__ import annotations

import re
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.cli.program import PROGRAM, TOKEN, Program
from tests.contract.postgres_server import APP_ROLE, PostgresDatabase
from tests.contract.waiting import until
from tests.running_server import RunningServer, prepared_postgres

KEK = "hex:" + "cd" * 32


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'keys.db'}"


@pytest.fixture
def server(url: str) -> Iterator[RunningServer]:
    with RunningServer(url) as running:
        yield running


def test_the_first_start_makes_the_store_and_shows_its_key_once(server: RunningServer) -> None:
    shown = server.stdout
    assert TOKEN.findall(shown) == [server.first_key]
    assert server.first_key in shown.splitlines()
    assert server.verify(server.first_key)["valid"]
    for address in re.findall(r"http://\S+", shown):
        if address.endswith("/docs"):
            with urlopen(address, timeout=30) as page:
                assert page.status == 200
            break
    else:
        pytest.fail(f"no address of the documentation:\n{shown}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_order_and_writes_what_it_counted(
    server: RunningServer, url: str, number: signal.Signals
) -> None:
    issued = server.issue()
    for _ in range(3):
        assert server.verify(issued["key"])["valid"]
    process = server._process
    assert process is not None
    process.send_signal(number)
    assert process.wait(30) == 0
    assert "Traceback" not in server.stderr
    assert Program(url).json("usage", issued["key_id"])["total"] == 3


@pytest.mark.parametrize("times", [1, 2])
def test_it_ends_without_a_traceback_while_a_request_is_unfinished(server: RunningServer, times: int) -> None:
    process = server._process
    assert process is not None
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        head = b"POST /v1/keys HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        client.sendall(head)
        assert server.call("GET", "/livez")[0] == 200
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            until(lambda: "Shutting down" in server.stderr)
        assert process.wait(30) == 0
    assert "Traceback" not in server.stderr
    assert "Error" not in server.stderr


def test_a_later_start_shows_no_key_and_how_to_issue_another(server: RunningServer, url: str) -> None:
    first = server.first_key
    server.stop()
    server.start()
    assert TOKEN.findall(server.stdout) == []
    assert "keyturn issue --type provisioning" in server.stdout
    assert server.verify(first)["valid"]


def test_no_secret_reaches_the_log(server: RunningServer) -> None:
    issued = server.issue()
    server.verify(issued["key"])
    server.verify(issued["key"][:-1] + "x")
    server.stop()
    assert TOKEN.findall(server.stderr) == []


def test_what_the_command_line_revokes_a_running_server_refuses(server: RunningServer, url: str) -> None:
    issued = server.issue(owner="acme")
    assert server.verify(issued["key"])["valid"]
    began = time.monotonic()
    assert Program(url).process("revoke", issued["key_id"], "--wait").status == 0
    assert time.monotonic() - began >= 1.0
    assert server.verify(issued["key"])["code"] == "revoked"


def test_what_the_command_line_issues_a_running_server_accepts(server: RunningServer, url: str) -> None:
    assert server.verify(Program(url).issue()["key"])["valid"]


def test_it_says_whose_word_counts_for_where_requests_come_from(url: str) -> None:
    with RunningServer(url, KEYTURN_TRUSTED_PROXIES="10.0.0.0/8,127.0.0.1/32") as server:
        assert "Trusted proxies: 10.0.0.0/8, 127.0.0.1\n" in server.stdout
        server.stop()
    with RunningServer(url) as server:
        assert "proxies" not in server.stdout


def test_a_taken_port_is_refused_before_the_store_is_made(fresh: Program, tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        done = fresh.process("serve", "--port", str(port))
    assert (done.status, done.out) == (1, "")
    assert f"cannot listen on 127.0.0.1 port {port}" in done.err
    assert "fix:" in done.err
    assert list(tmp_path.iterdir()) == []


def test_it_logs_which_log_it_serves(server: RunningServer, url: str, tmp_path: Path) -> None:
    """Another store under the same key-encryption key, put in this one's place, is served too: this tells."""
    log_id = server.verify(server.first_key)["as_of"].partition(":")[0]
    assert f"the store's log is {log_id}:" in server.stderr
    assert Program(f"sqlite:///{tmp_path / 'other.db'}").run("init").status == 0
    server.stop()
    (tmp_path / "other.db").replace(tmp_path / "keys.db")
    server.start()
    last = [line for line in server.stderr.splitlines() if "the store's log is" in line][-1]
    assert log_id not in last


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", ""])
def test_development_keeps_to_loopback(fresh: Program, tmp_path: Path, host: str) -> None:
    done = fresh.run("serve", "--host", host)
    assert (done.status, done.out) == (1, "")
    assert "KEYTURN_ENV=production" in done.err
    assert list(tmp_path.iterdir()) == []


def test_loopback_has_a_name(url: str) -> None:
    program = Program(url, KEYTURN_HOST="localhost")
    with subprocess.Popen(
        [*PROGRAM, "serve"], env=program.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:  # fmt: skip
        assert process.stdout is not None
        address = next(line for line in process.stdout if line.startswith("API:")).split()[1]
        assert re.fullmatch(r"http://(127\.0\.0\.1|\[::1\]):[0-9]+", address)
        with urlopen(f"{address}/livez", timeout=30) as answer:
            assert answer.status == 200
        process.terminate()
        assert process.wait(30) == 0


def test_a_port_is_a_number_in_range(fresh: Program) -> None:
    for port in ("70000", "-1", "http"):
        assert fresh.run("serve", "--port", port).status == 2


def test_production_serves_a_store_that_was_made_and_makes_none(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'keys.db'}"
    program = Program(url, KEYTURN_ENV="production")
    for made in (False, True):
        if made:
            (tmp_path / "keys.db").touch()  # an empty file is no store either
        done = program.run("serve")
        assert (done.status, done.out) == (1, "")
        assert "keyturn init" in done.err
    first = TOKEN.findall(program.run("init").out)[0]
    with RunningServer(url, first_key=first, KEYTURN_ENV="production") as server:
        assert TOKEN.findall(server.stdout) == []
        assert server.verify(first)["valid"]


@pytest.mark.parametrize("wipe", ["DROP TABLE meta", "DELETE FROM meta", "DELETE FROM {table}", "VACUUM"])
def test_production_makes_no_store_in_a_file_that_was_wiped(tmp_path: Path, wipe: str) -> None:
    file = tmp_path / "keys.db"
    program = Program(f"sqlite:///{file}", KEYTURN_ENV="production")
    if wipe != "VACUUM":  # which makes a database without any table
        assert program.run("init").status == 0
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for table in ("rows", "log", "sealed_head", "snapshot") if "{table}" in wipe else ("",):
            connection.execute(wipe.format(table=table))
        before = list(connection.iterdump())
    done = program.run("serve")
    assert (done.status, done.out) == (1, "")
    assert "keyturn init" in done.err
    with closing(sqlite3.connect(file)) as connection:
        assert list(connection.iterdump()) == before


def test_production_wants_a_key_encryption_key(tmp_path: Path) -> None:
    program = Program(f"sqlite:///{tmp_path / 'keys.db'}", KEYTURN_ENV="production")
    del program.environment["KEY_STORE_ENCRYPTION_KEY"]
    done = program.run("init")
    assert done.status == 1
    assert "KEY_STORE_ENCRYPTION_KEY" in done.err


def test_a_wrong_key_encryption_key_is_refused_at_the_door(program: Program) -> None:
    program.environment["KEY_STORE_ENCRYPTION_KEY"] = KEK
    done = program.process("serve")
    assert (done.status, done.out) == (1, "")
    assert "key-encryption key" in done.err
    assert "Traceback" not in done.err


def test_it_serves_postgresql(postgres_database: PostgresDatabase) -> None:
    first = prepared_postgres(postgres_database)
    with RunningServer(postgres_database.app_url, first_key=first) as server:
        assert f"{APP_ROLE}" not in server.stdout
        issued = server.issue()
        app = Program(postgres_database.app_url)
        app.json("revoke", issued["key_id"], "--wait")
        assert server.verify(issued["key"])["code"] == "revoked"
        assert server.stop() == 0
