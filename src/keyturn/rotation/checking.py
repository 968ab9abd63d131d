"""Asking the caller's own check whether staged versions may take over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from keyturn.domain.change import EventType
from keyturn.domain.principal import Principal
from keyturn.domain.rotation.bodies import rotation_from
from keyturn.domain.rotation.reasons import PauseCode, Reason
from keyturn.domain.rotation.rotation import Rotation
from keyturn.domain.rotation.stages import Awaited, Stage
from keyturn.errors import ConflictError, IllegalTransitionError, IntegrityError
from keyturn.ports.clock import Clock
from keyturn.ports.ledger import Ledger, RotationFilter
from keyturn.records.intact import Intact
from keyturn.rotation.events import RotationEvent
from keyturn.rotation.moving import Mover

Check = Callable[[Rotation], bool]
"""Given a rotation whose new version is staged, whether that may take over."""

_PAGE: Final = 200


class Checks:
    """Asks about rotations of the caller's tenant that await nothing but an approval."""

    def __init__(self, *, ledger: Ledger, intact: Intact, mover: Mover, clock: Clock) -> None:
        self._ledger = ledger
        self._intact = intact
        self._mover = mover
        self._clock = clock

    def ask(self, check: Check, by: Principal) -> list[RotationEvent]:
        """Approve of those for which the check is true, and pause the others; what was done."""
        done, staged = [], RotationFilter(tenant=by.tenant, stage=Stage.STAGED.value)
        while rows := self._ledger.list_rotations(staged, _PAGE):
            staged = replace(staged, before=rows[-1].created)
            for rotation in self._intact.read(rows, rotation_from):
                if rotation.awaited == {Awaited.CHECK} and rotation.paused is None:
                    event = self._asked(rotation, check, by)
                    done += [] if event is None else [event]
        return done

    def _asked(self, rotation: Rotation, check: Check, by: Principal) -> RotationEvent | None:
        try:
            why = None if check(rotation) is True else "the check refused the new version"
        except Exception as error:  # noqa: BLE001 - the caller's code: whatever it raises is no approval
            why = f"the check failed: {type(error).__name__}"
        try:
            if why is None:
                kind, moved = EventType.ROTATION_CHECKED, self._mover.approve(rotation.rotation_id, by)
            else:
                kind, moved = (
                    EventType.ROTATION_PAUSED,
                    self._mover.pause(rotation.rotation_id, by, why=Reason(PauseCode.CHECK_REFUSED, why)),
                )
        except (ConflictError, IllegalTransitionError):
            return None  # somebody else was first
        except IntegrityError as error:
            self._intact.leave_out("rotation", rotation.rotation_id, error)
            return None
        return RotationEvent.of(kind, moved, self._clock.now())
