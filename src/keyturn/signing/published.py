"""What everybody may verify with: the JSON Web Key Set (RFC 7517) of each tenant, from memory.

    published.is_current("default") or published.refresh("default")
    found = published.of("default")            # the set as JSON
    published.age("default")                   # how old what it says may be, in seconds

The view holds the published keys of all tenants, so that a name of no tenant costs nothing. It follows the log: what
has changed is noted for its tenant (`follow`), and read when that tenant's set is next wanted (`take_in`), once each.
So nobody waits for what has changed in other tenants.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from keyturn.crypto.jwk import Jwk, public_jwk
from keyturn.domain.bodies import key_from
from keyturn.domain.bytestext import to_base64url
from keyturn.domain.publishing import ALWAYS, MAX_VERSIONS_LOOKED_AT, is_in_set, shown_until
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
    """The sets of one process.

    `follow`, `take_in` and `refresh`, which is both, read the store and may be called from any thread; all else is
    memory.
    """

    def __init__(self, *, records: Records, keys: Keys, clock: Clock, max_staleness: float) -> None:
        self._records = records
        self._keys = keys
        self._clock = clock
        self._max_staleness = max_staleness
        self._shown: dict[str, _Shown] = {}
        self._key_ids: dict[str, set[str]] = {}  # by tenant
        self._sets: dict[str, KeySet] = {}
        self._failed: dict[str, str] = {}  # tenants by key
        self._failed_at = _NEVER
        self._pending: set[str] | None  # None for everything
        self._followed_at = _NEVER
        self._queues: dict[str, set[str]] = {}  # by tenant, the keys to be looked at
        self._complete_at: dict[str, float] = {}  # by tenant with a queue, up to when all was taken in
        self.start_afresh()
        records.log.listen(self._note)

    def start_afresh(self) -> None:
        """Go on in a forked child, which cannot finish what another thread had begun."""
        self._pending = None
        self._is_following = False
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

    def is_current(self, tenant: str) -> bool:
        """Whether the tenant's set says what the log said within the bound on staleness."""
        # In this order: what is noted after the look at the time makes the set no older than that.
        age = self._clock.steady() - self._records.log.read_at
        return not self._is_behind and not self.is_waiting(tenant) and age <= self._max_staleness

    def is_waiting(self, tenant: str) -> bool:
        """Whether something of the tenant's is known to have changed that has yet to be taken in."""
        return tenant in self._queues

    def age(self, tenant: str) -> float:
        """For how many seconds at most what the set says may have been otherwise; infinite before the first read."""
        followed_at = self._records.log.read_at
        at = self._complete_at.get(tenant)
        if at is None:
            at = self._followed_at if self._is_behind else followed_at
        return self._clock.steady() - at

    @property
    def _is_behind(self) -> bool:
        """Whether it is not known of which tenants something has changed."""
        return self._pending is None or bool(self._pending) or self._is_following or self._is_retry_due

    @property
    def _is_retry_due(self) -> bool:
        return bool(self._failed) and self._clock.steady() - self._failed_at >= RETRY_SECONDS

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

    def refresh(self, tenant: str) -> None:
        """Read the log on, and what has changed by it of the tenant's.

        StorageError or IntegrityError where the store does not let it. A key whose rows are not what was written is in
        no set, and the others are.
        """
        self.follow()
        self.take_in(tenant)

    def follow(self) -> None:
        """Read the log on, and note whose keys have changed. Errors as for `refresh`."""
        with self._refreshing:
            log = self._records.log
            log.catch_up()
            with log.applying:
                self._is_following = True
                pending, self._pending = self._pending, set()
                read_at = log.read_at
            try:
                self._note_tenants(pending)
                self._followed_at = read_at
            except BaseException:
                self._put_back(pending)
                raise
            finally:
                self._is_following = False

    def take_in(self, tenant: str, most: int | None = None) -> None:
        """Look at the keys of the tenant that have changed, or at so many of them. Errors as for `refresh`."""
        with self._refreshing:
            queue = self._queues.get(tenant, set())
            for key_id in sorted(queue)[:most]:
                self._look_at(tenant, key_id)
                queue.discard(key_id)
            if not queue and tenant in self._queues:
                del self._queues[tenant]
                del self._complete_at[tenant]

    def _put_back(self, pending: set[str] | None) -> None:
        with self._records.log.applying:
            if pending is None or self._pending is None:
                self._pending = None
            else:
                self._pending |= pending

    def _note_tenants(self, pending: set[str] | None) -> None:
        if pending is None:
            known = {key_id: each.tenant for key_id, each in self._shown.items()}
            rows = self._listed()
        else:
            known = {key_id: each.tenant for key_id, each in self._shown.items() if each.owner_row in pending}
            rows = self._changed(sorted(pending))
        for row in rows:
            if row.id in self._shown or self._may_be_shown(row):
                known.setdefault(row.id, row.tenant)
        if self._is_retry_due:
            known |= self._failed
            self._failed_at = self._clock.steady()
        for key_id, tenant in known.items():
            # In this order: whoever sees the queue finds how old the set may be.
            self._complete_at.setdefault(tenant, self._followed_at)
            self._queues.setdefault(tenant, set()).add(key_id)

    def _listed(self) -> Iterator[Row]:
        after = ("", "")
        while rows := self._records.list_published(after, _PAGE):
            yield from rows
            after = (rows[-1].tenant, rows[-1].id)

    def _changed(self, row_ids: Sequence[str]) -> Iterator[Row]:
        for start in range(0, len(row_ids), _PAGE):
            rows = self._records.read_unchecked(row_ids[start : start + _PAGE])
            yield from (row for row in rows if row is not None)

    def _may_be_shown(self, row: Row) -> bool:
        """A glance that spares checking all the keys that are not published, or have ended long ago."""
        if _MARK not in row.body:
            return False
        try:
            return is_in_set(key_from(json.loads(row.body)), self._clock.now())
        except (ValueError, RecursionError, IntegrityError):
            return True  # what is wrong with it comes out when it is checked

    def _look_at(self, tenant: str, key_id: str) -> None:
        self._failed.pop(key_id, None)
        try:
            found = self._read(tenant, key_id)
        except (IntegrityError, NotFoundError) as error:
            self._records.log.require_whole()
            _log.error("key %s is not published: %s", key_id, error)
            self._failed[key_id] = tenant
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
