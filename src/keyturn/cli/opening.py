"""From the environment to a node: what each command works on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from keyturn.adapters.ledger.sqlite.location import is_begun
from keyturn.bootstrap import Node, open_node, wrapper_for
from keyturn.config import Environment, Settings, settings_from
from keyturn.domain.fields import check_tenant
from keyturn.domain.principal import LOCAL_ACTOR, Principal
from keyturn.errors import ConfigurationError, SchemaError
from keyturn.ports.key_wrapper import KeyWrapper


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """An open node, and as whom a command works on it."""

    node: Node
    by: Principal
    settings: Settings


@contextmanager
def opened(tenant: str) -> Iterator[Work]:
    """The store of the environment's settings, open for a command on a tenant, and closed after it.

    SchemaError where there is none: a command never makes one, and with it a key-encryption key, on the way.
    """
    by = Principal(actor=LOCAL_ACTOR, tenant=check_tenant(tenant))
    settings = settings_from(os.environ)
    path = settings.store_file
    if path is not None and not is_begun(path):
        raise no_store(path)
    node = open_node(settings.store, wrapper(settings), max_staleness=settings.max_staleness)
    try:
        yield Work(node=node, by=by, settings=settings)
    finally:
        node.close()


def no_store(path: Path) -> SchemaError:
    """What to say where there is none."""
    return SchemaError(
        f"there is no store at {path}", fix="Make one with 'keyturn init', or name another in KEYTURN_STORE."
    )


def wrapper(settings: Settings) -> KeyWrapper:
    """The settings' key-encryption key.

    ConfigurationError where a store exists and development's key file does not: a fresh one could not open it.
    """
    path = settings.store_file
    if path is not None and is_begun(path) and has_key_file(settings) and not settings.kek_file.exists():
        raise ConfigurationError(
            f"there is no key-encryption key to open the store at {path} with: KEY_STORE_ENCRYPTION_KEY is not set,"
            f" and there is no {settings.kek_file}",
            fix="Set KEY_STORE_ENCRYPTION_KEY to the key this store was created with; if that was in the file, put it"
            " back.",
        )
    return wrapper_for(settings)[0]


def has_key_file(settings: Settings) -> bool:
    """Whether the key-encryption key comes from development's key file."""
    return settings.kek is None and settings.environment is Environment.DEVELOPMENT
