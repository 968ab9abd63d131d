"""What happens to a rotation that is under way: its next step, and what people do to it. Each is one commit."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from keyturn.crypto.digests import token_digest
from keyturn.domain import fields
from keyturn.domain.change import EventType, Put
from keyturn.domain.instants import from_micros
from keyturn.domain.key import Key
from keyturn.domain.principal import Principal
from keyturn.domain.rotation.reasons import PAUSED_BY_SOMEBODY, PauseCode, Reason
from keyturn.domain.rotation.rotation import Rotation
from keyturn.domain.rotation.stages import Awaited, Stage
from keyturn.domain.rotation.steps import brought
from keyturn.domain.secret import Secret
from keyturn.errors import ConflictError, IllegalTransitionError, IntegrityError, InvalidInputError
from keyturn.issuing.keys import Keys
from keyturn.issuing.material import material_of
from keyturn.issuing.retrying import Retrying
from keyturn.ports.clock import Clock
from keyturn.ports.ledger import Ledger
from keyturn.records.records import Records
from keyturn.rotation.commits import Step
from keyturn.rotation.material import signs
from keyturn.rotation.scenes import Scene, end_of, require_service

_NOT_VERIFYING: Final = "what the new version signs does not verify"


@dataclass(frozen=True, slots=True, kw_only=True)
class PickedUp:
    """A new secret that somebody has fetched, this once."""

    rotation: Rotation
    key: Key
    secret: Secret


class Mover:
    """Moves rotations on, back, and to a stop."""

    def __init__(self, *, ledger: Ledger, records: Records, keys: Keys, clock: Clock) -> None:
        self._ledger = ledger
        self._records = records
        self._keys = keys
        self._clock = clock
        self._retrying = Retrying(turns=keys.turns, clock=clock)

    def get(self, rotation_id: str, by: Principal) -> Rotation:
        """A rotation; NotFoundError for an unknown id and another tenant's alike."""
        return self._keys.rotation(by.tenant, rotation_id)

    def advance(self, rotation_id: str, by: Principal) -> tuple[EventType, Rotation] | None:
        """Take the next step if it is due; what happened, or None where there was nothing to do.

        ConflictError where somebody else changed the key or the rotation meanwhile: then they have done it.
        """
        rotation = self.get(rotation_id, by)
        if rotation.paused is not None or not rotation.is_due(self._clock.now()):
            return None
        scene, now = self._scene(rotation, by), self._clock.now()
        rotation = scene.rotation
        if rotation.paused is not None or not rotation.is_due(now):
            return None
        ended = end_of(scene.found, now)
        if ended is not None:
            return self._made(EventType.ROTATION_FAILED, scene, rotation.failed(now, ended), by=by, now=now)
        if (
            rotation.stage is Stage.OVERLAP
            and not rotation.has_lost_old(now)
            and (self._is_in_use(rotation, now) or not self._signs(scene))
        ):
            return None
        if not rotation.awaited and not self._may_take_over(scene):
            why = Reason(PauseCode.NOT_VERIFYING, _NOT_VERIFYING)
            return self._made(EventType.ROTATION_PAUSED, scene, rotation.paused_at(now, why), by=by, now=now)
        moved = rotation.advanced(now, scene.found.key.expires_at)
        return self._made(_type_of(rotation, moved), scene, moved, by=by, now=now)

    def end_with_key(self, rotation_id: str, by: Principal) -> tuple[EventType, Rotation] | None:
        """End a rotation, be it paused, whose key has ended; what happened, or None where the key goes on."""
        scene, now = self._scene(self.get(rotation_id, by), by), self._clock.now()
        ended = end_of(scene.found, now)
        if ended is None:
            return None
        return self._made(EventType.ROTATION_FAILED, scene, scene.rotation.failed(now, ended), by=by, now=now)

    def pause(
        self,
        rotation_id: str,
        by: Principal,
        *,
        why: Reason[PauseCode] = PAUSED_BY_SOMEBODY,
        note: str | None = None,
    ) -> Rotation:
        """Let a rotation stand still. The old version goes on meanwhile, up to the longest overlap.

        ForbiddenError for a key that holds more than the caller: an old secret would live longer by it.
        """
        return self._acted(
            rotation_id, by, EventType.ROTATION_PAUSED, lambda s, now: s.rotation.paused_at(now, why), note
        )

    def resume(self, rotation_id: str, by: Principal, *, note: str | None = None) -> Rotation:
        """Let a rotation go on, with as much of its times as was left; one whose old version has ended is completed.

        IllegalTransitionError where the new version would sign and what it signs does not verify.
        """

        def resumed(scene: Scene, now: datetime) -> Rotation:
            moved = scene.rotation.resumed(now)
            if not self._may_take_over(scene):
                raise _not_verifying()
            return moved

        return self._acted(rotation_id, by, EventType.ROTATION_RESUMED, resumed, note)

    def roll_back(self, rotation_id: str, by: Principal, *, note: str | None = None) -> Rotation:
        """Put the old version back into service, and end the new one for good.

        IllegalTransitionError once the rotation has ended, or the old version has. ForbiddenError for a key that holds
        more than the caller: who could not issue it may not bring an old secret back.
        """
        return self._acted(
            rotation_id,
            by,
            EventType.ROTATION_ROLLED_BACK,
            lambda s, now: s.rotation.rolled_back(now),
            note,
        )

    def complete(self, rotation_id: str, by: Principal, *, note: str | None = None) -> Rotation:
        """Put the new version into service and end the old one now, ahead of its time.

        IllegalTransitionError while something is awaited, before the lead is over, and where what the new version signs
        does not verify although there is a way back.
        """

        def completed(scene: Scene, now: datetime) -> Rotation:
            moved = scene.rotation.completed(now)
            if not scene.rotation.has_lost_old(now) and not self._signs(scene):
                raise _not_verifying()
            return moved

        return self._acted(rotation_id, by, EventType.ROTATION_COMPLETED, completed, note)

    def approve(self, rotation_id: str, by: Principal, *, note: str | None = None) -> Rotation:
        """Say that the new version may take over; the rotation goes on at once if nothing else is awaited."""
        return self._acted(
            rotation_id,
            by,
            EventType.ROTATION_CHECKED,
            lambda s, now: s.rotation.met(Awaited.CHECK, now),
            note,
        )

    def prove(self, rotation_id: str, token: str | Secret, by: Principal) -> Rotation:
        """Take a staged token as the proof that its holder has it; InvalidInputError for any other text.

        ForbiddenError for a key that holds more than the caller.
        """
        presented = _digest_of(token)

        def proved(scene: Scene, now: datetime) -> Rotation:
            by.require_grantable(scene.found.key.permissions, scene.found.key.scope)
            digest = scene.new.digest
            if digest is None or presented is None or not hmac.compare_digest(presented, digest):
                raise InvalidInputError("that is not the rotation's new token", field="key")
            return scene.rotation.met(Awaited.PROOF, now)

        return self._acted_on(rotation_id, by, EventType.ROTATION_PROVED, proved).rotation

    def pick_up(
        self,
        rotation_id: str,
        by: Principal,
        *,
        details: dict[str, object] | None = None,
        beside: Callable[[PickedUp], tuple[Put, ...]] = lambda _: (),
    ) -> PickedUp:
        """The new secret that waits, this once; from now on it is kept nowhere, and the rotation goes on.

        The same commit puts the rows that `beside` gives, and the log has these `details` of it.

        IllegalTransitionError where none waits (any more); ForbiddenError for a key that holds more than the caller.
        """
        secrets: list[Secret] = []

        def handed_out(after: Scene) -> PickedUp:
            return PickedUp(rotation=after.rotation, key=after.found.key, secret=secrets[0])

        def picked_up(scene: Scene, now: datetime) -> Rotation:
            by.require_grantable(scene.found.key.permissions, scene.found.key.scope)
            moved = scene.rotation.met(Awaited.PICK_UP, now)
            secrets[:] = [material_of(self._records, scene.found.key, scene.new)]
            return moved

        done = self._acted_on(
            rotation_id,
            by,
            EventType.ROTATION_PICKED_UP,
            picked_up,
            details,
            beside=lambda after: beside(handed_out(after)),
        )
        return handed_out(done)

    def _acted(
        self,
        rotation_id: str,
        by: Principal,
        kind: EventType,
        act: Callable[[Scene, datetime], Rotation],
        note: str | None,
    ) -> Rotation:
        details: dict[str, object] = {} if note is None else {"note": fields.check_note(note)}

        def acted(scene: Scene, now: datetime) -> Rotation:
            key = scene.found.key
            by.require_other_than(key.key_id)
            by.require_grantable(key.permissions, key.scope)
            return act(scene, now)

        return self._acted_on(rotation_id, by, kind, acted, details).rotation

    def _acted_on(
        self,
        rotation_id: str,
        by: Principal,
        kind: EventType,
        act: Callable[[Scene, datetime], Rotation],
        details: dict[str, object] | None = None,
        *,
        beside: Callable[[Scene], tuple[Put, ...]] = lambda _: (),
    ) -> Scene:
        """The rotation and its key once `act` has been made of them, in a commit that is tried again where it loses."""
        key_id = self.get(rotation_id, by).key_id

        def attempt() -> Scene:
            scene, now = self._scene(self.get(rotation_id, by), by), self._clock.now()
            require_service(scene.found, now)
            moved = self._going_on(act(scene, now), scene, now)
            changed = brought(moved, scene.found.key, scene.old, scene.new, now)
            after = Scene(moved, replace(scene.found, key=changed.key))
            self._made(kind, scene, moved, by=by, now=now, details=details, beside=beside(after))
            return after

        return self._retrying.change(key_id, attempt)

    def _scene(self, rotation: Rotation, by: Principal) -> Scene:
        rotation.require_running()
        found = self._keys.together(by.tenant, rotation.key_id, (rotation.old, rotation.new))
        if found.key.rotation != rotation.rotation_id or found.rotation is None:
            raise ConflictError("the rotation has ended meanwhile")
        return Scene(found.rotation, found)

    def _made(
        self,
        kind: EventType,
        scene: Scene,
        rotation: Rotation,
        *,
        by: Principal,
        now: datetime,
        details: dict[str, object] | None = None,
        beside: tuple[Put, ...] = (),
    ) -> tuple[EventType, Rotation]:
        """Commit a step; what happened, as the caller gave it."""
        due_from = now if rotation.stage is Stage.ROLLED_BACK else None
        moved = brought(rotation, scene.found.key, scene.old, scene.new, now, due_from=due_from)
        ends = rotation.stage is Stage.COMPLETED and kind is not EventType.ROTATION_COMPLETED
        step = Step(
            types=(kind, EventType.ROTATION_COMPLETED) if ends else (kind,),
            before=scene.found,
            rotation=rotation,
            moved=moved,
            details=details or {},
        )
        self._records.commit(step.changes(by.actor, now).with_rows(beside))
        return kind, rotation

    def _is_in_use(self, rotation: Rotation, now: datetime) -> bool:
        """Whether the old version cannot end early: it was used of late, or the new one never."""
        quiet = rotation.plan.retire_unused_after
        assert quiet is not None  # or there would be nothing to look at before its end
        uses = {use.version: from_micros(use.at) for use in self._ledger.last_uses((rotation.key_id,))}
        last_of_old = uses.get(rotation.old)
        return rotation.new not in uses or (
            last_of_old is not None and now - last_of_old < timedelta(seconds=quiet)
        )

    def _going_on(self, moved: Rotation, scene: Scene, now: datetime) -> Rotation:
        """The rotation after its next step too, where what held it up has just gone; still one revision.

        That is the last thing that it awaited, or a pause in which the old version came to its end. One whose new
        version may not take over stays due, and whoever takes what is due says why it does not go on.
        """
        before = scene.rotation
        was_held = before.awaited or (before.paused is not None and before.has_lost_old(now))
        if not was_held or moved.awaited or moved.paused is not None or not moved.is_due(now):
            return moved
        if not self._may_take_over(scene):
            return moved
        return replace(moved.advanced(now, scene.found.key.expires_at), revision=moved.revision)

    def _may_take_over(self, scene: Scene) -> bool:
        """Whether what the new version signs verifies, where the old one serves yet."""
        return scene.rotation.serving == scene.rotation.new or self._signs(scene)

    def _signs(self, scene: Scene) -> bool:
        """Whether what the new version signs verifies; of a token, which signs nothing, it is so."""
        if scene.found.key.type.is_token:
            return True
        algorithm = scene.new.algorithm
        try:
            raw = material_of(self._records, scene.found.key, scene.new)
            return algorithm is not None and signs(algorithm, raw, scene.new.public_key)
        except IntegrityError:
            return False


def _not_verifying() -> IllegalTransitionError:
    return IllegalTransitionError(_NOT_VERIFYING, fix="Roll the rotation back.")


def _digest_of(token: str | Secret) -> bytes | None:
    """The digest of what is presented; None for what cannot be a token."""
    try:
        text = token.reveal() if isinstance(token, Secret) else token
        return token_digest(text) if isinstance(text, str) else None
    except UnicodeError:
        return None


def _type_of(before: Rotation, after: Rotation) -> EventType:
    if after.stage is Stage.COMPLETED:
        return EventType.ROTATION_COMPLETED
    is_reminder = after.stage is before.stage and bool(before.awaited)
    return EventType.ROTATION_AWAITED if is_reminder else EventType.ROTATION_STAGE_CHANGED
