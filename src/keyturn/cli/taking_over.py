"""`keyturn rotation pick-up`, `prove`, `offer-code` and `redeem-code`: how a new token reaches its holder."""

from __future__ import annotations

from typing import Annotated

from keyturn.cli import options, output
from keyturn.cli.failures import UnshownSecretError
from keyturn.cli.handing_over import hand_over, say_what_is_awaited
from keyturn.cli.interrupting import uninterrupted
from keyturn.cli.naming import named
from keyturn.cli.opening import opened
from keyturn.cli.presenting import presented
from keyturn.domain.ids import DEFAULT_TENANT
from keyturn.domain.instants import rfc3339
from keyturn.rotation.moving import PickedUp
from keyturn.rotation.pick_ups import DEFAULT_LIFETIME, Offered
from keyturn.rotation.starting import Started
from keyturn.rotation_views import rotation_view


def pick_up(
    *,
    rotation_id: options.RotationId,
    tenant: options.Tenant = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Print the new secret that waits, this once; then the new version takes over."""
    with opened(tenant) as work, uninterrupted():
        _hand_over(work.node.rotation.mover.pick_up(rotation_id, work.by), as_json=as_json)


def prove(
    *,
    rotation_id: options.RotationId,
    tenant: options.Tenant = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Show the new token where a staged one awaits it; then it takes over.

    The token is the first line of standard input; at a terminal it is asked for, and not shown.
    """
    with opened(tenant) as work:
        token = presented(
            "New key: ", what="key", example=f"keyturn rotation prove {rotation_id} < new-key.txt"
        )
        rotation = work.node.rotation.mover.prove(rotation_id, token, work.by)
        if as_json:
            output.write_json(rotation_view(rotation))
            return
        output.write_fields(rotation_view(rotation))
        say_what_is_awaited(rotation)


def offer_code(
    *,
    rotation_id: options.RotationId,
    lifetime: Annotated[
        int | None,
        options.time(
            "--lifetime", "How long it is good for: 10m, 7d at most; 1h if absent.", options.duration
        ),
    ] = None,
    tenant: options.Tenant = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Print a code with which the key's holder picks the new secret up, once.

    The code is the last line. Hand it to the holder in place of the secret.
    """
    with opened(tenant) as work, uninterrupted():
        offered = work.node.rotation.pick_ups.offer(
            rotation_id, work.by, lifetime=DEFAULT_LIFETIME if lifetime is None else lifetime
        )
        try:
            _show_offered(offered, as_json=as_json)
        except OSError:
            raise UnshownSecretError(
                "a code was made, but could not be written out", fix="Make another one; nobody has this one."
            ) from None


def _show_offered(offered: Offered, *, as_json: bool) -> None:
    view = {"rotation_id": offered.rotation_id, "expires_at": rfc3339(offered.expires_at)}
    if as_json:
        output.write_json({**view, "code": offered.code.reveal()})
        return
    output.write_fields(view)
    output.note(named("The last line is the code. Its holder redeems it: 'keyturn rotation redeem-code'."))
    output.write(f"\n{offered.code.reveal()}\n")


def redeem_code(*, as_json: options.AsJson = False) -> None:
    """Print the new secret for a code, this once; then the new version takes over.

    The code is the first line of standard input; at a terminal it is asked for, and not shown.
    """
    with opened(DEFAULT_TENANT) as work:
        code = presented("Code: ", what="code", example="keyturn rotation redeem-code < code.txt")
        with uninterrupted():
            _hand_over(work.node.rotation.pick_ups.redeem(code), as_json=as_json)


def _hand_over(picked: PickedUp, *, as_json: bool) -> None:
    started = Started(rotation=picked.rotation, key=picked.key, secret=picked.secret)
    hand_over(started, as_json=as_json)
