"""What happens to a rotation that is under way: its next step, and what people do to it. Each is one commit."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from keyturn.crypto.digests import token_digest
from keyturn.domain import fields
from keyturn.domain.change import EventType, Put
from keyturn.domain.instants import from_micros
from keyturn.domain.key import Key, Version
from keyturn.domain.lifecycle import KeyState
from keyturn.domain.principal import Principal
from keyturn.domain.rotation.reasons import PAUSED_BY_SOMEBODY, Outcome, PauseCode, Reason
from keyturn.domain.rotation.rotation import Awaited, Rotation, Stage
from keyturn.domain.rotation.steps import brought
from keyturn.domain.secret import Secret
from keyturn.errors import ConflictError, IllegalTransitionError, IntegrityError, InvalidInputError
from keyturn.issuing.keys import Keys, Together
from keyturn.issuing.material import material_of
from keyturn.issuing.retrying import Retrying
from keyturn.ports.clock import Clock
from keyturn.ports.ledger import Ledger
from keyturn.records.records import Records
from keyturn.rotation.commits import Step, is_in_service
from keyturn.rotation.material import signs


@dataclass(frozen=True, slots=True, kw_only=True)
class PickedUp:
    """A new secret that somebody has fetched, this once."""

    rotation: Rotation
    key: Key
    secret: Secret


@dataclass(frozen=True, slots=True)
class _Scene:
    """A rotation with its key and both versions, all as they were at one moment."""

    rotation: Rotation
    found: Together

    @property
    def old(self) -> Version:
        return self.found.versions[self.rotation.old]

    @property
    def new(self) -> Version:
        return self.found.versions[self.rotation.new]


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
        ended = _end_of(scene.found, now)
        if ended is not None:
            return self._made(EventType.ROTATION_FAILED, scene, rotation.failed(now, ended), by=by, now=now)
        if (
            rotation.stage is Stage.OVERLAP
            and not rotation.has_lost_old(now)
            and self._is_in_use(rotation, now)
        ):
            return None
        if rotation.stage is Stage.SHIFTING and not self._signs(scene):
            why = Reason(PauseCode.NOT_VERIFYING, "what the new version signs does not verify")
            return self._made(EventType.ROTATION_PAUSED, scene, rotation.paused_at(now, why), by=by, now=now)
        moved = rotation.advanced(now, scene.found.key.expires_at)
        return self._made(_type_of(rotation, moved), scene, moved, by=by, now=now)

    def end_with_key(self, rotation_id: str, by: Principal) -> tuple[EventType, Rotation] | None:
        """End a rotation, be it paused, whose key has ended; what happened, or None where the key goes on."""
        scene, now = self._scene(self.get(rotation_id, by), by), self._clock.now()
        ended = _end_of(scene.found, now)
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
        """Let a rotation stand still. The old version goes on meanwhile, up to the longest overlap."""
        return self._acted(
            rotation_id, by, EventType.ROTATION_PAUSED, lambda r, now: r.paused_at(now, why), note
        )

    def resume(self, rotation_id: str, by: Principal, *, note: str | None = None) -> Rotation:
        """Let a rotation go on, with as much of its times as was left."""
        return self._acted(rotation_id, by, EventType.ROTATION_RESUMED, lambda r, now: r.resumed(now), note)

    def roll_back(self, rotation_id: str, by: Principal, *, note: str | None = None) -> Rotation:
        """Put the old version back into service, and end the new one for good.

        IllegalTransitionError once the rotation has ended, or the old version has. ForbiddenError for a key that holds
        more than the caller: who could not issue it may not bring an old secret back.
        """
        return self._acted(
            rotation_id,
            by,
            EventType.ROTATION_ROLLED_BACK,
            lambda r, now: r.rolled_back(now),
            note,
            restores=True,
        )

    def complete(self, rotation_id: str, by: Principal, *, note: str | None = None) -> Rotation:
        """Put the new version into service and end the old one now, ahead of its time."""
        return self._acted(
            rotation_id, by, EventType.ROTATION_COMPLETED, lambda r, now: r.completed(now), note
        )

    def approve(self, rotation_id: str, by: Principal, *, note: str | None = None) -> Rotation:
        """Say that the new version may take over; the rotation goes on at once if nothing else is awaited."""
        return self._acted(
            rotation_id, by, EventType.ROTATION_CHECKED, lambda r, now: r.met(Awaited.CHECK, now), note
        )

    def prove(self, rotation_id: str, token: str | Secret, by: Principal) -> Rotation:
        """Take a staged token as the proof that its holder has it; InvalidInputError for any other text."""
        presented = _digest_of(token)

        def proved(scene: _Scene, now: datetime) -> Rotation:
            digest = scene.new.digest
            if digest is None or presented is None or not hmac.compare_digest(presented, digest):
                raise InvalidInputError("that is not the rotation's new token", field="key")
            return scene.rotation.met(Awaited.PROOF, now)

        return self._acted_on(rotation_id, by, EventType.ROTATION_PROVED, proved).rotation

    def pick_up(self, rotation_id: str, by: Principal, *, beside: tuple[Put, ...] = ()) -> PickedUp:
        """The new secret that waits, this once; from now on it is kept nowhere, and the rotation goes on.

        The same commit puts the rows `beside`.

        IllegalTransitionError where none waits (any more); ForbiddenError for a key that holds more than the caller.
        """
        secrets: list[Secret] = []

        def picked_up(scene: _Scene, now: datetime) -> Rotation:
            by.require_grantable(scene.found.key.permissions, scene.found.key.scope)
            moved = scene.rotation.met(Awaited.PICK_UP, now)
            secrets[:] = [material_of(self._records, scene.found.key, scene.new)]
            return moved

        done = self._acted_on(rotation_id, by, EventType.ROTATION_PICKED_UP, picked_up, beside=beside)
        return PickedUp(rotation=done.rotation, key=done.found.key, secret=secrets[0])

    def _acted(
        self,
        rotation_id: str,
        by: Principal,
        kind: EventType,
        act: Callable[[Rotation, datetime], Rotation],
        note: str | None,
        *,
        restores: bool = False,
    ) -> Rotation:
        details: dict[str, object] = {} if note is None else {"note": fields.check_note(note)}

        def acted(scene: _Scene, now: datetime) -> Rotation:
            if restores:
                by.require_grantable(scene.found.key.permissions, scene.found.key.scope)
            return act(scene.rotation, now)

        return self._acted_on(rotation_id, by, kind, acted, details).rotation

    def _acted_on(
        self,
        rotation_id: str,
        by: Principal,
        kind: EventType,
        act: Callable[[_Scene, datetime], Rotation],
        details: dict[str, object] | None = None,
        *,
        beside: tuple[Put, ...] = (),
    ) -> _Scene:
        """The rotation and its key once `act` has been made of them, in a commit that is tried again where it loses."""
        key_id = self.get(rotation_id, by).key_id

        def attempt() -> _Scene:
            scene, now = self._scene(self.get(rotation_id, by), by), self._clock.now()
            _require_service(scene.found, now)
            moved = _going_on(act(scene, now), scene.rotation, now, scene.found.key.expires_at)
            self._made(kind, scene, moved, by=by, now=now, details=details, beside=beside)
            changed = brought(moved, scene.found.key, scene.old, scene.new, now)
            return _Scene(moved, replace(scene.found, key=changed.key))

        return self._retrying.change(key_id, attempt)

    def _scene(self, rotation: Rotation, by: Principal) -> _Scene:
        rotation.require_running()
        found = self._keys.together(by.tenant, rotation.key_id, (rotation.old, rotation.new))
        if found.key.rotation != rotation.rotation_id or found.rotation is None:
            raise ConflictError("the rotation has ended meanwhile")
        return _Scene(found.rotation, found)

    def _made(
        self,
        kind: EventType,
        scene: _Scene,
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

    def _signs(self, scene: _Scene) -> bool:
        """Whether what the new version signs verifies."""
        algorithm = scene.new.algorithm
        try:
            raw = material_of(self._records, scene.found.key, scene.new)
            return algorithm is not None and signs(algorithm, raw, scene.new.public_key)
        except IntegrityError:
            return False


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


def _going_on(moved: Rotation, before: Rotation, now: datetime, key_ends_at: datetime | None) -> Rotation:
    """The rotation after its next step too, where the last thing that it awaited has just come; still one revision."""
    if not before.awaited or moved.awaited or moved.paused is not None or not moved.is_due(now):
        return moved
    return replace(moved.advanced(now, key_ends_at), revision=moved.revision)


def _end_of(found: Together, now: datetime) -> Reason[Outcome] | None:
    """Why the key has come to its end; None where it has not."""
    if found.key.is_expired(now):
        return Reason(Outcome.KEY_EXPIRED, "the key has expired")
    if not is_in_service(found.key, now):
        is_exposed = found.key.state is KeyState.COMPROMISED
        code = Outcome.COMPROMISED if is_exposed else Outcome.KEY_ENDED
        return Reason(code, f"the key is {found.key.state.value}")
    return Reason(Outcome.OWNER_REVOKED, "the key's owner was revoked") if found.is_owner_revoked else None


def _require_service(found: Together, now: datetime) -> None:
    ended = _end_of(found, now)
    if ended is not None:
        raise IllegalTransitionError(f"{ended.text}: nothing more happens to its rotation")
