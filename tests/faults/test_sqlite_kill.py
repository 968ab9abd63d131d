"""kill -9 in the middle of commits: what was acknowledged stays, and nothing is there by half."""

from __future__ import annotations

import queue
import threading
from contextlib import closing
from functools import partial
from sqlite3 import connect
from typing import Any

import pytest

from keyturn.ports.ledger import Commit, Ledger, NewEntry, Position
from tests.contract.ledger_stores import Store
from tests.faults.kill_loop import Acknowledged, kill_writers, problems_of

KILLS = 120


class Wrong:
    """A ledger that reads as it should and, in subclasses, commits as it should not."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ledger, name)


class Hasty(Wrong):
    """Acknowledges a commit before it is made."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger)
        self._next = ledger.head()
        self._waiting: queue.SimpleQueue[Commit] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def commit(self, commit: Commit) -> Position:
        self._waiting.put(commit)
        self._next += 1
        return self._next

    def _work(self) -> None:
        while True:
            self.ledger.commit(self._waiting.get())


class Torn(Wrong):
    """Writes the entry with the shared row, and the new row afterwards."""

    def commit(self, commit: Commit) -> Position:
        new, shared = commit.rows
        (entry,) = commit.entries
        position = self.ledger.commit(Commit((), (shared,), (_naming(entry, shared.id),)))
        self.ledger.commit(Commit((), (new,), (_naming(entry, new.id),)))
        return position


def _naming(entry: NewEntry, row: str) -> NewEntry:
    return NewEntry(entry.entry, entry.seal, entry.details, (row,))


def open_wrong(kind: type[Wrong], store: Store) -> Any:
    return kind(store.open())


def test_killed_writers_lose_nothing_that_was_acknowledged(sqlite: Store) -> None:
    acknowledged = kill_writers(sqlite.open, kills=KILLS, seed=3)
    assert len(acknowledged) >= KILLS
    ledger = sqlite.open()
    assert problems_of(ledger, acknowledged) == []
    ledger.close()
    with closing(connect(sqlite.url.removeprefix("sqlite:///"))) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("kind", [Hasty, Torn])
def test_a_wrong_ledger_is_found_out(sqlite: Store, kind: type[Wrong]) -> None:
    acknowledged = kill_writers(partial(open_wrong, kind, sqlite), kills=15, seed=4)
    ledger = sqlite.open()
    problems = problems_of(ledger, acknowledged)
    ledger.close()
    assert problems
    if kind is Hasty:
        assert "was acknowledged" in problems[0]


def test_the_checker_misses_no_single_loss(sqlite: Store) -> None:
    acknowledged = kill_writers(sqlite.open, kills=2, seed=5)
    ledger = sqlite.open()
    beyond = ledger.head() + 1
    assert problems_of(ledger, [*acknowledged, Acknowledged(beyond, "9.9")]) == [
        f"9.9 was acknowledged at {beyond} and is not there"
    ]
    ledger.close()
