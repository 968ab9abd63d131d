"""Doing what is due: the next steps of rotations that are under way, then new ones. Any number of processes may do it.

Nothing is kept between two runs but what is in the store, so that it makes no difference who goes on, or when. Each
step is a commit that requires the rows it was decided from: of two schedulers one loses, and goes on with the next key.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from keyturn.domain import canonical
from keyturn.domain.bodies import key_from
from keyturn.domain.change import EventType
from keyturn.domain.instants import to_micros
from keyturn.domain.key import Key, KeyType
from keyturn.domain.principal import SYSTEM_ACTOR, Principal
from keyturn.domain.rotation.bodies import rotation_from
from keyturn.domain.rotation.kept_policy import KeptPolicy
from keyturn.domain.rotation.policy import RotationPolicy
from keyturn.domain.rotation.reasons import Outcome
from keyturn.domain.rotation.rotation import Cause
from keyturn.domain.rotation.schedule import counted_from, latest_counted_from, next_due
from keyturn.errors import (
    ConflictError,
    IllegalTransitionError,
    KeyturnError,
    NotFoundError,
    StorageError,
)
from keyturn.ports.clock import Clock
from keyturn.ports.ledger import Ledger, Row
from keyturn.records.records import Records
from keyturn.rotation.events import RotationEvent
from keyturn.rotation.moving import Mover
from keyturn.rotation.policies import Policies
from keyturn.rotation.selecting import is_selected
from keyturn.rotation.starting import Starter
from keyturn.rotation.taking_up import TakingUp
from keyturn.rotation.terms import Terms

_PAGE: Final = 200  # rows read at a time
_log = logging.getLogger("keyturn.rotation")


class Scheduler:
    """Works off what is due, in every tenant, a page at a time."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        records: Records,
        policies: Policies,
        starter: Starter,
        mover: Mover,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._records = records
        self._policies = policies
        self._starter = starter
        self._mover = mover
        self._clock = clock
        self._taking_up = TakingUp(ledger=ledger, records=records)

    def work(self) -> Iterator[RotationEvent]:
        """Do what is due, and give each thing as soon as it is done. Stop taking, and the rest stays due.

        What cannot be done now is given as ``rotation_failed`` without a rotation, and tried again the next time.
        StorageError where the store does not answer.
        """
        yield from self._steps()
        for kept in self._policies.of_all_tenants():
            yield from self._begin_all(kept)

    def _steps(self) -> Iterator[RotationEvent]:
        now, after = to_micros(self._clock.now()), (0, "")
        while rows := self._ledger.list_due_rotations(now, after, _PAGE):
            rotations = [rotation_from(opened.body) for opened in self._records.open_all(rows)]
            for rotation in rotations:
                by = Principal(actor=SYSTEM_ACTOR, tenant=rotation.tenant)
                try:
                    done = self._mover.advance(rotation.rotation_id, by)
                except (ConflictError, IllegalTransitionError):
                    continue  # somebody else was first
                except StorageError:
                    raise
                except KeyturnError as error:
                    _log.warning("the rotation %s cannot go on: %s", rotation.rotation_id, error)
                    continue
                if done is not None:
                    yield RotationEvent.of(*done, self._clock.now())
            after = _member(rows[-1], "next_at"), rows[-1].id

    def _begin_all(self, kept: KeptPolicy) -> Iterator[RotationEvent]:
        policy, now = kept.policy, self._clock.now()
        bound = latest_counted_from(policy, now)
        if bound is None or kept.paused is not None:
            return
        gate = self._taking_up.gate(kept, now)
        for key in self._candidates(kept, bound):
            if not self._is_due(policy, key):
                continue
            why = gate.refusal(key)
            if why is not None:
                self._policies.pause(policy.policy_id, Principal(actor=SYSTEM_ACTOR, tenant=kept.tenant), why)
                return
            event = self._begun(policy, key)
            if event is not None:
                yield event

    def _candidates(self, kept: KeptPolicy, bound: datetime) -> Iterator[Key]:
        """Keys that may be due under a policy: those that name it, then those that it may select."""
        yield from self._counting(kept.tenant, bound, policy_id=kept.policy.policy_id)
        if kept.policy.keys is not None:
            for key_type in kept.policy.keys.types or tuple(KeyType):
                yield from self._counting(kept.tenant, bound, key_type=key_type)

    def _counting(
        self,
        tenant: str,
        bound: datetime,
        *,
        policy_id: str | None = None,
        key_type: KeyType | None = None,
    ) -> Iterator[Key]:
        after = (-1, "")
        while rows := self._ledger.list_due_keys(
            tenant,
            to_micros(bound),
            after,
            _PAGE,
            policy_id=policy_id,
            type=None if key_type is None else key_type.value,
        ):
            for opened in self._records.open_all(rows):
                yield key_from(opened.body)
            after = _member(rows[-1], "due_from", "created_at"), rows[-1].id

    def _is_due(self, policy: RotationPolicy, key: Key) -> bool:
        if key.rotation is not None or not is_selected(policy, key):
            return False
        now = self._clock.now()
        due = None if key.is_expired(now) else next_due(policy, key, now)
        return due is not None and due <= now

    def _begun(self, policy: RotationPolicy, key: Key) -> RotationEvent | None:
        by, now = Principal(actor=SYSTEM_ACTOR, tenant=key.tenant), self._clock.now()
        try:
            started = self._starter.start(
                key.key_id,
                by,
                Terms.of(policy, Cause.SCHEDULED),
                keeps_secret=True,
                due_from=counted_from(policy, key, now),
                only_at=key.revision,
            )
        except (ConflictError, IllegalTransitionError, NotFoundError):
            return None  # somebody else was first
        except StorageError:
            raise
        except KeyturnError as error:
            _log.warning("the key %s cannot be rotated: %s", key.key_id, error)
            return RotationEvent(
                type=EventType.ROTATION_FAILED.value,
                at=now,
                tenant=key.tenant,
                key_id=key.key_id,
                policy_id=policy.policy_id,
                code=Outcome.NOT_BEGUN.value,
                why=str(error),
            )
        return RotationEvent.of(EventType.ROTATION_STARTED, started.rotation, self._clock.now())


def _member(row: Row, *names: str) -> int:
    """The first of these members that a row's body has, as the store had it when it put the row into its order."""
    body: Any = canonical.decode_sealed(row.body)
    return next(int(body[name]) for name in names if name in body)
