"""Loading credentials from the store into memory, while others change them and the log moves on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from keyturn.domain.bodies import KEY, OWNER, VERSION, key_from, owner_from, version_from
from keyturn.domain.key import Key, Owner, Version
from keyturn.ports.ledger import CredentialRows, Row
from keyturn.records.records import Records, Settling
from keyturn.records.rows import OpenedRow
from keyturn.verifier.cache import Cache
from keyturn.verifier.entries import Entry


class Loaded(NamedTuple):
    """What a look-up found, None for nothing, and how far the log had been read when that was so."""

    entry: Entry | None
    as_of: str
    read_at: float


class Parts(NamedTuple):
    """A credential's version, its key, and the key's owner where that has a row."""

    version: Version
    key: Key
    owner: Owner | None


Found = Mapping[str, OpenedRow | None]
"""Rows by id, with the owner's absence where its key names one that has no row."""


class Loader:
    """Loads what is looked up by the handle inside a token."""

    def __init__(self, *, records: Records, cache: Cache) -> None:
        self._records = records
        self._log = records.log
        self._cache = cache

    def load(self, credential_id: str) -> Loaded:
        """Read a credential; IntegrityError for rows that are not what the log says."""
        settling = Settling(self._records)
        while True:
            as_of, read_at = self._log.as_of, self._log.read_at
            rows = self._records.read_credential(credential_id)
            if rows is None:
                return Loaded(None, as_of, read_at)
            found = self.opened((credential_id,), rows)
            with self._log.applying:
                # The log can't move on between this check and the fill.
                if self.are_current(found):
                    entry = self.entry_of(parts_of(rows, found))
                    self._cache.put(entry)
                    return Loaded(entry, self._log.as_of, self._log.read_at)
            settling.settle(found)

    def opened(self, handles: Sequence[str], rows: CredentialRows) -> Found:
        """The rows behind one of these credentials; IntegrityError unless their seals hold and they belong together."""
        opened = [
            self._records.open_sealed(row) for row in (rows.version, rows.key, rows.owner) if row is not None
        ]
        if not _belong_together(handles, *(row.body for row in opened)):
            raise self._records.refuse(rows.version.id, rows.version.tenant, "rows do not belong together")
        found: dict[str, OpenedRow | None] = {row.row.id: row for row in opened}
        if rows.owner is None and "owner" in opened[1].body:
            found[opened[1].body["owner"]["row"]] = None
        return found

    def are_current(self, found: Found) -> bool:
        """Whether the log, as far as it was read, says that these are the rows."""
        return all(self._records.is_current(row_id, row) for row_id, row in found.items())

    def entry_of(self, parts: Parts) -> Entry:
        """What to keep of a credential."""
        standing = self._cache.owner_standing(parts.key.owner_row)
        return Entry(parts.version, parts.key, parts.owner, standing)


def parts_of(rows: CredentialRows, found: Found) -> Parts:
    """What checked rows say; IntegrityError for what this program did not write."""
    return Parts(
        version=version_from(_body(found, rows.version), rows.version.material),
        key=key_from(_body(found, rows.key)),
        owner=None if rows.owner is None else owner_from(_body(found, rows.owner)),
    )


def _body(found: Found, row: Row) -> Mapping[str, Any]:
    opened = found[row.id]
    assert opened is not None
    return opened.body


def _belong_together(
    handles: Sequence[str],
    version: Mapping[str, Any],
    key: Mapping[str, Any],
    owner: Mapping[str, Any] | None = None,
) -> bool:
    """Whether these sealed bodies are those of one of these credentials, its key, and the key's owner."""
    return (
        (version["kind"], key["kind"]) == (VERSION, KEY)
        and version.get("credential_id") in handles
        and (version["key"], version["tenant"]) == (key["id"], key["tenant"])
        and (
            owner is None
            or (owner["kind"] == OWNER and "owner" in key and owner["id"] == key["owner"]["row"])
        )
    )
