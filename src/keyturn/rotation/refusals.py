"""Rotations that cannot begin: said in the log once for each time that they were due, not in every run."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from keyturn.domain.answer import KeptAnswer
from keyturn.domain.bodies import answer_put
from keyturn.domain.change import ChangeSet, Event, EventType, Require
from keyturn.domain.ids import ANSWER, build
from keyturn.domain.instants import to_micros
from keyturn.domain.key import Key
from keyturn.domain.principal import SYSTEM_ACTOR
from keyturn.domain.rotation.kept_policy import KeptPolicy
from keyturn.domain.rotation.reasons import Outcome
from keyturn.errors import ConflictError, KeyturnError
from keyturn.ports.clock import Clock
from keyturn.records.records import Records
from keyturn.rotation.events import RotationEvent

_KEPT: Final = timedelta(days=366)
_MAX_CHARACTERS: Final = 500


class Refusals:
    """Notes what could not begin. That it was noted is a row that is forgotten as kept answers are, after a year."""

    def __init__(self, *, records: Records, clock: Clock) -> None:
        self._records = records
        self._clock = clock

    def noted(self, kept: KeptPolicy, key: Key, due: datetime, error: Exception) -> RotationEvent | None:
        """The event that says so, now in the log; None where it was said before, or the key has moved."""
        mark = self._mark(kept, key, due)
        if self._records.get(mark.row_id) is not None:
            return None
        told = RotationEvent(
            type=EventType.ROTATION_FAILED.value,
            at=mark.created_at,
            tenant=key.tenant,
            key_id=key.key_id,
            policy_id=kept.policy.policy_id,
            code=Outcome.NOT_BEGUN.value,
            why=(str(error) if isinstance(error, KeyturnError) else type(error).__name__)[:_MAX_CHARACTERS],
        )
        event = Event(
            type=EventType.ROTATION_FAILED,
            time=mark.created_at,
            tenant=key.tenant,
            actor=SYSTEM_ACTOR,
            subjects=(key.key_id, kept.row_id),
            rows=(mark.row_id,),
            details={
                "policy_id": kept.policy.policy_id,
                "outcome": Outcome.NOT_BEGUN.value,
                "error": error.code if isinstance(error, KeyturnError) else KeyturnError.code,
                "why": told.why,
            },
        )
        requires = (Require(key.row_id, key.revision), Require(kept.row_id, kept.revision))
        try:
            self._records.commit(ChangeSet(requires=requires, puts=(answer_put(mark),), events=(event,)))
        except ConflictError:
            return None
        return told

    def _mark(self, kept: KeptPolicy, key: Key, due: datetime) -> KeptAnswer:
        now, when = self._clock.now(), str(to_micros(due))
        named = self._records.keyring.pseudonym("not begun", key.tenant, key.key_id, kept.row_id, when)
        return KeptAnswer(
            row_id=build(ANSWER, named),
            tenant=key.tenant,
            subjects=(key.key_id, kept.row_id),
            created_at=now,
            expires_at=now + _KEPT,
            material=None,
        )
