"""Codes with which the holder of a key picks its new secret up, once, without a key of their own.

offered = pick_ups.offer(rotation_id, by)             # hand offered.code to the holder, over any channel
picked = pick_ups.redeem(offered.code)                # the secret; once it has gone, an alarm in the log
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from keyturn.crypto.randomness import random_base62
from keyturn.domain import ids
from keyturn.domain.change import ChangeSet, Event, EventType, Put
from keyturn.domain.principal import SYSTEM_ACTOR, Principal
from keyturn.domain.rotation.pick_up import PickUp, pick_up_from, pick_up_put
from keyturn.domain.rotation.stages import Awaited, Stage
from keyturn.domain.secret import Secret
from keyturn.errors import (
    ConflictError,
    ForbiddenError,
    IllegalTransitionError,
    InvalidInputError,
    NotFoundError,
    ThrottledError,
)
from keyturn.issuing.keys import Keys
from keyturn.ports.clock import Clock
from keyturn.records.records import Records
from keyturn.rotation.makers import maker_of
from keyturn.rotation.moving import Mover, PickedUp
from keyturn.verifier.throttle import Throttle

DEFAULT_LIFETIME: Final = 3_600  # seconds
MAX_LIFETIME: Final = 7 * 86_400
_MIN_LIFETIME: Final = 60
_PREFIX: Final = "ktpick_"
_CHARACTERS: Final = 43  # base62: 256 bits
_CODE: Final = re.compile(f"{_PREFIX}[0-9A-Za-z]{{{_CHARACTERS}}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A code for one pick-up, until a time. It is shown this once, and kept nowhere."""

    rotation_id: str
    code: Secret
    expires_at: datetime


Beside = Callable[[Offered], tuple[Put, ...]]
"""Given the code that is about to be made, the rows that are to be stored in the same commit."""


