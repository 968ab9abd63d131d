"""Development's key file: the key-encryption key of whoever has not set one, kept away from the data it protects."""

from __future__ import annotations

import os
import shlex
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from keyturn.adapters.kms.local import KEK_BYTES, LocalKeyWrapper
from keyturn.adapters.ledger.sqlite.location import parse_url
from keyturn.config import Settings
from keyturn.crypto.randomness import random_bytes
from keyturn.domain.bytestext import to_base64url
from keyturn.domain.secret import Secret
from keyturn.errors import ConfigurationError

_MAX_BYTES: Final = 4_096
_OTHERS: Final = 0o077
_PUT_BACK: Final = (
    "Put your copy of the file back. If no store was made with it, remove it: a new one will be made."
)


def wrapper_from_key_file(settings: Settings) -> LocalKeyWrapper:
    """The KEK in development's key file, which is made with mode 0600 if it is not there.

    ConfigurationError where it is damaged, others may read it, or it would lie with the data.
    """
    _require_apart(settings)
    path = settings.kek_file
    if not path.exists():
        _make(path)
    text = _text_of(path)
    try:
        return LocalKeyWrapper.from_setting(Secret(text))
    except ConfigurationError as error:
        raise ConfigurationError(f"{path} is damaged: {error}", fix=_PUT_BACK) from None


def _require_apart(settings: Settings) -> None:
    """A copy of the data directory, such as a backup, must not hold the key with the data."""
    key, data, store = (
        Path(os.path.realpath(path))
        for path in (settings.kek_file, settings.data_dir, parse_url(settings.store))
    )
    is_inside = store.is_relative_to(data) and key.is_relative_to(data)
    if is_inside or key.parent == store.parent:
        raise ConfigurationError(
            f"the key-encryption key in {settings.kek_file} would lie with the data that it protects",
            fix=f"Choose a KEYTURN_DATA_DIR and a KEYTURN_STORE away from {settings.kek_file.parent},"
            " or set KEY_STORE_ENCRYPTION_KEY.",
        )


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent) as file:
        file.write("base64:" + to_base64url(random_bytes(KEK_BYTES)) + "\n")
        file.flush()
        os.fsync(file.fileno())
        # Whole or not at all: of several first starts at once, one makes the file and the others read it.
        with suppress(FileExistsError):
            path.hardlink_to(file.name)


def _text_of(path: Path) -> str:
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise ConfigurationError(f"{path} is no file", fix=_PUT_BACK)
    if mode & _OTHERS:
        raise ConfigurationError(
            f"others than its owner may use the key-encryption key in {path}",
            fix=f"Run: chmod 600 {shlex.quote(str(path))}",
        )
    with path.open("rb") as file:
        raw = file.read(_MAX_BYTES + 1)
    try:
        text = raw.decode("utf-8-sig").strip()  # editors add a mark before it and a line's end after it
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is damaged: it is no text", fix=_PUT_BACK) from None
    if not text or len(raw) > _MAX_BYTES:
        problem = "too long for a key" if text else "empty"
        raise ConfigurationError(f"{path} is damaged: it is {problem}", fix=_PUT_BACK)
    return text
