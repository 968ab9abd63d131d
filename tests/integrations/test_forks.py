"""Processes that fork: each follows the log by itself, none waits for its parent's locks, and each use counts once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from keyturn import SecureKeyGenerator, SecureKeyStore
from tests.contract.postgres_server import PostgresDatabase
from tests.http.served import Served
from tests.integrations.conftest import WAYS, guard_options
from tests.integrations.running_app import ROOT, RunningApp
from tests.running_server import KEK, prepared_postgres

WORKERS: Final = 3
BOUND: Final = 1.0
CHILDREN: Final = 10

_PRELOADED: Final = "tests.integrations.applications.preloaded_app:app"


def preloaded(guard: dict[str, Any], early: str) -> RunningApp:
    more = ("--preload", "--workers", str(WORKERS))
    return RunningApp("flask", guard, module=_PRELOADED, more=more, EARLY=early)


def uses_of(served: Served, key_id: str) -> int:
    with served.node() as node:
        return node.usage.of(key_id, node.clock.now()).total


@pytest.mark.parametrize("way", WAYS)
def test_workers_whose_parent_has_verified_answer_and_refuse(served: Served, way: str) -> None:
    early, later = served.issue(), served.issue()
    with preloaded(guard_options(served, way), early["key"]) as app:
        answered = 0
        pids: set[int] = set()
        while len(pids) < WORKERS:
            pids.add(app.get("/any", early["key"]).ok()["pid"])
            assert app.get("/any", later["key"]).status == 200
            answered += 1
        assert app.pid not in pids
        served.act(later["key_id"], "revoke").ok()
        time.sleep(BOUND)
        for _ in range(10 * WORKERS):
            app.get("/any", later["key"]).problem(401, "revoked")
        assert app.stop() == 0
        assert "Traceback" not in app.written
    if way == WAYS[0]:
        # Three in the parent, before there were workers; neither lost nor written by each of them.
        assert uses_of(served, early["key_id"]) == 3 + answered


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, SecureKeyStore]]:
    """An initialised store: its URL, and open here."""
    url = f"sqlite:///{tmp_path / 'keys.db'}"
    if request.param == "postgres":
        database: PostgresDatabase = request.getfixturevalue("postgres_database")
        prepared_postgres(database)
        url = database.app_url
    with SecureKeyStore.open(url, KEK) as opened:
        yield url, opened


def test_forks_in_the_middle_of_work_leave_both_sides_working(store: tuple[str, SecureKeyStore]) -> None:
    url, opened = store
    key = SecureKeyGenerator().generate_api_key()
    opened.store_key(key)
    environment = {
        **os.environ, "GUARD": json.dumps({"url": url}), "EARLY": key.secret.reveal(),
        "KEY_STORE_ENCRYPTION_KEY": f"hex:{KEK.hex()}",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "tests.integrations.forking", str(CHILDREN)],
        env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert opened.get_usage_statistics(key.key_id).total == int(done.stdout)
