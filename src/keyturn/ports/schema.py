"""A ledger's schema as numbered SQL files beside its adapter, and which programs may use it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

from keyturn.errors import SchemaError


def schema_files(package: str) -> Sequence[tuple[int, str]]:
    """Number and text of each SQL file of an adapter's package, in order."""
    found = (item for item in resources.files(package).iterdir() if item.name.endswith(".sql"))
    return sorted((int(item.name.partition("_")[0]), item.read_text("utf-8")) for item in found)


def refuse_newer(*, version: int, oldest_program: int, newest: int) -> None:
    """SchemaError where a store needs a newer program than this one, whose newest file is `newest`.

    A schema of a later `version` that says nothing against it may be used.
    """
    if oldest_program > newest:
        raise SchemaError(
            f"the store's schema is at version {version} and needs a program of {oldest_program} or later;"
            f" this one is of {newest}",
            fix="Upgrade this program; 'keyturn init' of an older one cannot go back.",
        )


def refuse_older(*, version: int, newest: int) -> None:
    """SchemaError where files of the schema are yet to be applied."""
    if version < newest:
        raise SchemaError(
            f"the store's schema is at version {version}, this program needs {newest}: run 'keyturn init'"
        )
