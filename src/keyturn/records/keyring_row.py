"""The keyring's row as one process knows it: opened at the start, and read again when the log says that it changed.

row = KeyringRow(ledger=ledger, wrapper=wrapper)
log = LogReader(ledger=ledger, keyring=row.keyring, clock=clock, row=row)
assert row.is_named_by(log.floor)

A process whose key-encryption key was changed under it goes on with the data keys that it holds: it reads in the row
which of them is the primary one, and unwraps what is new to it, if it can.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from keyturn.crypto.keyring import KEYRING_ROW
from keyturn.crypto.keyring_body import open_keyring, renewed_keyring
from keyturn.domain import canonical
from keyturn.domain.entry import RowMark
from keyturn.domain.floor import Floor
from keyturn.domain.stored import read_as
from keyturn.errors import IntegrityError, KeysUnavailableError, SchemaError
from keyturn.ports.key_wrapper import KeyWrapper
from keyturn.ports.ledger import Ledger, Row
from keyturn.records.rows import open_row

_MENDING: Final = KeysUnavailableError.default_fix
_log = logging.getLogger("keyturn.keyring")


class OlderKeyringError(IntegrityError):
    """The log names a keyring that the store does not hold: it was put back, or the store itself went back."""


class _Known(NamedTuple):
    """Which row the keyring was taken from."""

    revision: int
    digest: bytes


class KeyringRow:
    """Opens the keyring for one process, and keeps it up to what the log says.

    SchemaError where there is none yet, WrongKekError for another KEK, IntegrityError for a row that was altered.
    Whether the log names the row, `is_named_by` says.

    Attributes:
        keyring: what the row says; it changes in place.
    """

    def __init__(self, *, ledger: Ledger, wrapper: KeyWrapper) -> None:
        self._ledger = ledger
        self._wrapper = wrapper
        row = self._read()
        if row is None:
            if ledger.head() > 0:
                raise IntegrityError("the keyring is missing from a store that has a log")
            raise SchemaError("the store has no keyring yet")
        self.keyring: Final = open_keyring(_body_of(row), wrapper, ledger.log_id)
        self._known = _Known(row.revision, open_row(self.keyring, row).digest)

    def is_named_by(self, floor: Floor) -> bool:
        """Whether the log, read to its end, says that the row which this process goes by is the keyring's."""
        return floor.admits(KEYRING_ROW, *self._known)

    def follow(self, mark: RowMark) -> None:
        """Take over what the keyring's row says since an entry, unless it is known already.

        OlderKeyringError where the store holds an older row, IntegrityError for another one than the log names.
        """
        if mark.revision > self._known.revision:
            self._renew(mark.revision)
        if mark.revision == self._known.revision and mark.digest != self._known.digest:
            raise IntegrityError("the keyring row is not the one that the log names")

    def unwrap_missing(self) -> None:
        """Try again to unwrap the data keys that this process lacks: a KMS may answer by now."""
        if self.keyring.missing:
            self._renew(self._known.revision)

    def _renew(self, revision: int) -> None:
        row, missing = self._read(), self.keyring.missing
        if row is None or row.revision < revision:
            raise OlderKeyringError(
                f"the store does not hold revision {revision} of the keyring, which its log names"
            )
        newer = renewed_keyring(_body_of(row), self._wrapper, self.keyring)
        # Data keys vouch for themselves, being wrapped; which of them is the primary one, the row's seal vouches for.
        digest = open_row(newer, row).digest
        self.keyring.take_over(newer)
        self._known = _Known(row.revision, digest)
        if newer.missing - missing:
            _log.error(
                "this process cannot unwrap data keys %s of the store. %s", sorted(newer.missing), _MENDING
            )

    def _read(self) -> Row | None:
        return self._ledger.read((KEYRING_ROW,))[0]


def _body_of(row: Row) -> Mapping[str, Any]:
    with read_as("the keyring row"):
        body = canonical.decode(row.body)
    if not isinstance(body, dict):
        raise IntegrityError("the keyring row is malformed")
    return body
