"""A store's files replaced or removed under a running server: nothing more is answered or acknowledged from them."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from keyturn.errors import OutcomeUnknownError, StorageError
from tests.contract.ledger_samples import change_of, entries_only, one_row, plain_row
from tests.contract.ledger_stores import Store
from tests.contract.waiting import until
from tests.running_server import RunningServer, program_environment, run_program

BACKUP = "backup.db"
MESSAGE = "replaced or removed while it was open"


def backed_up(file: Path) -> Path:
    """A copy of the store as `sqlite3 keyturn.db .backup` makes it."""
    copy = file.with_name(BACKUP)
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


def move_a_backup_over(file: Path) -> None:
    file.with_name(BACKUP).replace(file)


def remove_everything(file: Path) -> None:
    for each in file.parent.glob(f"{file.name}*"):
        each.unlink()


def remove_the_log_of_sqlite(file: Path) -> None:
    for suffix in ("-wal", "-shm"):
        file.with_name(file.name + suffix).unlink()


LOSSES = [move_a_backup_over, remove_everything, remove_the_log_of_sqlite]
each_loss = pytest.mark.parametrize("lose", LOSSES)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keyturn.db"


@pytest.fixture
def server(file: Path) -> Iterator[RunningServer]:
    with RunningServer(f"sqlite:///{file}") as running:
        yield running


def revoked(server: RunningServer, key_id: str) -> tuple[int, Any]:
    return server.call("POST", f"/v1/keys/{key_id}/revoke", key=server.first_key)


@each_loss
def test_a_server_that_lost_its_file_acknowledges_nothing_and_soon_answers_nothing(
    server: RunningServer, file: Path, lose: Callable[[Path], None]
) -> None:
    issued = server.issue()
    assert server.verify(issued["key"])["valid"]
    backed_up(file)
    lose(file)
    for status, answer in (
        revoked(server, issued["key_id"]),
        server.call("POST", "/v1/keys", {}, key=server.first_key),
    ):
        assert status == 503, answer
    until(
        lambda: (
            server.call("POST", "/v1/verify", {"key": issued["key"]}, key=server.first_key)[1]["code"]
            == "stale"
        )
    )
    assert server.call("GET", "/readyz")[0] == 503
    assert server.call("GET", "/livez")[0] == 200
    assert MESSAGE in server.stderr


def test_a_backup_restored_as_the_limitations_say_is_what_a_restarted_server_serves(
    server: RunningServer, file: Path
) -> None:
    before = server.issue()
    backed_up(file)
    after = server.issue()
    move_a_backup_over(file)
    assert revoked(server, before["key_id"])[0] == 503
    server.stop()
    remove_the_log_of_sqlite(file)
    server.start()
    assert server.verify(before["key"])["valid"]
    assert server.verify(after["key"])["code"] == "not_found"
    assert revoked(server, before["key_id"])[0] == 200


def test_what_was_acknowledged_before_the_log_of_sqlite_was_removed_survives_an_orderly_end(
    server: RunningServer, file: Path
) -> None:
    issued = server.issue()
    assert revoked(server, issued["key_id"])[0] == 200
    remove_the_log_of_sqlite(file)
    server.stop()
    server.start()
    assert server.verify(issued["key"])["code"] == "revoked"


def test_files_that_are_put_back_are_served_again(server: RunningServer, file: Path) -> None:
    issued = server.issue()
    away = file.parent / "away"
    away.mkdir()
    for each in file.parent.glob("keyturn.db*"):
        each.rename(away / each.name)
    assert revoked(server, issued["key_id"])[0] == 503
    for each in away.iterdir():
        each.rename(file.parent / each.name)
    until(lambda: server.call("GET", "/readyz")[0] == 200)
    assert revoked(server, issued["key_id"])[0] == 200


def test_other_processes_that_come_and_go_are_no_loss(server: RunningServer, file: Path) -> None:
    """Whoever closes the last connection removes the write-ahead log: never while this server is there."""
    environment = program_environment(f"sqlite:///{file}")
    for _ in range(3):
        assert run_program(environment, "issue").returncode == 0
        assert server.issue()["key_id"]
    assert MESSAGE not in server.stderr


@each_loss
def test_nothing_is_read_from_a_lost_file(sqlite: Store, lose: Callable[[Path], None]) -> None:
    file = Path(sqlite.url.removeprefix("sqlite:///"))
    ledger = sqlite.open()
    ledger.commit(change_of(plain_row("row")))
    backed_up(file)
    lose(file)
    for _ in range(10):  # more often than there are connections
        for act in (ledger.head, lambda: one_row(ledger, "row"), lambda: ledger.commit(entries_only(1))):
            with pytest.raises(StorageError, match=MESSAGE) as caught:
                act()
            assert not isinstance(caught.value, OutcomeUnknownError)
    ledger.close()


@each_loss
def test_a_commit_into_a_file_that_is_lost_meanwhile_is_of_unknown_outcome(
    sqlite: Store, lose: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Path(sqlite.url.removeprefix("sqlite:///"))
    ledger: Any = sqlite.open()
    ledger.commit(change_of(plain_row("row")))
    backed_up(file)

    def lose_on_the_way() -> None:
        with ledger._writer.transaction() as connection:
            connection.execute("UPDATE rows SET position = position")
            lose(file)

    with pytest.raises(OutcomeUnknownError, match=MESSAGE):
        lose_on_the_way()
    ledger.close()


def test_a_fork_does_not_let_another_file_take_the_place(sqlite: Store) -> None:
    file = Path(sqlite.url.removeprefix("sqlite:///"))
    ledger: Any = sqlite.open()
    ledger.commit(change_of(plain_row("row")))
    ledger.pause()
    shutil.copy(file, file.with_name(BACKUP))
    move_a_backup_over(file)
    ledger.resume()
    with pytest.raises(StorageError, match=MESSAGE):
        ledger.head()
    ledger.close()


def test_a_store_that_is_gone_is_not_made_anew_while_changes_to_it_are_left(
    server: RunningServer, file: Path, tmp_path: Path
) -> None:
    """Making one would delete SQLite's log, and with it a revocation that stands in it alone."""
    issued = server.issue()
    assert revoked(server, issued["key_id"])[0] == 200
    server.kill()
    elsewhere = file.rename(tmp_path / "elsewhere.db")
    environment = program_environment(f"sqlite:///{file}")
    for command in ("init", "list", "serve"):
        done = run_program(environment, command)
        assert done.returncode != 0, command
        assert "Put the file back beside it." in done.stderr, command
    told = run_program(environment, "doctor")
    assert told.returncode != 0
    assert "changes that were made to it are left in keyturn.db-wal" in told.stdout
    elsewhere.rename(file)
    assert "revoked" in run_program(environment, "verify", given=issued["key"]).stdout
