"""What only the SQLite adapter promises: its schema and its query plans."""

from __future__ import annotations

import multiprocessing
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from sqlite3 import Connection, connect

import pytest

from keyturn.adapters.ledger.sqlite import initialise, open_ledger
from keyturn.adapters.ledger.sqlite.ledger import _CREDENTIAL, _EXPIRED, _FORGET, _OWNED
from keyturn.adapters.ledger.sqlite.listing import (
    DUE_ROTATIONS,
    PUBLISHED,
    due_keys_statement,
    keys_statement,
    of_kind_statement,
    rotations_statement,
)
from keyturn.adapters.ledger.sqlite.looking import refuse_foreign
from keyturn.errors import ConfigurationError, IntegrityError, SchemaError, StorageError
from keyturn.ports.ledger import Ledger, RotationFilter, RowFilter
from tests.contract.ledger_samples import (
    change_of,
    key_row,
    plain_row,
    use_of,
    version_row,
)
from tests.contract.ledger_stores import LOG_ID, Store, sqlite_store
from tests.contract.older_schemas import LANDED, apply_older

SPAWN = multiprocessing.get_context("spawn")
STARTERS = 8


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyturn.db"


@pytest.fixture
def store(path: Path) -> Store:
    created = sqlite_store(path)
    created.initialise()
    return created


@pytest.fixture
def ledger(store: Store) -> Iterator[Ledger]:
    opened = store.open()
    yield opened
    opened.close()


@pytest.fixture
def direct(path: Path, store: Store) -> Iterator[Connection]:
    """The file, as someone who may write to it sees it."""
    with closing(connect(path, isolation_level=None)) as connection:
        yield connection


def start(url: str, number: int) -> None:
    initialise(url, log_id=f"{number:016}")
    ledger = open_ledger(url)
    ledger.commit(change_of(plain_row(ledger.log_id + str(number))))
    ledger.close()


def test_processes_that_start_at_once_make_one_store(tmp_path: Path) -> None:
    made = sqlite_store(tmp_path / "new" / "keyturn.db")
    starters = [SPAWN.Process(target=start, args=(made.url, number)) for number in range(STARTERS)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join(60)
    assert [starter.exitcode for starter in starters] == [0] * STARTERS
    ledger = made.open()
    assert None not in ledger.read([ledger.log_id + str(number) for number in range(STARTERS)])
    ledger.close()


def test_a_newer_schema_is_refused(store: Store, direct: Connection) -> None:
    direct.execute("UPDATE meta SET value = '7' WHERE key = 'schema_version'")
    store.open().close()  # newer, and yet for programs of this version
    direct.execute("UPDATE meta SET value = '6' WHERE key = 'oldest_program'")
    for act in (store.open, store.initialise):
        with pytest.raises(SchemaError, match="version 7"):
            act()


@pytest.mark.parametrize("version", [1, 2, LANDED["sqlite"]])
def test_an_older_schema_is_brought_up_to_date(path: Path, version: int) -> None:
    store = sqlite_store(path)
    apply_older(store, version)
    with pytest.raises(SchemaError, match=f"version {version}, this program needs 5: run 'keyturn init'"):
        store.open()
    store.initialise()
    with closing(connect(path)) as direct:
        assert dict(direct.execute("SELECT key, value FROM meta WHERE key <> 'log_id'")) == {
            "schema_version": "5",
            "oldest_program": "5",
        }
    ledger = store.open()
    assert ledger.commit(change_of(plain_row("row"))) == 1
    ledger.close()


def test_an_unfinished_schema_is_refused_and_finished(store: Store, direct: Connection) -> None:
    direct.execute("DELETE FROM meta WHERE key = 'log_id'")
    with pytest.raises(SchemaError, match="keyturn init"):
        store.open()
    store.initialise()
    store.open().close()


def foreign_database(path: Path, journal: str) -> None:
    with closing(connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute("CREATE TABLE precious (x)")
        connection.commit()


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
def test_a_database_of_something_else_is_left_alone(path: Path, journal: str) -> None:
    foreign_database(path, journal)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="something else"):
        sqlite_store(path).initialise()
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("contents", [b"root:x:0:0\n", b"SQLite format 2".ljust(4096, b"\0"), bytes(4096)])
def test_a_file_of_something_else_is_left_alone(path: Path, contents: bytes) -> None:
    path.write_bytes(contents)
    with pytest.raises(IntegrityError, match="no SQLite database") as caught:
        sqlite_store(path).initialise()
    assert "another file" in caught.value.fix
    assert path.read_bytes() == contents
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_left_alone(path: Path, make: Callable[[Path], None]) -> None:
    make(path)
    with pytest.raises(StorageError, match="is no file"):
        sqlite_store(path).initialise()
    assert list(path.parent.iterdir()) == [path]


def test_looking_at_a_store_drops_no_lock_of_this_process_on_it(path: Path, store: Store) -> None:
    with closing(connect(path)) as connection:
        connection.execute("SELECT * FROM meta").fetchall()
        refuse_foreign(path)
        other = f"import sqlite3; sqlite3.connect({str(path)!r}, timeout=0).execute('PRAGMA journal_mode = DELETE')"
        done = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True, check=False)
        assert "locked" in done.stderr


