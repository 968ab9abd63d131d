"""Opening a store as a library does: by URL or path, with a key-encryption key in any of its forms.

node = node_at("sqlite:////srv/keys.db", os.urandom(32))
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from keyturn.adapters.kms.local import KEK_BYTES, LocalKeyWrapper
from keyturn.bootstrap import Node, initialise, ledger_module, open_node
from keyturn.config import settings_from, sqlite_url, staleness_from
from keyturn.domain.secret import Secret
from keyturn.errors import ConfigurationError
from keyturn.verifier.verifier import check_staleness


def file_url(path: str | Path | None) -> str:
    """The URL of a store in this file, or of the one that the environment names where there is no path."""
    if path is not None:
        return sqlite_url(Path(path))
    settings = settings_from(os.environ)
    if not settings.is_sqlite:
        raise ConfigurationError(
            "KEYTURN_STORE is not a file",
            fix="Use SecureKeyStore.open(url) for a database, or give a path.",
        )
    return settings.store


def node_at(
    url: str, encryption_key: bytes | str | Secret | None, max_staleness: float | None = None
) -> Node:
    """A node on the store at a URL, made first where that is a file; the errors are those of SecureKeyStore."""
    bound = staleness_from(os.environ) if max_staleness is None else check_staleness(max_staleness)
    ledger_module(url)  # refuses what is no store's URL before anything else is said
    wrapper = _wrapper(encryption_key)
    if url.startswith("sqlite:"):
        # A file needs no one to set it up; a database has an owner, who does.
        initialise(url, wrapper, with_first_key=False)
    return open_node(url, wrapper, max_staleness=bound)


def _wrapper(encryption_key: bytes | str | Secret | None) -> LocalKeyWrapper:
    if encryption_key is None:
        setting: Mapping[str, str] = os.environ
        if "KEY_STORE_ENCRYPTION_KEY" not in setting:
            raise ConfigurationError(
                "there is no key-encryption key",
                fix="Give encryption_key=os.urandom(32), kept somewhere safe, or set KEY_STORE_ENCRYPTION_KEY.",
            )
        encryption_key = setting["KEY_STORE_ENCRYPTION_KEY"]
    if not isinstance(encryption_key, (bytes, str, Secret)):
        raise ConfigurationError(
            "encryption_key is bytes or text", fix="Give 32 bytes, or a text such as 'base64:...'."
        )
    if isinstance(encryption_key, bytes):
        return LocalKeyWrapper(Secret(encryption_key))
    secret = encryption_key if isinstance(encryption_key, Secret) else Secret(encryption_key)
    if not isinstance(encryption_key, str) and len(secret) == KEK_BYTES and not _is_passphrase(secret):
        return LocalKeyWrapper(secret)  # the other forms are longer than the key itself
    return LocalKeyWrapper.from_setting(secret)


def _is_passphrase(secret: Secret) -> bool:
    return secret.reveal_bytes().startswith(b"passphrase:")
