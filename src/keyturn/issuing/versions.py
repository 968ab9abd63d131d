"""Listing the versions of a key, newest first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from keyturn.domain.instants import from_micros
from keyturn.domain.key import Key, Version
from keyturn.domain.lifecycle import KeyState, stricter
from keyturn.domain.principal import Principal
from keyturn.issuing.cursors import DEFAULT_LIMIT, Cursors, check_limit
from keyturn.issuing.keys import Keys
from keyturn.ports.ledger import Ledger
from keyturn.records.records import Records


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedVersion:
    """A version, and what it needs of its key to say how it stands.

    Attributes:
        state: the stricter of the version's own state and the key's.
        is_current: whether it is the one that the key serves with.
        last_used_at: its latest valid use; None for one that was never used.
    """

    version: Version
    state: KeyState
    state_changed_at: datetime
    is_current: bool
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionPage:
    """Some versions, newest first, and the cursor for those before them; None when there are no more."""

    items: tuple[ListedVersion, ...]
    next_cursor: str | None


class Versions:
    """Lists versions for callers of one process."""

    def __init__(self, *, ledger: Ledger, records: Records, keys: Keys) -> None:
        self._ledger = ledger
        self._records = records
        self._keys = keys

    def list(
        self, key_id: str, by: Principal, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None
    ) -> VersionPage:
        """Versions of a key; `limit` is 1 to 1,000. NotFoundError for an unknown id and another tenant's alike."""
        check_limit(limit)
        key = self._keys.get(by.tenant, key_id)
        cursors = Cursors(self._records, by.tenant, f"versions of {key.key_id}")
        before = cursors.read(cursor)
        newest = key.newest_version if before is None else before - 1
        oldest = max(1, newest - limit + 1)
        versions = self._keys.versions(key, range(newest, oldest - 1, -1))
        used = {use.version: from_micros(use.at) for use in self._ledger.last_uses((key.key_id,))}
        return VersionPage(
            items=tuple(_listed(key, version, used.get(version.number)) for version in versions),
            next_cursor=cursors.make(oldest) if oldest > 1 else None,
        )


def _listed(key: Key, version: Version, last_used_at: datetime | None) -> ListedVersion:
    state = stricter(key.state, version.state)
    by_key = state is not version.state
    return ListedVersion(
        version=version,
        state=state,
        state_changed_at=key.state_changed_at if by_key else version.state_changed_at,
        is_current=version.number == key.version,
        last_used_at=last_used_at,
    )