class PickUps:
    """Makes codes, and hands secrets out for them."""

    def __init__(self, *, records: Records, keys: Keys, mover: Mover, clock: Clock) -> None:
        self._records = records
        self._keys = keys
        self._mover = mover
        self._clock = clock
        self._throttle = Throttle()

    def start_afresh(self) -> None:
        """Go on in a forked child."""
        self._throttle.start_afresh()

    def offer(
        self,
        rotation_id: str,
        by: Principal,
        *,
        lifetime: int = DEFAULT_LIFETIME,
        beside: Beside = lambda _: (),
    ) -> Offered:
        """A code for the secret of a rotation that awaits its pick-up, for `lifetime` seconds (60 to 7 days).

        IllegalTransitionError where no secret waits; ForbiddenError for a key that holds more than the caller.
        """
        if type(lifetime) is not int or not _MIN_LIFETIME <= lifetime <= MAX_LIFETIME:
            raise InvalidInputError(
                f"a code lives for {_MIN_LIFETIME} to {MAX_LIFETIME} seconds", field="lifetime"
            )
        rotation, now = self._keys.rotation(by.tenant, rotation_id), self._clock.now()
        rotation.require_running()
        if Awaited.PICK_UP not in rotation.awaited:
            raise IllegalTransitionError(
                "no secret waits to be picked up", fix="Look at the rotation to see what it awaits."
            )
        key = self._keys.get(by.tenant, rotation.key_id)
        by.require_grantable(key.permissions, key.scope)
        code = Secret(_PREFIX + random_base62(_CHARACTERS))
        pick_up = PickUp(
            row_id=self._row_of(code.reveal()),
            tenant=by.tenant,
            rotation_id=rotation_id,
            key_id=rotation.key_id,
            actor=by.actor,
            created_at=now,
            expires_at=now + timedelta(seconds=lifetime),
        )
        offered = Offered(rotation_id=rotation_id, code=code, expires_at=pick_up.expires_at)
        self._commit(EventType.PICK_UP_OFFERED, pick_up, by.actor, now, {}, beside=beside(offered))
        return offered

    def redeem(self, code: Secret | str, *, ip: str | None = None) -> PickedUp:
        """The secret for a code, this once; then the new version takes over, as after any pick-up.

        NotFoundError for a code that there is not, or not any more; a code ends with its maker's key too, and when that
        no longer holds what the rotated key does. IllegalTransitionError where the secret was fetched before, for this
        code or otherwise: somebody has it who should not, or lost an answer, so the log has an alarm
        (`pick_up_repeated`), one for each code. ThrottledError where codes from an address were none too often.
        """
        pick_up = self._found(code, ip)
        now = self._clock.now()
        if pick_up.used_at is None and now >= pick_up.expires_at:
            raise _no_code()
        if pick_up.used_at is None:
            try:
                return self._handed_out(pick_up, now, ip)
            except (ConflictError, IllegalTransitionError, NotFoundError):
                pick_up = self._get(pick_up.row_id)
                if not self._has_gone(pick_up):
                    raise
        self._raise_alarm(pick_up, now, ip)
        what = "this code was used before" if pick_up.used_at else "the secret was fetched without this code"
        fix = "If that was not you, somebody else has the secret: have the key rotated as compromised."
        raise IllegalTransitionError(what, fix=fix)

    def _handed_out(self, pick_up: PickUp, now: datetime, ip: str | None) -> PickedUp:
        used = pick_up_put(pick_up.used(now))
        try:
            by = maker_of(self._keys, pick_up, now)
            return self._mover.pick_up(
                pick_up.rotation_id,
                by,
                details={"by": "code", **_details(ip)},
                beside=lambda _: (used,),
            )
        except ForbiddenError:
            raise _no_code() from None  # whoever shows it learns nothing of who made it

    def _has_gone(self, pick_up: PickUp) -> bool:
        """Whether the secret was handed out, for this code or otherwise, and its version has not been ended since."""
        if pick_up.used_at is not None:
            return True
        rotation = self._keys.rotation(pick_up.tenant, pick_up.rotation_id)
        has_been = rotation.is_running and Awaited.PICK_UP not in rotation.awaited
        return has_been or rotation.stage is Stage.COMPLETED

    def _raise_alarm(self, pick_up: PickUp, now: datetime, ip: str | None) -> None:
        if pick_up.repeated_at is not None:
            return  # it was raised; whoever has a code must not fill the log with it
        try:
            self._commit(EventType.PICK_UP_REPEATED, pick_up.repeated(now), SYSTEM_ACTOR, now, _details(ip))
        except ConflictError:
            if self._get(pick_up.row_id).repeated_at is None:
                raise

    def _found(self, code: Secret | str, ip: str | None) -> PickUp:
        now, row_id = self._clock.steady(), self._row_id(code)
        if row_id is None:  # nothing is looked up, and that costs nobody else anything
            self._throttle.failed(ip, now)
            raise _no_code()
        if not self._throttle.admits(ip, now):
            raise ThrottledError("too many codes from this address were none")
        try:
            return self._get(row_id)
        except NotFoundError:
            self._throttle.failed(ip, now)
            self._throttle.looked_up_in_vain(now)
            raise

    def _get(self, row_id: str) -> PickUp:
        opened = self._records.get(row_id)
        if opened is None:
            raise _no_code()
        return pick_up_from(opened.body)

    def _row_id(self, code: Secret | str) -> str | None:
        """The row of a code; None for what cannot be one."""
        try:
            text = code.reveal() if isinstance(code, Secret) else code
        except UnicodeDecodeError:
            return None
        if not isinstance(text, str) or _CODE.fullmatch(text) is None:
            return None
        return self._row_of(text)

    def _row_of(self, code: str) -> str:
        return ids.build(ids.PICK_UP, self._records.keyring.pseudonym("pick-up", code))

    def _commit(
        self,
        kind: EventType,
        pick_up: PickUp,
        actor: str,
        now: datetime,
        details: dict[str, object],
        *,
        beside: tuple[Put, ...] = (),
    ) -> None:
        event = Event(
            type=kind,
            time=now,
            tenant=pick_up.tenant,
            actor=actor,
            subjects=(pick_up.key_id, pick_up.rotation_id),
            rows=(pick_up.row_id,),
            details=details,
        )
        changes = ChangeSet(puts=(pick_up_put(pick_up),), events=(event,))
        self._records.commit(changes.with_rows(beside))


def _details(ip: str | None) -> dict[str, object]:
    return {} if ip is None else {"ip": ip}


def _no_code() -> NotFoundError:
    return NotFoundError("there is no such code, or its time is over", fix="Ask for another one.")
