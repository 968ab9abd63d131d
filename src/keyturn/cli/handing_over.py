"""Handing a new version's secret over, this once, and saying what its rotation waits for."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from keyturn.cli import output
from keyturn.cli.failures import UnshownSecretError
from keyturn.cli.naming import named
from keyturn.domain.rotation.rotation import Rotation
from keyturn.domain.rotation.stages import Awaited
from keyturn.rotation.starting import Started
from keyturn.rotation_views import rotation_view
from keyturn.views import View

_NEXT: Final[Mapping[Awaited, str]] = MappingProxyType(
    {
        Awaited.PICK_UP: "its secret to be picked up: 'keyturn rotation pick-up {id}', or a code for its holder:"
        " 'keyturn rotation offer-code {id}'",
        Awaited.PROOF: "a proof that its token has arrived: 'keyturn rotation prove {id} < new-key.txt'",
        Awaited.CHECK: "an approval: 'keyturn rotation approve {id}'",
    }
)


def started_view(started: Started) -> View:
    """A rotation that has begun, with the new secret."""
    secret = None if started.secret is None else started.secret.reveal()
    return {**rotation_view(started.rotation), "key": secret, "public_key": started.public_key}


def hand_over(started: Started, *, as_json: bool) -> None:
    """Write a rotation and its new secret, the latter on the last line; UnshownSecretError where nobody takes it."""
    try:
        if as_json:
            output.write_json(started_view(started))
            return
        output.write_fields(rotation_view(started.rotation))
        say_what_is_awaited(started.rotation)
        if started.secret is not None:
            output.note("The last line is the new secret. It is shown this once.")
            output.write(f"\n{started.secret.reveal()}\n")
        elif started.public_key is not None:
            output.write(f"\n{started.public_key}")
    except OSError:
        raise UnshownSecretError(
            f"{started.key.key_id} was rotated ({started.rotation.rotation_id}), but its new secret could not be"
            " written out",
            fix=f"Roll it back ('keyturn rotation rollback {started.rotation.rotation_id}') and rotate again;"
            " where that is refused, rotate again.",
        ) from None


def say_what_is_awaited(rotation: Rotation) -> None:
    """Say on standard error, for people, with which command a rotation goes on that waits for somebody."""
    for awaited in sorted(rotation.awaited, key=list(Awaited).index):
        output.note(named(f"The new version awaits {_NEXT[awaited].format(id=rotation.rotation_id)}."))
