"""Rotating many keys because somebody asks, such as all of an owner's after a leak; and going on where that ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from keyturn.crypto.generation import RsaKeys
from keyturn.crypto.key_pairs import make_rsa_key
from keyturn.domain.bodies import key_from
from keyturn.domain.instants import rfc3339
from keyturn.domain.key import Key
from keyturn.domain.lifecycle import KeyState
from keyturn.domain.principal import Principal
from keyturn.domain.rotation.policy import RotationStrategy
from keyturn.domain.rotation.rotation import Rotation
from keyturn.domain.rotation.stages import Cause
from keyturn.domain.spec import check_instant
from keyturn.errors import (
    ConflictError,
    ForbiddenError,
    IllegalTransitionError,
    IntegrityError,
    InvalidInputError,
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
    """What became of one key.

    Attributes:
        started: its rotation; None where it was not rotated.
        problem: why it could not be.
        skipped: why it was left alone: what was done with it since the time that was given. Somebody has its secret,
            or that was lost when a run was interrupted.
    """

    key_id: str
    started: Started | None = None
    problem: str | None = None
    skipped: str | None = None


class _LeftAloneError(Exception):
    """The key is left alone: it was rotated meanwhile."""


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
        """Rotate each key in service that meets the filter, and give each as soon as it is done, or why it is not.

        Keys whose rotation has begun at or after `since` are left alone and say so: whoever was interrupted gives the
        time at which they began, and goes on where they were. Any number may do so at once, and each key is rotated
        once. With `is_compromised` suspended keys are rotated too, and stay suspended; and of the rotations since then
        only those after a compromise count, for no other has ended the old version.

        InvalidInputError at once for terms that suit no key, or a `since` that has not come.
        """
        check_instant("since", since)
        if since > self._clock.now():
            raise InvalidInputError(
                "since has not come yet",
                field="since",
                fix="Give the time at which the interrupted run began.",
            )
        how: dict[str, Any] = {
            "strategy": strategy,
            "is_compromised": is_compromised,
            "keeps_secret": keeps_secret,
            "said": said or {},
        }
        self._requests.require_meaning(**how)
        return self._each(by, matching, since, {**how, "rsa_keys": rsa_keys})

    def _each(
        self, by: Principal, matching: KeyFilter, since: datetime, how: dict[str, Any]
    ) -> Iterator[BulkOutcome]:
        narrow = row_filter(by.tenant, None, matching)
        while rows := self._ledger.list_keys(narrow, _PAGE):
            narrow = replace(narrow, before=rows[-1].created)
            keys = {key.key_id: key for key in self._intact.read(rows, key_from)}
            for row in rows:
                key = keys.get(row.id)
                if key is None:
                    yield BulkOutcome(key_id=row.id, problem="the key's row does not hold")
                elif self._is_meant(key, by, matching, is_compromised=how["is_compromised"]):
                    yield self._rotated(key, by, since, how)

    def _is_meant(self, key: Key, by: Principal, matching: KeyFilter, *, is_compromised: bool) -> bool:
        """Whether it is one of these: index columns found its row, and its sealed body has the last word."""
        states = (KeyState.ACTIVE, KeyState.SUSPENDED) if is_compromised else (KeyState.ACTIVE,)
        is_in_service = key.state in states and not key.is_expired(self._clock.now())
        return is_in_service and key.tenant == by.tenant and matching.may_admit(key)

    def _rotated(self, key: Key, by: Principal, since: datetime, how: dict[str, Any]) -> BulkOutcome:
        def require_turn(found: Key) -> None:
            # Of the key as it is when its rotation is committed: somebody else may be at work on the same ones.
            why = self._why_left_alone(found, by, since, how["is_compromised"])
            if why is not None:
                raise _LeftAloneError(why)

        try:
            require_turn(key)
            started = self._requests.rotate(key.key_id, by, only_if=require_turn, **how)
        except _LeftAloneError as left:
            return BulkOutcome(key_id=key.key_id, skipped=str(left))
        except (
            IllegalTransitionError,
            ConflictError,
            ForbiddenError,
            IntegrityError,
            InvalidInputError,
            PoolEmptyError,
        ) as error:
            return BulkOutcome(key_id=key.key_id, problem=str(error))
        return BulkOutcome(key_id=key.key_id, started=started)

    def _why_left_alone(self, key: Key, by: Principal, since: datetime, is_compromised: bool) -> str | None:
        """What was done with the key since then, so that it is left alone; None where it is its turn."""
        if key.created_at >= since:
            return f"issued at {rfc3339(key.created_at)}"
        if key.due_from is None or key.due_from < since:
            return None
        if not is_compromised:
            return f"rotated at {rfc3339(key.due_from)}"
        latest = self._latest_compromise(key, by, since)
        return None if latest is None else f"rotated at {rfc3339(latest.started_at)}: {latest.rotation_id}"

    def _latest_compromise(self, key: Key, by: Principal, since: datetime) -> Rotation | None:
        """The key's rotation after a compromise since then, whatever was done with it afterwards.

        One whose row does not hold is none: the key is rotated once more then.
        """
        cursor = None
        while True:
            page = self._history.list(by, key_id=key.key_id, limit=_PAGE, cursor=cursor)
            for rotation in page.items:
                if rotation.started_at < since:
                    return None
                if rotation.cause is Cause.COMPROMISED:
                    return rotation
            if page.next_cursor is None:
                return None
            cursor = page.next_cursor
