"""The commands, under their names."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, Final

import typer

import keyturn
from keyturn.cli import (
    acting,
    doctoring,
    endpoints,
    importing,
    issuing,
    output,
    policies,
    preparing,
    reading,
    rekeying,
    rotating,
    serving,
    signing,
    verifying,
)

_SET_UP: Final = "Set up and run"
_KEYS: Final = "Keys"
_SIGNATURES: Final = "Signatures"
_ROTATION: Final = "Rotation"
_NOTICES: Final = "Notices"
_ENDING: Final = "Ending keys"

app: Final = typer.Typer(
    name="keyturn",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Settings come from the environment: KEYTURN_STORE, KEY_STORE_ENCRYPTION_KEY and others.",
)


@cache
def command() -> Callable[..., Any]:
    """The program: called with arguments, it returns an exit status or None, and raises what goes wrong."""
    return typer.main.get_command(app)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        output.write(f"keyturn {keyturn.__version__}\n")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def begin(
    context: typer.Context,
    _: Annotated[
        bool,
        typer.Option(
            "--version", metavar="", help="Show the version and exit.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Issue, verify, revoke and audit API keys.

    Commands work on the store itself, with the key-encryption key, safely beside a running server.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


_PANELS: Final[dict[str, dict[str, Callable[..., None]]]] = {
    _SET_UP: {
        "serve": serving.serve,
        "init": preparing.init,
        "rekey": rekeying.rekey,
        "doctor": doctoring.doctor,
    },
    _KEYS: {
        "issue": issuing.issue,
        "import": importing.import_,
        "verify": verifying.verify,
        "list": reading.list_keys,
        "show": reading.show,
        "update": issuing.update,
        "usage": reading.usage,
    },
    _SIGNATURES: {
        "sign": signing.sign,
        "verify-signature": signing.verify_signature,
        "jwks": signing.jwks,
    },
    _ROTATION: {"rotate": rotating.rotate},
    _ENDING: {
        "revoke": acting.revoke,
        "suspend": acting.suspend,
        "resume": acting.resume,
        "destroy": acting.destroy,
    },
}
for _panel, _commands in _PANELS.items():
    for _name, _command in _commands.items():
        # What follows these is taken for a secret and refused there, without being repeated.
        extra = {"allow_extra_args": _command in (verifying.verify, rekeying.rekey)}
        app.command(_name, rich_help_panel=_panel, context_settings=extra)(_command)
app.add_typer(policies.policy_app, name="policy", rich_help_panel=_ROTATION)
app.add_typer(rotating.rotation_app, name="rotation", rich_help_panel=_ROTATION)
app.add_typer(endpoints.endpoint_app, name="endpoint", rich_help_panel=_NOTICES)
