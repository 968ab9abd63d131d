"""Every endpoint that there is, as this process knows it from the log: read once, and again where one was changed.

    for endpoint in roster.present():
        ...

An endpoint whose row was altered is missing from it, and reported; it is no other endpoint's concern.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Final

from keyturn.domain.ids import ENDPOINT
from keyturn.domain.notices.endpoint import ENDPOINT as KIND
from keyturn.domain.notices.endpoint import Endpoint, endpoint_from
from keyturn.errors import IntegrityError, KeysUnavailableError
from keyturn.ports.ledger import Ledger, Row
from keyturn.records.intact import Intact
from keyturn.records.records import Records
from keyturn.records.rows import OpenedRow

_PAGE: Final = 200
_UNUSABLE: Final = (IntegrityError, KeysUnavailableError)


class Roster:
    """Knows them. Safe to call from several threads."""

    def __init__(self, *, ledger: Ledger, records: Records) -> None:
        self._ledger = ledger
        self._records = records
        self._intact = Intact(records)
        self._known: dict[str, Endpoint] = {}
        self._changed: set[str] = set()
        self._is_whole = False
        self.start_afresh()
        records.log.listen(self._follow)

    def start_afresh(self) -> None:
        """Begin with locks that nobody holds, in a forked child."""
        self._reading = threading.Lock()
        self._noting = threading.Lock()

    def present(self) -> list[Endpoint]:
        """All of them that are not deleted, in no order. StorageError where the store does not answer."""
        self._records.log.catch_up()
        with self._reading:
            with self._noting:
                changed, is_whole = self._changed, self._is_whole
                self._changed, self._is_whole = set(), True
            try:
                if not is_whole:
                    self._known = {each.endpoint_id: each for each in self._listed()}
                for endpoint_id in changed:
                    self._renew(endpoint_id)
            except BaseException:
                with self._noting:
                    self._is_whole = False
                raise
            return list(self._known.values())

    def get(self, endpoint_id: str) -> Endpoint | None:
        """An endpoint as it is in this moment; None where it is deleted, or there is none.

        IntegrityError for a row that was altered.
        """
        opened = self._records.get(endpoint_id)
        endpoint = None if opened is None else _endpoint(opened)
        return None if endpoint is None or endpoint.is_deleted else endpoint

    def opened(self, rows: Sequence[Row]) -> list[Endpoint]:
        """Those of these rows that hold and are not deleted."""
        return [each for each in self._intact.read_whole(rows, _endpoint) if not each.is_deleted]

    def _listed(self) -> Iterator[Endpoint]:
        before, seen = None, set[str]()
        while rows := self._ledger.list_endpoints(None, before, _PAGE):
            before = rows[-1].created
            seen.update(row.id for row in rows)
            yield from self.opened(rows)
        # What lists them is an index, and that is not sealed.
        for opened in self._records.open_left_out(f"{ENDPOINT}_", seen):
            yield from self.opened((opened.row,))

    def _renew(self, endpoint_id: str) -> None:
        try:
            endpoint = self.get(endpoint_id)
        except _UNUSABLE as error:
            self._intact.leave_out(KIND, endpoint_id, error)
            endpoint = None
        if endpoint is None:
            self._known.pop(endpoint_id, None)
        else:
            self._known[endpoint_id] = endpoint

    def _follow(self, changed: Sequence[str] | None) -> None:
        """Called while the log is read on."""
        with self._noting:
            if changed is None:
                self._is_whole = False
            else:
                self._changed.update(each for each in changed if each.startswith(f"{ENDPOINT}_"))


def _endpoint(opened: OpenedRow) -> Endpoint:
    return endpoint_from(opened.body, opened.row.material)
