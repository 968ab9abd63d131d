"""What only the SQLite adapter promises: its URL, its file, its connections."""

from __future__ import annotations

import multiprocessing
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from sqlite3 import Connection, connect

import pytest

from keyturn.adapters.ledger.sqlite import initialise, open_ledger
from keyturn.adapters.ledger.sqlite.connecting import connect_for_reading, connect_for_writing
from keyturn.errors import ConfigurationError, IntegrityError, StorageError
from keyturn.ports.ledger import Ledger, NewRow, Reseal
from tests.contract.ledger_samples import (
    change_of,
    entries_only,
    one_row,
    plain_row,
)
from tests.contract.ledger_stores import LOG_ID, Store, sqlite_store

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


def test_a_relative_path_is_taken_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    initialise("sqlite:///some/where.db", log_id=LOG_ID)
    assert (tmp_path / "some" / "where.db").exists()
    ledger = open_ledger("sqlite:///some/where.db")
    monkeypatch.chdir("/")
    assert ledger.commit(entries_only(1)) == 1
    ledger.close()


def test_odd_characters_in_a_path_are_part_of_it(tmp_path: Path) -> None:
    for name in ("a b#c%3Fd.db", "é'.db", "50%25.db"):
        initialise(f"sqlite:///{tmp_path}/{name}", log_id=LOG_ID)
        open_ledger(f"sqlite:///{tmp_path}/{name}").close()
    assert {file.name for file in tmp_path.glob("*.db")} == {"a b#c?d.db", "é'.db", "50%.db"}


@pytest.mark.parametrize("url", ["sqlite:///:memory:", "sqlite://", "sqlite:///", "sqlite://:memory:"])
def test_a_ledger_in_memory_is_refused_with_what_to_write_instead(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        initialise(url, log_id=LOG_ID)
    assert "sqlite:////absolute.db" in caught.value.fix


@pytest.mark.parametrize(
    "url", ["sqlite:data.db", "sqlite://data.db", "file:///data.db", "sqlite:///a.db?mode=ro"]
)
def test_other_forms_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="SQLite"):
        open_ledger(url)


def test_nobody_else_can_read_what_was_made(tmp_path: Path) -> None:
    (tmp_path / "present").mkdir(mode=0o755)
    made = sqlite_store(tmp_path / "present" / "data" / "deep" / "keyturn.db")
    made.initialise()
    ledger = made.open()
    ledger.commit(entries_only(1))
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.rglob("*")}
    ledger.close()
    assert modes.pop("present") == 0o755
    assert (modes.pop("data"), modes.pop("deep")) == (0o700, 0o700)
    assert set(modes) == {f"keyturn.db{suffix}" for suffix in ("", "-wal", "-shm", ".lock", ".lock-next")}
    assert set(modes.values()) == {0o600}


def test_a_path_that_cannot_be_used_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "keyturn.db", tmp_path):
        with pytest.raises(StorageError) as caught:
            sqlite_store(path).initialise()
        assert caught.value.fix


def test_a_file_that_is_no_database_or_is_damaged_fails_integrity(path: Path, store: Store) -> None:
    ledger = store.open()
    for number in range(50):
        ledger.commit(change_of(plain_row(f"row {number}", material=bytes(500))))
    ledger.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"\xff" * (len(whole) - 8192))
    with pytest.raises(IntegrityError):
        store.open()
    path.write_bytes(b"no database at all".ljust(4096, b"."))
    with pytest.raises(IntegrityError):
        store.open()


def test_destroyed_material_vanishes_from_every_file(path: Path, ledger: Ledger) -> None:
    secret, other = b"MATERIAL THAT MUST GO" * 3, b"MATERIAL THAT STAYS" * 3
    ledger.commit(change_of(plain_row("a", material=secret), plain_row("b", material=other)))
    ledger.commit(change_of(plain_row("c", material=secret * 500)))  # on pages of its own

    def contents() -> bytes:
        return b"".join(file.read_bytes() for file in path.parent.glob("keyturn.db*"))

    assert secret in contents()
    ledger.commit(change_of(plain_row("a", 2), plain_row("c", 2)))
    assert secret not in contents()
    assert other in contents()


def test_so_do_material_that_was_sealed_anew_and_wrapped_keys_that_were_wrapped_anew(
    path: Path, ledger: Ledger
) -> None:
    """Whoever has the old data key, or the old key-encryption key, must not find in the file what it opens."""
    sealed, wrapped = b"SEALED UNDER THE OLD ONE" * 3, "WRAPPED BY THE OLD ONE" * 3

    def keyring(revision: int, text: str) -> NewRow:
        return NewRow("keyring", "keyring", "system", revision, f'{{"deks": "{text}"}}', bytes(37), None)

    def is_there(text: bytes) -> bool:
        return any(text in file.read_bytes() for file in path.parent.glob("keyturn.db*"))

    ledger.commit(change_of(plain_row("a", material=sealed), keyring(1, wrapped)))
    row = one_row(ledger, "a")
    assert row is not None
    assert is_there(sealed)
    assert ledger.reseal([Reseal(row, row.seal, b"under the new one")]) == 1
    assert not is_there(sealed)
    assert is_there(wrapped.encode())
    ledger.commit(change_of(keyring(2, "new")))
    assert not is_there(wrapped.encode())


def test_material_vanishes_later_where_a_reader_was_in_the_way(
    path: Path, ledger: Ledger, direct: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyturn.adapters.ledger.sqlite.writing._SCRUB_EVERY", 0.0)
    secret = b"MATERIAL THAT MUST GO" * 3
    ledger.commit(change_of(plain_row("a", material=secret)))
    direct.execute("BEGIN")
    direct.execute("SELECT * FROM rows").fetchall()
    ledger.commit(change_of(plain_row("a", 2)))
    assert any(secret in file.read_bytes() for file in path.parent.glob("keyturn.db*"))
    direct.execute("COMMIT")
    ledger.commit(entries_only(1))
    assert not any(secret in file.read_bytes() for file in path.parent.glob("keyturn.db*"))


def test_commits_reach_the_disk_before_they_return(path: Path, store: Store) -> None:
    with closing(connect_for_writing(path)) as connection:
        found = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "secure_delete")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1}


def test_connections_for_reading_cannot_write(path: Path, store: Store) -> None:
    with closing(connect_for_reading(path, 1.0)) as connection, pytest.raises(Exception, match="readonly"):
        connection.execute("DELETE FROM meta")


def test_a_schema_is_not_trusted_where_sqlite_can_do_without(path: Path, store: Store) -> None:
    with closing(connect_for_writing(path)) as connection:
        flags = "SELECT flags & 0x200000 FROM pragma_function_list WHERE name = 'json_extract'"
        is_innocuous = bool(connection.execute(flags).fetchone()[0])
        assert connection.execute("PRAGMA trusted_schema").fetchone() == (int(not is_innocuous),)


def test_more_threads_than_connections_read_at_once(ledger: Ledger) -> None:
    ledger.commit(change_of(plain_row("row")))
    found: list[object] = []

    def read() -> None:
        found.extend(one_row(ledger, "row") for _ in range(50))

    threads = [threading.Thread(target=read) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 800
    assert None not in found


def test_a_closed_ledger_says_so(ledger: Ledger) -> None:
    ledger.close()
    for act in (ledger.head, lambda: ledger.commit(entries_only(1))):
        with pytest.raises(StorageError, match="closed"):
            act()
    ledger.wait_for_news(10.0)
