"""How much of a tenant's key set is taken.

It is bounded where a key is published or rotated, and never by leaving out a version that signed what still counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Final

from keyturn.domain.bodies import key_from, version_from
from keyturn.domain.ids import version_row_id
from keyturn.domain.key import Key
from keyturn.domain.lifecycle import KeyState
from keyturn.domain.publishing import (
    MAX_PUBLISHED_KEYS,
    MAX_PUBLISHED_VERSIONS,
    MAX_VERSIONS_LOOKED_AT,
    is_in_set,
    shown_until,
)
from keyturn.errors import IntegrityError, InvalidInputError
from keyturn.ports.ledger import Row
from keyturn.records.records import Records

_PAGE: Final = 1_000
_UNREADABLE: Final = (ValueError, RecursionError, IntegrityError)
_FIX: Final = (
    "Wait until what ended keys and versions have signed is over, destroy keys whose signatures nobody needs any more,"
    " or do without."
)


class PublishedRoom:
    """The room in a tenant's set, as the store says at one moment."""

    def __init__(self, records: Records, now: datetime) -> None:
        self._records = records
        self._now = now

    def require_for_new(self, tenant: str, more: int) -> None:
        """InvalidInputError where so many new keys are too many."""
        self._require(tenant, more, more, None)

    def require_for(self, key: Key) -> None:
        """InvalidInputError where there is no room for a key with its `published_for`, and all that it shows by it."""
        self._require(key.tenant, 1, len(self.numbers_of(key)), key.key_id)

    def problem_of_rotation(self, key: Key) -> str | None:
        """Why a published key cannot have one version more; None where it can."""
        numbers = self.numbers_of(key)
        oldest = key.newest_version + 1 - MAX_VERSIONS_LOOKED_AT
        if any(number <= oldest for number in (*numbers, key.version)):
            return f"the key set would not show its version {min(*numbers, key.version)} any more"
        if self._taken(key.tenant, None)[1] >= MAX_PUBLISHED_VERSIONS:
            return f"the key set shows {MAX_PUBLISHED_VERSIONS} versions already"
        return None

    def numbers_of(self, key: Key) -> list[int]:
        """The versions of a key that are in the set, or would be, the newest first."""
        if key.newest_version == 1:
            return [1]
        oldest = max(1, key.newest_version - MAX_VERSIONS_LOOKED_AT + 1)
        wanted = sorted({key.version, *range(oldest, key.newest_version + 1)}, reverse=True)
        rows = self._records.read_unchecked([version_row_id(key.key_id, number) for number in wanted])
        resumed = replace(key, state=KeyState.ACTIVE) if key.state is KeyState.SUSPENDED else key
        return [
            number
            for number, row in zip(wanted, rows, strict=True)
            if row is not None and self._is_shown(resumed, row)
        ]

    def _is_shown(self, key: Key, row: Row) -> bool:
        try:
            until = shown_until(key, version_from(json.loads(row.body), row.material), None)
        except _UNREADABLE:
            return False  # nor does the set show it
        return until is not None and self._now < until

    def _require(self, tenant: str, keys: int, versions: int, besides: str | None) -> None:
        taken, shown = self._taken(tenant, besides)
        for what, count, most in (
            ("published keys", taken + keys, MAX_PUBLISHED_KEYS),
            ("versions of published keys", shown + versions, MAX_PUBLISHED_VERSIONS),
        ):
            if count > most:
                raise InvalidInputError(
                    f"a tenant's key set shows at most {most} {what}", field="published_for", fix=_FIX
                )

    def _taken(self, tenant: str, besides: str | None) -> tuple[int, int]:
        """How many keys and versions the set shows, one key left aside; more than there may be is enough."""
        keys = versions = 0
        for key in self._keys(tenant):
            if key.key_id != besides and is_in_set(key, self._now):
                keys, versions = keys + 1, versions + len(self.numbers_of(key))
            if keys > MAX_PUBLISHED_KEYS or versions > MAX_PUBLISHED_VERSIONS:
                break
        return keys, versions

    def _keys(self, tenant: str) -> Iterator[Key]:
        after = (tenant, "")
        while rows := self._records.list_published(after, _PAGE):
            for row in rows:
                if row.tenant != tenant:
                    return
                try:
                    yield key_from(json.loads(row.body))
                except _UNREADABLE:
                    continue  # which is in no set either
            after = (tenant, rows[-1].id)
