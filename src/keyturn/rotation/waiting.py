"""The new secrets of rotations that await their pick-up, for the port `WaitingSecrets`."""

from __future__ import annotations

from keyturn.domain.principal import SYSTEM_ACTOR, Principal
from keyturn.domain.rotation.stages import Awaited
from keyturn.issuing.keys import Keys
from keyturn.issuing.material import material_of
from keyturn.ports.clock import Clock
from keyturn.ports.waiting_secrets import Waiting
from keyturn.records.records import Records
from keyturn.rotation.moving import Mover
from keyturn.rotation.scenes import end_of


class RotationSecrets:
    """Looks them up, and has them picked up."""

    def __init__(self, *, records: Records, keys: Keys, mover: Mover, clock: Clock) -> None:
        self._records = records
        self._keys = keys
        self._mover = mover
        self._clock = clock

    def waiting(self, tenant: str, rotation_id: str) -> Waiting | None:
        """The secret of a rotation; None where none waits (any more), or its key has come to its end."""
        rotation = self._keys.rotation(tenant, rotation_id)
        if Awaited.PICK_UP not in rotation.awaited:
            return None
        found = self._keys.together(tenant, rotation.key_id, (rotation.new,))
        is_current = found.rotation is not None and found.rotation.revision == rotation.revision
        if not is_current or end_of(found, self._clock.now()) is not None:
            return None
        return Waiting(
            rotation_id=rotation_id,
            key_id=found.key.key_id,
            version=rotation.new,
            owner=found.key.owner,
            secret=material_of(self._records, found.key, found.versions[rotation.new]),
        )

    def picked_up(self, tenant: str, rotation_id: str) -> None:
        """Somebody has it; errors as for picking it up."""
        self._mover.pick_up(rotation_id, Principal(actor=SYSTEM_ACTOR, tenant=tenant))
