"""Ledgers that break a promise: a test of the promise must find them out."""

from __future__ import annotations

import queue
import threading
from typing import Any

from keyturn.ports.ledger import Commit, Ledger, NewEntry, Position
from tests.contract.ledger_stores import Store


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
        self._order = threading.Lock()
        self._waiting: queue.SimpleQueue[Commit] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def commit(self, commit: Commit) -> Position:
        with self._order:
            self._waiting.put(commit)
            self._next += len(commit.entries)
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
    """Open a store wrongly; can be sent to another process with `partial`."""
    return kind(store.open())