@pytest.mark.parametrize("name", ["schema_version", "oldest_program"])
@pytest.mark.parametrize("value", ["abc", "", "-1", "1.5", "٣", "9" * 5_000])
def test_a_version_that_is_no_number_fails_integrity(
    store: Store, direct: Connection, name: str, value: str
) -> None:
    direct.execute("UPDATE meta SET value = ? WHERE key = ?", (value, name))
    for act in (store.open, store.initialise):
        with pytest.raises(IntegrityError, match=name):
            act()


def test_an_empty_file_is_an_uninitialised_store(path: Path) -> None:
    path.touch(mode=0o600)
    with pytest.raises(SchemaError, match="keyturn init"):
        sqlite_store(path).open()
    sqlite_store(path).initialise()
    sqlite_store(path).open().close()


def test_a_role_to_grant_to_is_refused(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="roles"):
        initialise(f"sqlite:///{path}", log_id=LOG_ID, grant_to="keyturn_app")


def test_index_columns_cannot_be_written(ledger: Ledger, direct: Connection) -> None:
    ledger.commit(change_of(key_row("key_a", owner="ann", tags=["t"]), version_row("key_a", 1, "cred")))
    for column in ("credential_id", "key_id", "owner", "owner_row", "type", "state", "expires_at", "name"):
        with pytest.raises(Exception, match="generated column"):
            direct.execute(f"UPDATE rows SET {column} = 'x'")


# -- its query plans: what they search, not what they scan, or a million keys would be felt


def plan(direct: Connection, statement: str, parameters: object) -> str:
    found = direct.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()  # type: ignore[arg-type]
    return "; ".join(step[-1] for step in found)


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ({}, "rows_newest (tenant=?)"),
        ({"before": 5}, "rows_newest (tenant=? AND created<?)"),
        ({"before": 5, "q": "x", "scope": "read"}, "rows_newest (tenant=? AND created<?)"),
        ({"state": "active"}, "rows_newest (tenant=?)"),
        ({"before": 5, "state": "revoked"}, "rows_newest_in_state (tenant=? AND state=? AND created<?)"),
        ({"before": 5, "state": "active", "type": "rsa"}, "rows_newest_of_type (tenant=? AND type=? AND created<?)"),
        ({"before": 5, "type": "rsa"}, "rows_newest_of_type (tenant=? AND type=? AND created<?)"),
        ({"before": 5, "owner": "a", "tag": "t"}, "rows_newest_of_owner (tenant=? AND owner=? AND created<?)"),
    ],
)  # fmt: skip
def test_lists_walk_along_an_index_in_order(
    direct: Connection, wanted: dict[str, object], index: str
) -> None:
    steps = plan(direct, *keys_statement(RowFilter(tenant="t", **wanted), 10))  # type: ignore[arg-type]
    assert steps.startswith(f"SEARCH r USING INDEX {index}")
    assert "SCAN r" not in steps
    assert "TEMP B-TREE" not in steps


