"""`keyturn init`: the store, its schema, and its first key."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final

from keyturn.bootstrap import initialise, open_node
from keyturn.cli import opening, options, output
from keyturn.cli.failures import UnshownSecretError
from keyturn.cli.interrupting import uninterrupted
from keyturn.cli.naming import program
from keyturn.config import Settings, settings_from
from keyturn.domain.spec import GeneratedKey

ANOTHER_KEY: Final = "issue --type provisioning --scope full --permission '*'"


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
    with uninterrupted():
        first = initialise(settings.store, wrapper, with_first_key=True, grant_to=grant_to)
        if first is None:
            open_node(settings.store, wrapper).close()  # it is ready only if this key-encryption key opens it
        with handing_over(first):
            if as_json:
                _write_json(settings, first)
                return
            output.write(f"The store is ready: {settings.shown_store}\n")
            output.write(key_file_lines(settings) + first_key_lines(first))
    output.write(f"Start the server: {program()} serve\n")


def _write_json(settings: Settings, first: GeneratedKey | None) -> None:
    output.write_json(
        {
            "store": settings.shown_store,
            "created": first is not None,
            "key_id": None if first is None else first.key_id,
            "key": None if first is None else first.secret.reveal(),
        }
    )


@contextmanager
def handing_over(first: GeneratedKey | None) -> Iterator[None]:
    """UnshownSecretError where the first key, which exists by now, could not be written out."""
    try:
        yield
    except OSError:
        if first is None:
            raise
        raise UnshownSecretError(
            f"the store was made, but its first provisioning key, {first.key_id}, could not be written out",
            fix=f"End that key ('keyturn revoke {first.key_id}') and issue another: {program()} {ANOTHER_KEY}.",
        ) from None


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
        return f"No provisioning key? Issue one:\n\n  {program()} {ANOTHER_KEY}\n\n"
    return (
        "\nThe first provisioning key may do everything in the tenant 'default'. It is shown this once:\n\n"
        f"{first.secret.reveal()}\n\n"
    )
