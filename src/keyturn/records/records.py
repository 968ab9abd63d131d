"""The sealed rows of the ledger, read checked and committed sealed: what every service works on.

records = Records(ledger=ledger, keyring=keyring, log=log)
opened = records.get(key_id)                  # seal, columns and floor hold, or IntegrityError
records.commit(ChangeSet(...))                # durable, and known in this process, when it returns
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from keyturn.crypto.keyring import Keyring
from keyturn.domain.change import ChangeSet
from keyturn.domain.ids import SYSTEM_TENANT
from keyturn.errors import ConflictError, IntegrityError, OutcomeUnknownError, StorageError
from keyturn.ports.ledger import CredentialRows, Ledger, Position, Row
from keyturn.records.log_reader import LogReader
from keyturn.records.rows import OpenedRow, open_row, seal_changes


class Records:
    """Reads and writes rows for the services of one process."""

    def __init__(self, *, ledger: Ledger, keyring: Keyring, log: LogReader) -> None:
        self._ledger = ledger
        self.keyring = keyring
        self.log = log
        self.incidents = log.incidents

    def commit(self, changes: ChangeSet) -> Position:
        """Make `changes` durable and take them in here, so that they hold in this process when this returns.

        ConflictError when a row moved meanwhile; StorageError as the ledger says; IntegrityError where the log was
        found altered, or does not hold what the store has acknowledged.
        """
        self.log.require_whole()
        for put in changes.puts:
            # A store from which the row was deleted would take it, and the log would then contradict itself.
            if put.revision == 1 and not self.log.floor.admits_absence(put.id):
                raise ConflictError(f"the log knows the row {put.id} already")
        sealed = seal_changes(self.keyring, changes, self.log.seen, self.log.head_to_seal())
        try:
            position = self._ledger.commit(sealed)
        except OutcomeUnknownError:
            self.log.distrust()
            raise
        try:
            self.log.catch_up()
            is_there = self.log.holds([entry.entry for entry in sealed.entries], position)
        except StorageError:
            # It is committed; what this process knows is now too old to decide from.
            self.log.distrust()
            return position
        if not is_there:
            raise self.refuse(
                "log", SYSTEM_TENANT, "the store acknowledged a change that its log does not hold"
            )
        return position

    def get(self, row_id: str) -> OpenedRow | None:
        """The row, checked to be current; None if there is none and the log knows of none."""
        return self.get_many((row_id,))[0]

    def get_many(self, row_ids: Sequence[str]) -> list[OpenedRow | None]:
        """The rows of these ids (at most 1,000), in order, each checked to be current."""
        self.log.catch_up()
        rows = self._ledger.read(row_ids)
        if self._is_behind(rows, row_ids):
            rows = self._ledger.read(row_ids)
        return [self._current(row, row_id) for row, row_id in zip(rows, row_ids, strict=True)]

    def open_all(self, rows: Iterable[Row]) -> list[OpenedRow]:
        """Rows that a listing found, checked. One that moved since is read again."""
        found = list(rows)
        self.log.catch_up()
        opened = []
        for row in found:
            known = self.open_checked(row)
            opened.append(known if known is not None else self._again(row.id))
        return opened

    def open_sealed(self, row: Row) -> OpenedRow:
        """The row, once its seal and columns hold; IntegrityError otherwise. It may still be an older one."""
        try:
            return open_row(self.keyring, row)
        except IntegrityError as error:
            self.incidents.note(row.id, row.tenant, str(error))
            raise

    def open_checked(self, row: Row) -> OpenedRow | None:
        """The row, opened; None when the log says that it is not the current one; IntegrityError for a broken seal."""
        opened = self.open_sealed(row)
        return opened if self.is_current(opened) else None

    def is_current(self, opened: OpenedRow) -> bool:
        """Whether the log, as far as this process read it, says that this is the row."""
        return self.log.floor.admits(opened.row.id, opened.row.revision, opened.digest)

    def read_credential(self, credential_id: str) -> CredentialRows | None:
        """The rows behind a credential, unchecked: the verifier checks them while it fills its cache."""
        try:
            return self._ledger.read_credential(credential_id)
        except IntegrityError as error:
            self.incidents.note(f"credential {credential_id}", SYSTEM_TENANT, str(error))
            raise

    def refuse(self, row_id: str, tenant: str, problem: str) -> IntegrityError:
        """Note that a row is not what the log says, and give the error to raise."""
        self.incidents.note(row_id, tenant, problem)
        return IntegrityError(f"row {row_id}: {problem}")

    def _again(self, row_id: str) -> OpenedRow:
        opened = self.get(row_id)
        if opened is None:
            raise self.refuse(row_id, "", "the row has vanished")
        return opened

    def _is_behind(self, rows: Sequence[Row | None], row_ids: Sequence[str]) -> bool:
        """Whether a row was read before, and the log after, a change: one more read settles it."""
        floor = self.log.floor
        return any(
            floor.is_above(row_id, 0 if row is None else row.revision)
            for row, row_id in zip(rows, row_ids, strict=True)
        )

    def _current(self, row: Row | None, row_id: str) -> OpenedRow | None:
        if row is None:
            if not self.log.floor.admits_absence(row_id):
                raise self.refuse(row_id, "", "the row is missing, though the log knows it")
            return None
        opened = self.open_checked(row)
        if opened is None and self.log.floor.is_below(row.id, row.revision):
            self.log.catch_up()
            opened = self.open_checked(row)
        if opened is None:
            raise self.refuse(row.id, row.tenant, "the row is not the one that the log names")
        return opened
