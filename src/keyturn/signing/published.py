"""What everybody may verify with: the JSON Web Key Set (RFC 7517) of each tenant, from memory.

    published.is_current or published.refresh()
    found = published.of("default")            # the set as JSON
    published.age                              # how old what it says may be, in seconds

The view holds the published keys of all tenants, so that a name of no tenant costs nothing. It follows the log: rows
are read when they have changed, once each, and not when somebody asks.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from keyturn.crypto.jwk import Jwk, public_jwk
from keyturn.domain.bytestext import to_base64url
from keyturn.domain.publishing import ALWAYS, MAX_VERSIONS_LOOKED_AT, shown_until
from keyturn.errors import IntegrityError, NotFoundError
from keyturn.issuing.keys import Keys
from keyturn.ports.clock import Clock
from keyturn.ports.ledger import Row
from keyturn.records.records import Records

MAX_PENDING: Final = 100_000  # rows that have changed since somebody asked; past it all are looked at anew
RETRY_SECONDS: Final = 10.0  # after which a key whose rows did not hold is looked at again
_PAGE: Final = 1_000
_MARK: Final = '"published_for":'
_NEVER: Final = float("-inf")

_log = logging.getLogger("keyturn.jwks")


@dataclass(frozen=True, slots=True)
class KeySet:
    """A tenant's set.

    Attributes:
        body: the JSON.
        etag: of exactly this body, quotes included.
        until: when the next key leaves it; ALWAYS for not without a change in the log.
    """

    body: bytes
    etag: str
    until: datetime


@dataclass(frozen=True, slots=True)
class _Shown:
    """A published key's versions: each as JWK, and until when it is there."""

    tenant: str
    owner_row: str | None
    versions: tuple[tuple[datetime, Jwk], ...]


