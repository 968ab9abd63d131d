"""`keyturn verify`: a key from standard input, never from an argument."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from keyturn.cli import options, output
from keyturn.cli.failures import secret_in_arguments
from keyturn.cli.opening import opened
from keyturn.cli.presenting import presented
from keyturn.domain.ids import DEFAULT_TENANT
from keyturn.domain.network import check_address
from keyturn.domain.scope import KeyScope
from keyturn.domain.verdict import Verification
from keyturn.verifier.decision import Demand
from keyturn.views import verification_view

INVALID: Final = 1
_SHOWN: Final = ("code", "key_id", "owner", "scope", "permissions", "expires_at", "as_of")


def verify(
    context: typer.Context,
    *,
    scope: Annotated[
        KeyScope | None, options.choice("--scope", "SCOPE", "What it must cover", KeyScope)
    ] = None,
    permissions: Annotated[
        str | None,
        options.text("--permissions", "QUERY", "What it must grant: 'documents.read AND NOT beta'."),
    ] = None,
    ip: Annotated[
        str | None,
        options.text("--ip", "ADDRESS", "Where it is presented from; a key that is restricted needs it."),
    ] = None,
    tenant: options.Tenant = DEFAULT_TENANT,
    as_json: options.AsJson = False,
) -> None:
    """Verify a key: the exit status is 0 if it is valid, and 1 if it is not.

    The key is the first line of standard input; at a terminal it is asked for, and not shown.

    A verification counts as a use of the key, or as a refusal.
    """
    if context.args:
        raise secret_in_arguments()
    demand = Demand.of(tenant=tenant, scope=scope, permissions=permissions)
    if ip is not None:
        check_address(ip)
    with opened(tenant) as work:
        token = presented("Key: ", what="key", example="keyturn verify < key.txt")
        verification = work.node.verifier.authenticate(token, demand, ip)
        _show(verification, as_json=as_json)
    if not verification:
        raise typer.Exit(INVALID)


def _show(verification: Verification, *, as_json: bool) -> None:
    view = verification_view(verification)
    if as_json:
        output.write_json(view)
    else:
        output.write_fields({name: view[name] for name in _SHOWN})
