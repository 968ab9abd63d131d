"""The sealed rows of the ledger, read checked and committed sealed: what every service works on.

records = Records(ledger=ledger, keyring=keyring, log=log)
opened = records.get(key_id)                  # seal, columns and floor hold, or IntegrityError
records.commit(ChangeSet(...))                # durable, and known in this process, when it returns
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from keyturn.crypto.keyring import KEYRING_ROW, Keyring, UnknownDataKeyError
from keyturn.domain.change import ChangeSet, Require
from keyturn.domain.ids import SYSTEM_TENANT
from keyturn.errors import (
    ConflictError,
    IntegrityError,
    KeyturnError,
    OutcomeUnknownError,
    StorageBusyError,
    StorageError,
)
from keyturn.measures import Tally
from keyturn.ports.ledger import Commit, CredentialRows, Ledger, Position, Row
from keyturn.records.log_reader import LogReader
from keyturn.records.rows import OpenedRow, open_row, seal_changes
from keyturn.records.sealed_state import head_after

_READS: Final = 20  # of one row, each overtaken by a change, before a reader gives up
_SEALINGS: Final = 3  # of one change, each overtaken by a change of the keyring, before a writer gives up
_log = logging.getLogger("keyturn.log")


class Records:
    """Reads and writes rows for the services of one process.

    Attributes:
        written: entries that this process has committed, by type.
    """

    def __init__(self, *, ledger: Ledger, keyring: Keyring, log: LogReader) -> None:
        self._ledger = ledger
        self.keyring = keyring
        self.log = log
        self.incidents = log.incidents
        self.written = Tally()

    def commit(self, changes: ChangeSet) -> Position:
        """Make `changes` durable and take them in here, so that they hold in this process when this returns.

        The log is vouched for by then too, unless the store stops answering in between.

        ConflictError when a row moved meanwhile; StorageError as the ledger says; IntegrityError where the log was
        found altered, or does not hold what the store has acknowledged.
        """
        self.log.require_whole()
        for put in changes.puts:
            # A store from which the row was deleted would take it, and the log would then contradict itself.
            if put.revision == 1 and not self.log.floor.admits_absence(put.id):
                raise ConflictError(f"the log knows the row {put.id} already")
        position, sealed = self._commit_sealed(changes)
        for event in changes.events:
            self.written.add(event.type.value)
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
        self._vouch_for(position, sealed)
        return position

    def _commit_sealed(self, changes: ChangeSet) -> tuple[Position, Commit]:
        """Seal and commit; again where the keyring has changed meanwhile: nothing is sealed by what it said before."""
        changes_keyring = any(put.id == KEYRING_ROW for put in changes.puts)
        for left in reversed(range(_SEALINGS)):
            revision = self.keyring.revision  # of before anything is sealed, or older
            sealed = self._sealed(changes)
            if not changes_keyring:
                sealed = replace(sealed, requires=(*sealed.requires, Require(KEYRING_ROW, revision)))
            try:
                return self._ledger.commit(sealed), sealed
            except OutcomeUnknownError:
                self.log.distrust()
                raise
            except ConflictError:
                if changes_keyring or not left:
                    raise
                # Which reads the log on, and refuses a row that was put back or deleted.
                self.get(KEYRING_ROW)
                if self.keyring.revision == revision:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _sealed(self, changes: ChangeSet) -> Commit:
        """The commit of `changes`, with the sealed head that the log has once it is there and nobody was first."""
        seen = self.log.seen
        sealed = seal_changes(self.keyring, changes, seen)
        head = head_after(self.keyring, self._ledger.log_id, seen, sealed.entries)
        return replace(sealed, sealed_head=head)

    def _vouch_for(self, position: Position, sealed: Commit) -> None:
        assert sealed.sealed_head is not None
        try:
            self.log.vouch_for(position, foreseen=sealed.sealed_head.position)
        except KeyturnError as error:
            # It is committed all the same, and the recorder vouches for it later.
            _log.warning("the log's head could not be sealed yet: %s", error)

    def get(self, row_id: str) -> OpenedRow | None:
        """The row, checked to be current; None if there is none and the log knows of none."""
        return self.get_many((row_id,))[0]

    def get_many(self, row_ids: Sequence[str]) -> list[OpenedRow | None]:
        """The rows of these ids (at most 1,000), in order, each checked to be current."""
        self.log.catch_up()
        settling = Settling(self)
        while True:
            rows = self._ledger.read(row_ids)
            opened = [None if row is None else self.open_sealed(row) for row in rows]
            found = dict(zip(row_ids, opened, strict=True))
            if all(self.is_current(row_id, row) for row_id, row in found.items()):
                return opened
            settling.settle(found)

    def open_all(self, rows: Iterable[Row]) -> list[OpenedRow]:
        """Rows that a listing found, checked. One that moved since is read again."""
        found = list(rows)
        self.log.catch_up()
        opened = []
        for row in found:
            known = self.open_sealed(row)
            opened.append(known if self.is_current(row.id, known) else self._again(row.id))
        return opened

    def open_left_out(self, prefix: str, listed: Collection[str]) -> Iterator[OpenedRow]:
        """Policies (`pol_`) or endpoints (`whe_`) that the log knows and a whole list of them, by id, did not give.

        Those made meanwhile; those that somebody took out of the list's index. One that is missing or is not the one
        that the log names is reported, and is no other's concern.
        """
        for row_id in self.log.floor.left_out(prefix, listed):
            try:
                opened = self.get(row_id)
            except IntegrityError as error:
                _log.error("a list of the store is not whole: %s", error)
                continue
            if opened is not None:
                yield opened

    def open_sealed(self, row: Row) -> OpenedRow:
        """The row, once its seal and columns hold; IntegrityError otherwise. It may still be an older one.

        KeysUnavailableError where it is sealed under a data key that this process could not unwrap.
        """
        try:
            return open_row(self.keyring, row)
        except UnknownDataKeyError:
            self.log.catch_up()  # the keyring may have changed since the log was read
        except IntegrityError as error:
            raise self._noted(row, error) from None
        try:
            return open_row(self.keyring, row)
        except IntegrityError as error:
            raise self._noted(row, error) from None

    def _noted(self, row: Row, error: IntegrityError) -> IntegrityError:
        self.incidents.note(row.id, row.tenant, str(error))
        return error

    def is_current(self, row_id: str, opened: OpenedRow | None) -> bool:
        """Whether the log, as far as this process read it, says that this is the row, or that there is none."""
        floor = self.log.floor
        if opened is None:
            return floor.admits_absence(row_id)
        return floor.admits(row_id, opened.row.revision, opened.digest)

    def read_credential(self, credential_id: str) -> CredentialRows | None:
        """The rows behind a credential, unchecked: the verifier checks them while it fills its cache."""
        try:
            return self._ledger.read_credential(credential_id)
        except IntegrityError as error:
            self.incidents.note(f"credential {credential_id}", SYSTEM_TENANT, str(error))
            raise

    def read_credentials(self, credential_ids: Sequence[str]) -> list[CredentialRows]:
        """The rows behind those of these credentials that there are, unchecked, as `read_credential` gives them."""
        try:
            return self._ledger.read_credentials(credential_ids)
        except IntegrityError as error:
            self.incidents.note("credentials", SYSTEM_TENANT, str(error))
            raise

    def has_credential_from(self, credential_id: str) -> bool:
        """Whether there may be a version with this credential_id or one after it, as the store says, unchecked."""
        return self._ledger.has_credential_from(credential_id)

    def list_published(self, after: tuple[str, str], limit: int) -> list[Row]:
        """Rows of published keys of every tenant, by tenant and id, as the store says, unchecked."""
        return self._ledger.list_published(after, limit)

    def read_unchecked(self, row_ids: Sequence[str]) -> list[Row | None]:
        """The rows of these ids (at most 1,000), in order, as the store says, unchecked: to see which to look at."""
        return self._ledger.read(row_ids)

    def place_of(self, row: Row) -> Position:
        """Where the row stands in lists; IntegrityError for a place that is none of the log's.

        Only that much is known of it: it is not sealed.
        """
        if not 1 <= row.created <= self.log.position:
            raise self.refuse(row.id, row.tenant, "it was created at no position of the log")
        return row.created

    def refuse(self, row_id: str, tenant: str, problem: str) -> IntegrityError:
        """Note that a row is not what the log says, and give the error to raise."""
        self.incidents.note(row_id, tenant, problem)
        return IntegrityError(f"row {row_id}: {problem}")

    def _again(self, row_id: str) -> OpenedRow:
        opened = self.get(row_id)
        if opened is None:
            raise self.refuse(row_id, "", "the row has vanished")
        return opened


class Settling:
    """Reading rows while others change them, without taking a change for tampering or tampering for a change.

    A row that is older than what was known of it before it was read has been put back. One that is only older than
    what is known now is read again.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._known: dict[str, int] = {}
        self._left = _READS

    def settle(self, found: Mapping[str, OpenedRow | None]) -> None:
        """Read the log on; return when it makes sense to read these rows again.

        IntegrityError for a row that nothing which happens to it now could explain.
        """
        self._records.log.catch_up()
        floor = self._records.log.floor
        for row_id, opened in found.items():
            if self._records.is_current(row_id, opened):
                continue
            revision, present = (0 if opened is None else opened.row.revision), floor.revision(row_id)
            if revision >= present or revision < self._known.get(row_id, 0):
                problem = (
                    "is missing, though the log knows it"
                    if opened is None
                    else "is not the one that the log names"
                )
                tenant = "" if opened is None else opened.row.tenant
                raise self._records.refuse(row_id, tenant, f"the row {problem}")
            self._known[row_id] = present
        self._left -= 1
        if not self._left:
            raise StorageBusyError("rows change faster than they can be read")
