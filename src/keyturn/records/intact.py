"""Reading what many tenants have, each row on its own: one that cannot be read keeps no other from its turn."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from keyturn.errors import IntegrityError, KeysUnavailableError, KeyturnError, StorageError
from keyturn.measures import Tally
from keyturn.ports.ledger import Row
from keyturn.records.records import Records
from keyturn.records.rows import OpenedRow

_TOLD: Final = 1_000  # problems that are remembered, so that each is logged once
_log = logging.getLogger("keyturn.records")
_T = TypeVar("_T")


class Intact:
    """Opens rows, and leaves out what does not hold or says nothing that this process can use.

    Attributes:
        left_out: how often something was, by kind of row.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._told: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self.left_out = Tally()

    def read(self, rows: Sequence[Row], value_of: Callable[[Mapping[str, Any]], _T]) -> list[_T]:
        """What those of the rows say that can be read, in order; StorageError where the store does not answer."""
        return self.read_whole(rows, lambda opened: value_of(opened.body))

    def read_whole(self, rows: Sequence[Row], value_of: Callable[[OpenedRow], _T]) -> list[_T]:
        """The same where a value takes more of a row than its body, such as its material."""
        return self._values(self._opened(rows), value_of)

    def named(self, row_ids: Sequence[str], value_of: Callable[[Mapping[str, Any]], _T]) -> list[_T]:
        """The same of the rows of these ids, at most 1,000, where they exist."""
        return self._values(self._got(row_ids), lambda opened: value_of(opened.body))

    def _values(self, found: Sequence[OpenedRow], value_of: Callable[[OpenedRow], _T]) -> list[_T]:
        values = []
        for opened in found:
            try:
                values.append(value_of(opened))
            except KeyturnError as error:
                self.leave_out(opened.row.kind, opened.row.id, error)
        return values

    def _got(self, row_ids: Sequence[str]) -> list[OpenedRow]:
        try:
            return [each for each in self._records.get_many(row_ids) if each is not None]
        except (IntegrityError, KeysUnavailableError):
            self._records.log.require_whole()
        opened: list[OpenedRow] = []
        for row_id in row_ids:
            try:
                found = self._records.get(row_id)
            except (IntegrityError, KeysUnavailableError) as error:
                self.leave_out("row", row_id, error)
                continue
            if found is not None:
                opened.append(found)
        return opened

    def _opened(self, rows: Sequence[Row]) -> list[OpenedRow]:
        try:
            return self._records.open_all(rows)
        except (IntegrityError, KeysUnavailableError):
            self._records.log.require_whole()
        opened: list[OpenedRow] = []
        for row in rows:
            try:
                opened += self._records.open_all((row,))
            except (IntegrityError, KeysUnavailableError) as error:
                self.leave_out(row.kind, row.id, error)
        return opened

    def leave_out(self, kind: str, row_id: str, error: Exception) -> None:
        """Count, and say once, that nothing is done with a row for now. IntegrityError where the log is broken."""
        self._records.log.require_whole()
        self.left_out.add(kind)
        problem = str(error) if isinstance(error, KeyturnError) else type(error).__name__
        with self._lock:
            if (row_id, problem) in self._told or len(self._told) >= _TOLD:
                return
            self._told.add((row_id, problem))
        is_bug = not isinstance(error, KeyturnError)
        _log.warning("the %s %s is left out: %s", kind, row_id, problem, exc_info=error if is_bug else None)


def is_of_the_store(error: Exception) -> bool:
    """Whether an error is about the store as a whole, so that going on with the next row makes no sense."""
    return isinstance(error, StorageError) and not isinstance(error, KeysUnavailableError)
