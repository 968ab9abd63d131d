"""New secrets that wait to be picked up, for whoever takes them to their holder."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from keyturn.domain.secret import Secret


class Waiting(NamedTuple):
    """A new secret that waits."""

    rotation_id: str
    key_id: str
    version: int
    owner: str | None
    secret: Secret


class WaitingSecrets(Protocol):
    """Where they wait. Whoever asks has seen to it that the secret goes to nobody but its holder."""

    def waiting(self, tenant: str, rotation_id: str) -> Waiting | None:
        """The secret of a rotation; None where none waits (any more), or its key has come to its end."""

    def picked_up(self, tenant: str, rotation_id: str) -> None:
        """Somebody has it: keep it no more, and let the rotation go on.

        IllegalTransitionError or ConflictError where it is not awaited any more.
        """