class PublishedKeys:
    """The sets of one process. `refresh` reads the store and may be called from any thread; the rest is memory."""

    def __init__(self, *, records: Records, keys: Keys, clock: Clock, max_staleness: float) -> None:
        self._records = records
        self._keys = keys
        self._clock = clock
        self._max_staleness = max_staleness
        self._shown: dict[str, _Shown] = {}
        self._key_ids: dict[str, set[str]] = {}  # by tenant
        self._sets: dict[str, KeySet] = {}
        self._failed: set[str] = set()
        self._failed_at = _NEVER
        self._pending: set[str] | None = None  # None for everything
        self._read_at = _NEVER
        self.start_afresh()
        records.log.listen(self._note)

    def start_afresh(self) -> None:
        """Go on in a forked child."""
        self._refreshing = threading.Lock()  # held while the store is read
        # Held for an instant, so that no set is made of what was just replaced.
        self._memory = threading.Lock()

    def _note(self, changed: Sequence[str] | None) -> None:
        """Remember what is to be looked at; the log holds its `applying` meanwhile."""
        if changed is None or self._pending is None:
            self._pending = None
            return
        self._pending.update(row_id.partition(".")[0] for row_id in changed if row_id[:4] in ("key_", "own_"))
        if len(self._pending) > MAX_PENDING:
            self._pending = None

    @property
    def is_current(self) -> bool:
        """Whether the sets say what the log said within the bound on staleness."""
        # In this order: what is noted after the look at the time makes the sets no older than that.
        age = self._clock.steady() - self._records.log.read_at
        return not self._has_work and age <= self._max_staleness

    @property
    def age(self) -> float:
        """For how many seconds at most what the sets say may have been otherwise; infinite before the first read."""
        followed_at = self._records.log.read_at
        return self._clock.steady() - (self._read_at if self._has_work else followed_at)

    @property
    def _has_work(self) -> bool:
        is_retried = bool(self._failed) and self._clock.steady() - self._failed_at >= RETRY_SECONDS
        return self._pending is None or bool(self._pending) or is_retried

    def of(self, tenant: str) -> KeySet:
        """The tenant's set as this process knows it; an empty one for a tenant without published keys.

        IntegrityError where the log was found altered: nothing is vouched for any more.
        """
        self._records.log.require_whole()
        now = self._clock.now()
        with self._memory:
            found = self._sets.get(tenant)
            if found is None and tenant not in self._key_ids:
                return _EMPTY  # names of no tenant are not remembered
            if found is None or now >= found.until:
                key_ids = sorted(self._key_ids.get(tenant, ()))
                versions = [version for key_id in key_ids for version in self._shown[key_id].versions]
                found = self._sets[tenant] = _set_of(versions, now)
            return found

    def refresh(self) -> None:
        """Read the log on, and what has changed by it. StorageError or IntegrityError where the store does not let it.

        A key whose rows are not what was written is in no set, and the others are.
        """
        with self._refreshing:
            log = self._records.log
            log.catch_up()
            with log.applying:
                pending, self._pending = self._pending, set()
                read_at = log.read_at
            try:
                self._take_in(pending)
            except BaseException:
                self._put_back(pending)
                raise
            self._read_at = read_at

    def _put_back(self, pending: set[str] | None) -> None:
        with self._records.log.applying:
            if pending is None or self._pending is None:
                self._pending = None
            else:
                self._pending |= pending

    def _take_in(self, pending: set[str] | None) -> None:
        retried, self._failed = self._failed, set()
        try:
            if pending is None:
                self._look_at_all()
                return
            of_owners = {key_id for key_id, each in self._shown.items() if each.owner_row in pending}
            for row in self._candidates(sorted(pending | retried | of_owners), retried):
                self._look_at(row.tenant, row.id)
        except BaseException:
            self._failed |= retried
            raise

    def _look_at_all(self) -> None:
        gone = set(self._shown)
        for row in self._listed():
            self._look_at(row.tenant, row.id)
            gone.discard(row.id)
        for key_id in gone:
            self._replace(key_id, None)

    def _listed(self) -> Iterator[Row]:
        after = ("", "")
        while rows := self._records.list_published(after, _PAGE):
            yield from rows
            after = (rows[-1].tenant, rows[-1].id)

    def _candidates(self, row_ids: Sequence[str], retried: Collection[str]) -> Iterator[Row]:
        """Those of these keys that are published, or were: a glance that spares checking all the others."""
        for start in range(0, len(row_ids), _PAGE):
            for row in self._records.read_unchecked(row_ids[start : start + _PAGE]):
                if row is not None and (_MARK in row.body or row.id in self._shown or row.id in retried):
                    yield row

    def _look_at(self, tenant: str, key_id: str) -> None:
        known = self._shown.get(key_id)
        try:
            found = self._read(tenant if known is None else known.tenant, key_id)
        except (IntegrityError, NotFoundError) as error:
            self._records.log.require_whole()
            _log.error("key %s is not published: %s", key_id, error)
            self._failed.add(key_id)
            self._failed_at = self._clock.steady()
            found = None
        self._replace(key_id, found)

    def _replace(self, key_id: str, found: _Shown | None) -> None:
        with self._memory:
            before = self._shown.pop(key_id, None)
            if before is not None:
                self._key_ids[before.tenant].discard(key_id)
            if found is not None:
                self._shown[key_id] = found
                self._key_ids.setdefault(found.tenant, set()).add(key_id)
            for each in (before, found):
                if each is not None:
                    self._sets.pop(each.tenant, None)
                    self._forget_ended(each.tenant)

    def _forget_ended(self, tenant: str) -> None:
        """Let go of keys of which nothing is shown any more, so that there are never many more than a set may show."""
        now = self._clock.now()
        for key_id in list(self._key_ids.get(tenant, ())):
            if all(until <= now for until, _ in self._shown[key_id].versions):
                del self._shown[key_id]
                self._key_ids[tenant].discard(key_id)
        if not self._key_ids.get(tenant):
            self._key_ids.pop(tenant, None)

    def _read(self, tenant: str, key_id: str) -> _Shown | None:
        """The key's versions that are shown, the newest first; None where there are none unless its row changes."""
        key = self._keys.get(tenant, key_id)
        if key.published_for is None:
            return None
        oldest = max(1, key.newest_version - MAX_VERSIONS_LOOKED_AT + 1)
        together = self._keys.together(tenant, key_id, range(key.newest_version, oldest - 1, -1))
        key, versions = together.key, []
        for number, version in sorted(together.versions.items(), reverse=True):
            until = shown_until(key, version, together.owner)
            if until is None or (until <= self._clock.now()):
                continue
            if version.algorithm is None or version.public_key is None:
                raise IntegrityError(f"version {number} of a published key has no public key")
            versions.append((until, public_jwk(version.row_id, version.algorithm, version.public_key)))
        return _Shown(tenant, key.owner_row, tuple(versions)) if versions else None


def _set_of(versions: Iterable[tuple[datetime, Jwk]], now: datetime) -> KeySet:
    shown = [(until, jwk) for until, jwk in versions if now < until]
    body = json.dumps({"keys": [jwk for _, jwk in shown]}, separators=(",", ":")).encode()
    digest = to_base64url(hashlib.sha256(body).digest()[:16])
    return KeySet(body, f'"{digest}"', min((until for until, _ in shown), default=ALWAYS))


_EMPTY: Final = _set_of((), ALWAYS)
