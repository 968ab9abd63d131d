"""A code with which a new secret is picked up once, and its row. `docs/formats/rotation.md` specifies it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from keyturn.domain.body_parts import BODY_VERSION, Body, Members, guarded, micros_of, without_absent
from keyturn.domain.change import Put
from keyturn.domain.instants import to_micros

PICK_UP: Final = "pickup"


@dataclass(frozen=True, slots=True, kw_only=True)
class PickUp:
    """The row of a code, which itself is kept nowhere.

    Attributes:
        row_id: a pseudonym of the code.
        actor: who made it, and in whose name the secret is picked up.
        used_at: when the secret was handed out for it.
        repeated_at: when it was first shown although the secret had gone, for it or otherwise.
    """

    row_id: str
    tenant: str
    revision: int = 1
    rotation_id: str
    key_id: str
    actor: str
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = None
    repeated_at: datetime | None = None

    def used(self, now: datetime) -> PickUp:
        """The secret is handed out."""
        return replace(self, revision=self.revision + 1, used_at=now)

    def repeated(self, now: datetime) -> PickUp:
        """It was shown although the secret had gone."""
        return replace(self, revision=self.revision + 1, repeated_at=now)


def pick_up_put(pick_up: PickUp) -> Put:
    """The row of a code."""
    body: Body = {
        "v": BODY_VERSION,
        "kind": PICK_UP,
        "id": pick_up.row_id,
        "tenant": pick_up.tenant,
        "revision": pick_up.revision,
        "rotation": pick_up.rotation_id,
        "key": pick_up.key_id,
        "actor": pick_up.actor,
        "created_at": to_micros(pick_up.created_at),
        "expires_at": to_micros(pick_up.expires_at),
        "used_at": micros_of(pick_up.used_at),
        "repeated_at": micros_of(pick_up.repeated_at),
    }
    return Put(
        id=pick_up.row_id,
        kind=PICK_UP,
        tenant=pick_up.tenant,
        revision=pick_up.revision,
        body=without_absent(body),
    )


@guarded
def pick_up_from(body: Mapping[str, object]) -> PickUp:
    """The code's row that a body says; IntegrityError for anything that this program did not write."""
    m = Members(body, PICK_UP)
    pick_up = PickUp(
        row_id=m.take("id", str),
        tenant=m.take("tenant", str),
        revision=m.take("revision", int),
        rotation_id=m.take("rotation", str),
        key_id=m.take("key", str),
        actor=m.take("actor", str),
        created_at=m.time("created_at"),
        expires_at=m.time("expires_at"),
        used_at=m.optional_time("used_at"),
        repeated_at=m.optional_time("repeated_at"),
    )
    m.finish()
    return pick_up
