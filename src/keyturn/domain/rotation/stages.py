"""The stages of a rotation, what it waits for in them, and which follows which."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from types import MappingProxyType
from typing import Final

from keyturn.domain.rotation.policy import RotationStrategy


class Stage(Enum):
    """Where a rotation stands; the last three are its ends."""

    STAGED = "staged"
    SHIFTING = "shifting"
    OVERLAP = "overlap"
    WINDOW = "window"
    COMPLETED = "completed"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"

    @property
    def is_end(self) -> bool:
        """Whether nothing happens after it."""
        return self in (Stage.COMPLETED, Stage.ROLLED_BACK, Stage.FAILED)


class Awaited(Enum):
    """What has to happen before a staged version takes over.

    PICK_UP: somebody fetches the new secret. PROOF: somebody shows that they have it. CHECK: somebody approves.
    """

    PICK_UP = "pick_up"
    PROOF = "proof"
    CHECK = "check"


class Cause(Enum):
    """Why there is a rotation."""

    REQUESTED = "requested"
    SCHEDULED = "scheduled"
    COMPROMISED = "compromised"


REMINDER: Final = timedelta(days=1)
"""After so long a rotation that waits for people is brought to mind again, and again."""

NEXT: Final[Mapping[RotationStrategy, Mapping[Stage, Stage]]] = MappingProxyType(
    {
        RotationStrategy.IMMEDIATE: {Stage.STAGED: Stage.COMPLETED},
        RotationStrategy.OVERLAPPING: {Stage.STAGED: Stage.OVERLAP, Stage.OVERLAP: Stage.COMPLETED},
        RotationStrategy.GRADUAL: {
            Stage.STAGED: Stage.SHIFTING,
            Stage.SHIFTING: Stage.OVERLAP,
            Stage.OVERLAP: Stage.COMPLETED,
        },
        RotationStrategy.BLUE_GREEN: {Stage.STAGED: Stage.WINDOW, Stage.WINDOW: Stage.COMPLETED},
    }
)
"""Which stage follows which, by strategy."""
