"""Reading rows of which some may not hold: each on its own, so that one of them keeps no other from its turn."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from keyturn.errors import IntegrityError, KeyturnError, StorageError
from keyturn.ports.ledger import Row
from keyturn.records.records import Records
from keyturn.records.rows import OpenedRow

_log: Final = logging.getLogger("keyturn.announcing")
_T = TypeVar("_T")


def listed(records: Records, rows: Sequence[Row], read: Callable[[Mapping[str, Any]], _T]) -> Iterator[_T]:
    """What `read` makes of those rows of a listing that hold; the others are reported where they are found."""
    try:
        opened = records.open_all(rows)
    except IntegrityError:
        records.log.require_whole()
        opened = [each for row in rows for each in _opened(records, row)]
    for each in opened:
        yield from _read(each, read)


def named(records: Records, row_ids: Sequence[str], read: Callable[[Mapping[str, Any]], _T]) -> Iterator[_T]:
    """The same of the rows of these ids (at most 1,000), where they exist."""
    try:
        opened = records.get_many(row_ids)
    except IntegrityError:
        records.log.require_whole()
        opened = [each for row_id in row_ids for each in _got(records, row_id)]
    for each in opened:
        if each is not None:
            yield from _read(each, read)


def _opened(records: Records, row: Row) -> list[OpenedRow]:
    try:
        return records.open_all((row,))
    except IntegrityError as error:
        _log.warning("the row %s cannot be announced: %s", row.id, error)
        return []


def _got(records: Records, row_id: str) -> list[OpenedRow | None]:
    try:
        return [records.get(row_id)]
    except IntegrityError as error:
        _log.warning("the row %s cannot be announced: %s", row_id, error)
        return []


def _read(opened: OpenedRow, read: Callable[[Mapping[str, Any]], _T]) -> Iterator[_T]:
    try:
        found = read(opened.body)
    except StorageError:
        raise
    except KeyturnError as error:
        _log.warning("the row %s cannot be announced: %s", opened.row.id, error)
        return
    yield found