def test_a_list_by_tag_walks_along_the_tag(direct: Connection) -> None:
    steps = plan(direct, *keys_statement(RowFilter(tenant="t", tag="x", state="active", before=5), 10))
    assert steps.startswith(
        "SEARCH g USING PRIMARY KEY (tenant=? AND tag=? AND created<?); SEARCH r USING INDEX"
    )
    assert "TEMP B-TREE" not in steps


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (due_keys_statement("p"), "rows_due_by_policy (tenant=? AND <expr>=? AND <expr>>? AND <expr><?)"),
        (due_keys_statement(None), "rows_due_by_type (tenant=? AND type=? AND <expr>>? AND <expr><?)"),
        (
            rotations_statement(RotationFilter(tenant="t", before=9), 9)[0],
            "rows_rotations (tenant=? AND created<?)",
        ),
        (
            rotations_statement(RotationFilter(tenant="t", policy_id="p", before=9), 9)[0],
            "rows_rotations_of_policy (tenant=? AND <expr>=? AND created<?)",
        ),
        (
            rotations_statement(RotationFilter(tenant="t", key_id="k", before=9), 9)[0],
            "rows_rotations_of_key (tenant=? AND <expr>=? AND created<?)",
        ),
        (
            rotations_statement(RotationFilter(tenant="t", policy_id="p", stage="staged", before=9), 9)[0],
            "rows_rotations_in_stage (tenant=? AND <expr>=? AND created<?)",
        ),
        (
            rotations_statement(RotationFilter(tenant="t", policy_id="p", stage="completed", before=9), 9)[0],
            "rows_rotations_of_policy (tenant=? AND <expr>=? AND created<?)",
        ),
        (
            rotations_statement(RotationFilter(tenant="t", stage="completed", before=9), 9)[0],
            "rows_rotations_in_stage (tenant=? AND <expr>=? AND created<?)",
        ),
        (of_kind_statement("policy", None, 9, 9)[0], "rows_policies (created<?)"),
        (of_kind_statement("policy", "t", 9, 9)[0], "rows_policies_of_tenant (tenant=? AND created<?)"),
        (of_kind_statement("endpoint", None, 9, 9)[0], "rows_endpoints (created<?)"),
        (of_kind_statement("endpoint", "t", 9, 9)[0], "rows_endpoints_of_tenant (tenant=? AND created<?)"),
    ],
)
def test_what_is_due_is_walked_along_an_index_in_order(
    direct: Connection, statement: str, index: str
) -> None:
    names = ("tenant", "before", "time", "id", "limit", "policy_id", "type", "key_id", "stage")
    steps = plan(direct, statement, dict.fromkeys(names, 1))
    assert steps == f"SEARCH rows USING INDEX {index}"


@pytest.mark.parametrize("statement", [_CREDENTIAL, _OWNED, _EXPIRED, _FORGET, DUE_ROTATIONS, PUBLISHED])
def test_no_other_statement_scans_the_rows(direct: Connection, statement: str) -> None:
    steps = plan(
        direct, statement, ["1"] * len(set(re.findall(r"\?\d", statement)) or statement.split("?")[1:])
    )
    assert "SEARCH" in steps
    assert "SCAN" not in steps


def test_uses_are_found_by_key(ledger: Ledger, direct: Connection) -> None:
    ledger.record_uses([use_of("key_a")])
    steps = plan(
        direct, "SELECT sum(count) FROM usage WHERE key_id = ? AND minute BETWEEN ? AND ?", ("a", 1, 2)
    )
    assert steps == "SEARCH usage USING PRIMARY KEY (key_id=? AND minute>? AND minute<?)"
