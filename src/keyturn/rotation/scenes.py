"""A rotation with all that a step of it is decided from, and whether its key has come to its end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from keyturn.domain.key import Version
from keyturn.domain.lifecycle import KeyState
from keyturn.domain.rotation.reasons import Outcome, Reason
from keyturn.domain.rotation.rotation import Rotation
from keyturn.errors import IllegalTransitionError
from keyturn.issuing.keys import Together

_IN_SERVICE: Final = (KeyState.PRE_ACTIVE, KeyState.ACTIVE, KeyState.SUSPENDED)


@dataclass(frozen=True, slots=True)
class Scene:
    """A rotation with its key and both versions, all as they were at one moment."""

    rotation: Rotation
    found: Together

    @property
    def old(self) -> Version:
        """The version that the key had."""
        return self.found.versions[self.rotation.old]

    @property
    def new(self) -> Version:
        """The one that takes its place."""
        return self.found.versions[self.rotation.new]


def end_of(found: Together, now: datetime) -> Reason[Outcome] | None:
    """Why the key has come to its end; None where it has not."""
    if found.key.state is KeyState.COMPROMISED:
        return Reason(Outcome.COMPROMISED, "the key is compromised")
    if found.is_owner_revoked:  # whether the key's own row has followed yet must make no difference
        return Reason(Outcome.OWNER_REVOKED, "the key's owner was revoked")
    if found.key.is_expired(now):
        return Reason(Outcome.KEY_EXPIRED, "the key has expired")
    if found.key.state not in _IN_SERVICE:
        return Reason(Outcome.KEY_ENDED, f"the key is {found.key.state.value}")
    return None


def require_service(found: Together, now: datetime) -> None:
    """IllegalTransitionError where the key has come to its end."""
    ended = end_of(found, now)
    if ended is not None:
        raise IllegalTransitionError(f"{ended.text}: nothing more happens to its rotation")
