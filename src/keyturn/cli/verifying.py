"""`keyturn verify`: a key from standard input, never from an argument."""

from __future__ import annotations

import sys
from getpass import getpass
from typing import Annotated, Final

import typer

from keyturn.cli import options, output
from keyturn.cli.failures import MisuseError, secret_in_arguments
from keyturn.cli.opening import opened
from keyturn.domain.ids import DEFAULT_TENANT
from keyturn.domain.network import check_address
from keyturn.domain.scope import KeyScope
from keyturn.domain.token import MAX_TOKEN_CHARACTERS
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
        verification = work.node.verifier.authenticate(_presented(), demand, ip)
        _show(verification, as_json=as_json)
    if not verification:
        raise typer.Exit(INVALID)


def _presented() -> str:
    """The key that is presented; MisuseError for none. What is no text is no key either, but for `verify` to say."""
    if sys.stdin is None:
        line = ""
    elif sys.stdin.isatty():
        line = getpass("Key: ")
    else:
        line = sys.stdin.buffer.readline(MAX_TOKEN_CHARACTERS * 2).decode("utf-8-sig", "surrogateescape")
    if not line.strip():
        raise MisuseError(
            "there is no key on standard input", fix="Let it come from there: keyturn verify < key.txt"
        )
    return line.strip()


def _show(verification: Verification, *, as_json: bool) -> None:
    view = verification_view(verification)
    if as_json:
        output.write_json(view)
    else:
        output.write_fields({name: view[name] for name in _SHOWN})
