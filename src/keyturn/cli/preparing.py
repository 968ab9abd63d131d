"""`keyturn init`: the store, its schema, and its first key."""

from __future__ import annotations

import os
from typing import Annotated, Final

from keyturn.bootstrap import initialise, open_node
from keyturn.cli import opening, options, output
from keyturn.config import Settings, settings_from
from keyturn.domain.spec import GeneratedKey

ANOTHER_KEY: Final = "keyturn issue --type provisioning --scope full --permission '*'"


def init(
    *,
    grant_to: Annotated[
        str | None,
        options.text(
            "--grant-to", "ROLE", "The PostgreSQL role that servers use: it may read and call functions."
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Make the store and print its first provisioning key, this once.

    Run again, it brings the schema up to date and leaves the keys alone.

    On PostgreSQL, run it as the role that is to own the schema.
    """
    settings = settings_from(os.environ)
    wrapper = opening.wrapper(settings)
    first = initialise(settings.store, wrapper, with_first_key=True, grant_to=grant_to)
    if first is None:
        open_node(settings.store, wrapper).close()  # it is ready only if this key-encryption key opens it
    if as_json:
        _write_json(settings, first)
        return
    output.write(f"The store is ready: {opening.shown_store(settings)}\n")
    output.write(key_file_lines(settings) + first_key_lines(first))
    output.write("Start the server: keyturn serve\n")


def _write_json(settings: Settings, first: GeneratedKey | None) -> None:
    output.write_json(
        {
            "store": opening.shown_store(settings),
            "created": first is not None,
            "key_id": None if first is None else first.key_id,
            "key": None if first is None else first.secret.reveal(),
        }
    )


def key_file_lines(settings: Settings) -> str:
    """Where the key-encryption key is, if it is in development's key file."""
    if not opening.has_key_file(settings):
        return ""
    return (
        f"The key-encryption key is in {settings.kek_file}\n"
        "Keep a copy elsewhere: without it the store cannot be opened, and with it the store's secrets can be read.\n"
    )


def first_key_lines(first: GeneratedKey | None) -> str:
    """The first provisioning key, alone on its line; or how to issue another."""
    if first is None:
        return (
            f"Its first provisioning key was shown when it was made. To issue another:\n\n  {ANOTHER_KEY}\n\n"
        )
    return (
        "\nThe first provisioning key may do everything in the tenant 'default'. It is shown this once:\n\n"
        f"{first.secret.reveal()}\n\n"
    )
