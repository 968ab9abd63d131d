"""A disk that is full or fails: a clear error, nothing damaged, and on it goes when there is room again."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from sqlite3 import SQLITE_IOERR_FSYNC, OperationalError

import pytest

from keyturn.adapters.ledger.sqlite import SqliteLedger, open_ledger
from keyturn.errors import KeyturnError, OutcomeUnknownError, StorageError, StorageFullError
from keyturn.ports.ledger import Commit, Ledger
from tests.contract.ledger_samples import change_of, checked_entries, entry_of, one_row, plain_row, use_of
from tests.contract.ledger_stores import Store

SPAWN = multiprocessing.get_context("spawn")
ROOM = 200_000  # bytes that a file may still grow


def in_child(act: Callable[[Store], list[str]], store: Store) -> list[str]:
    """What `act` answers in a process of its own, which may restrict itself."""
    reader, writer = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=send_answer, args=(act, store, writer))
    process.start()
    writer.close()
    answer: list[str] = reader.recv()
    process.join(30)
    assert process.exitcode == 0
    return answer


def send_answer(
    act: Callable[[Store], list[str]], store: Store, to: multiprocessing.connection.Connection
) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    to.send(act(store))


def allow_files_of(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def write_ahead_log(store: Store) -> Path:
    return Path(store.url.removeprefix("sqlite:///") + "-wal")


def fill_by_small_commits(store: Store) -> list[str]:
    ledger = store.open()
    ledger.commit(change_of(plain_row("first")))
    allow_files_of(write_ahead_log(store).stat().st_size + ROOM)
    written = 0
    try:
        while True:
            ledger.commit(change_of(plain_row(f"row {written}"), plain_row(f"twin {written}")))
            written += 1
    except StorageError as error:
        failed = type(error).__name__
    reads = [str(ledger.head()), str(one_row(ledger, f"twin {written - 1}") is not None)]
    allow_files_of(resource.RLIM_INFINITY)
    ledger.commit(change_of(plain_row("last")))
    ledger.close()
    return [failed, str(written), *reads]


def test_a_file_that_cannot_grow_loses_nothing_acknowledged(sqlite: Store) -> None:
    failed, text, head, is_there = in_child(fill_by_small_commits, sqlite)
    written = int(text)
    assert failed in {"OutcomeUnknownError", "StorageFullError", "StorageError"}
    assert written > 5
    assert (int(head), is_there) == (written + 1, "True")
    ledger = sqlite.open()
    assert len(checked_entries(ledger)) == written + 2
    assert None not in ledger.read([f"twin {number}" for number in range(written)])
    assert ledger.read([f"row {written}", f"twin {written}"]) == [None, None]
    assert one_row(ledger, "last") is not None
    ledger.close()


def fill_by_one_large_commit(store: Store) -> list[str]:
    """Larger than the cache, so that the disk is met before COMMIT."""
    ledger = store.open()
    ledger.commit(change_of(plain_row("first")))
    allow_files_of(write_ahead_log(store).stat().st_size + ROOM)
    rows = tuple(plain_row(f"row {number}", material=bytes(20_000)) for number in range(2_000))
    change = Commit((), rows, (entry_of(*(row.id for row in rows)),))
    outcomes = []
    for act in (
        lambda: ledger.commit(change),
        lambda: ledger.commit(change_of(plain_row("small"))),
        lambda: allow_files_of(resource.RLIM_INFINITY),
        lambda: ledger.commit(change),
    ):
        try:
            outcomes.append(str(act()))
        except KeyturnError as error:
            outcomes.append(type(error).__name__)
    ledger.close()
    return outcomes


def test_a_large_change_that_does_not_fit_is_rolled_back(sqlite: Store) -> None:
    assert in_child(fill_by_one_large_commit, sqlite) == ["StorageError", "2", "None", "3"]
    ledger = sqlite.open()
    assert len(checked_entries(ledger)) == 3
    assert one_row(ledger, "row 1999") is not None
    ledger.close()


@pytest.fixture
def full(sqlite: Store) -> SqliteLedger:
    """A ledger that SQLite itself says is full: its file must not have more pages than it has."""
    ledger = open_ledger(sqlite.url)
    ledger.commit(change_of(plain_row("first")))
    connection = ledger._writer._connection
    assert connection is not None
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    return ledger


def test_a_full_store_says_so_and_nothing_was_written(full: SqliteLedger) -> None:
    with pytest.raises(StorageFullError, match="full") as caught:
        full.commit(change_of(plain_row("small"), plain_row("large", material=bytes(50_000))))
    assert "space" in caught.value.fix
    assert (full.head(), full.read(["small", "large"])) == (1, [None, None])
    with pytest.raises(StorageFullError):
        full.record_uses([use_of(f"key_{number}") for number in range(5_000)])
    assert full.read_uses("key_0", 0, 99) == []
    connection = full._writer._connection
    assert connection is not None
    connection.execute("PRAGMA max_page_count = 1000000")
    assert full.commit(change_of(plain_row("large", material=bytes(50_000)))) == 2
    full.close()


class FailingConnection:
    """A connection whose COMMIT meets a disk that fails."""

    def __init__(self, connection: object, fail: Callable[[], None], *, is_made: bool) -> None:
        self._connection, self._fail, self._is_made = connection, fail, is_made
        self.commits = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)

    def execute(self, statement: str, *parameters: object) -> object:
        if statement != "COMMIT":
            return self._connection.execute(statement, *parameters)  # type: ignore[attr-defined]
        self.commits += 1
        if self._is_made:
            self._connection.execute("COMMIT")  # type: ignore[attr-defined]
        return self._fail()


@pytest.mark.parametrize("is_made", [True, False])
def test_a_disk_that_fails_during_commit_leaves_the_outcome_open(sqlite: Store, is_made: bool) -> None:
    """SQLite's own error, raised where it cannot be known whether the last bytes reached the disk."""
    ledger = open_ledger(sqlite.url)
    ledger.commit(change_of(plain_row("first")))
    connection = FailingConnection(ledger._writer._connection, fail_as_a_disk_does, is_made=is_made)
    ledger._writer._connection = connection  # type: ignore[assignment]
    with pytest.raises(OutcomeUnknownError):
        ledger.commit(change_of(plain_row("second")))
    assert connection.commits == 1, "never tried again"
    assert ledger._writer._connection is None, "not used again"
    assert ledger.head() == (2 if is_made else 1)
    assert ledger.commit(change_of(plain_row("third"))) == ledger.head()
    assert len(checked_entries(ledger)) == ledger.head()
    ledger.close()


def fail_as_a_disk_does() -> None:
    error = OperationalError("disk I/O error")
    error.sqlite_errorcode = SQLITE_IOERR_FSYNC
    raise error


def test_a_file_that_is_gone_is_missed_and_not_made_anew(sqlite: Store) -> None:
    ledger: Ledger = sqlite.open()
    path = Path(sqlite.url.removeprefix("sqlite:///"))
    ledger.close()
    path.rename(path.with_name("elsewhere.db"))
    with pytest.raises(KeyturnError, match="keyturn init"):
        sqlite.open()
    assert not path.exists()
