"""Rotating many keys because somebody asks, such as all of an owner's after a leak; and going on where that ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from keyturn.crypto.generation import RsaKeys
from keyturn.crypto.key_pairs import make_rsa_key
from keyturn.domain.bodies import key_from
from keyturn.domain.key import Key
from keyturn.domain.lifecycle import KeyState
from keyturn.domain.principal import Principal
from keyturn.domain.rotation.policy import RotationStrategy
from keyturn.domain.rotation.stages import Cause
from keyturn.errors import (
    ConflictError,
    ForbiddenError,
    IllegalTransitionError,
    IntegrityError,
    PoolEmptyError,
)
from keyturn.issuing.reading import KeyFilter, row_filter
from keyturn.ports.clock import Clock
from keyturn.ports.ledger import Ledger
from keyturn.records.intact import Intact
from keyturn.rotation.history import History
from keyturn.rotation.requesting import Requests
from keyturn.rotation.starting import Started

_PAGE: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkOutcome:
    """What became of one key: what was started, or why nothing was."""

    key_id: str
    started: Started | None
    problem: str | None


class Bulk:
    """Works through the keys of a filter, a page at a time."""

    def __init__(
        self, *, ledger: Ledger, intact: Intact, requests: Requests, history: History, clock: Clock
    ) -> None:
        self._ledger = ledger
        self._intact = intact
        self._history = history
        self._requests = requests
        self._clock = clock

    def rotate(
        self,
        by: Principal,
        matching: KeyFilter,
        *,
        since: datetime,
        strategy: RotationStrategy | None = None,
        is_compromised: bool = False,
        keeps_secret: bool = False,
        said: Mapping[str, Any] | None = None,
        rsa_keys: RsaKeys = make_rsa_key,
    ) -> Iterator[BulkOutcome]:
        """Rotate each key in service that meets the filter, and give each as soon as it is done, or why it cannot be.

        Keys whose rotation has begun at or after `since` are left alone: whoever was interrupted gives the time at
        which they began, and goes on where they were. With `is_compromised` suspended keys are rotated too, and stay
        suspended; and of the rotations since then only those after a compromise count, for no other has ended the old
        version.
        """
        narrow = row_filter(by.tenant, None, matching)
        while rows := self._ledger.list_keys(narrow, _PAGE):
            narrow = replace(narrow, before=rows[-1].created)
            keys = {key.key_id: key for key in self._intact.read(rows, key_from)}
            for row in rows:
                key = keys.get(row.id)
                if key is None:
                    yield BulkOutcome(key_id=row.id, started=None, problem="the key's row does not hold")
                elif self._is_meant(key, by, matching) and not self._is_left_alone(
                    key, by, since, is_compromised
                ):
                    yield self._rotated(
                        key,
                        by,
                        strategy=strategy,
                        is_compromised=is_compromised,
                        keeps_secret=keeps_secret,
                        said=said,
                        rsa_keys=rsa_keys,
                    )

    def _is_meant(self, key: Key, by: Principal, matching: KeyFilter) -> bool:
        """Whether it is one of these: index columns found its row, and its sealed body has the last word."""
        return key.tenant == by.tenant and matching.may_admit(key)

    def _is_left_alone(self, key: Key, by: Principal, since: datetime, is_compromised: bool) -> bool:
        states = (KeyState.ACTIVE, KeyState.SUSPENDED) if is_compromised else (KeyState.ACTIVE,)
        if key.state not in states or key.is_expired(self._clock.now()) or key.created_at >= since:
            return True
        has_turned = key.due_from is not None and key.due_from >= since
        return has_turned and (not is_compromised or self._was_compromised(key, by, since))

    def _was_compromised(self, key: Key, by: Principal, since: datetime) -> bool:
        """Whether the key was rotated after a compromise since then, whatever was done with it afterwards."""
        cursor = None
        while True:
            page = self._history.list(by, key_id=key.key_id, limit=_PAGE, cursor=cursor)
            for rotation in page.items:
                if rotation.started_at < since:
                    return False
                if rotation.cause is Cause.COMPROMISED:
                    return True
            if page.next_cursor is None:
                return False
            cursor = page.next_cursor

    def _rotated(self, key: Key, by: Principal, **how: Any) -> BulkOutcome:
        try:
            started = self._requests.rotate(key.key_id, by, **how)
        except (
            IllegalTransitionError,
            ConflictError,
            ForbiddenError,
            IntegrityError,
            PoolEmptyError,
        ) as error:
            return BulkOutcome(key_id=key.key_id, started=None, problem=str(error))
        return BulkOutcome(key_id=key.key_id, started=started, problem=None)
