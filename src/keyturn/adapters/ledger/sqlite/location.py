"""Which file a URL names, who may read it, and how long to wait for it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from keyturn.errors import ConfigurationError, StorageError, shown

__all__ = ["Settings", "create_file", "is_begun", "parse_url", "refuse_orphaned_log"]

_FORMS: Final = "Write sqlite:///relative.db or sqlite:////absolute.db (three slashes or four)."
_FILE_MODE: Final = 0o600
_DIRECTORY_MODE: Final = 0o700


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Bounds; times in seconds.

    Attributes:
        write: how long a write waits for its turn.
        passing: how long one does that is made in passing.
        read: how long a read may take, waiting for a connection included.
        readers: connections for reading, which is also how many threads read at once.
    """

    write: float = 5.0
    passing: float = 0.05
    read: float = 10.0
    readers: int = 4


def parse_url(url: str) -> Path:
    """The absolute path that a ``sqlite:`` URL names; ConfigurationError for any other form."""
    scheme, separator, rest = url.partition("://")
    if scheme != "sqlite" or not separator or not rest.startswith("/"):
        raise ConfigurationError(f"the store's URL does not name an SQLite file: {shown(url)}", fix=_FORMS)
    path = unquote(rest[1:])
    if path in ("", "/") or ":memory:" in path:
        raise ConfigurationError(
            "a ledger needs a file: one in memory would lose every key when the process ends",
            fix=f"{_FORMS} For tests, use a file in a temporary directory.",
        )
    if "\0" in path or "?" in rest:
        raise ConfigurationError(
            f"the store's URL has parts that an SQLite store does not know: {shown(url)}", fix=_FORMS
        )
    return Path(path).absolute()


def is_begun(path: Path) -> bool:
    """Whether a store was begun in this file; StorageError as `refuse_orphaned_log`."""
    if path.exists() and path.stat().st_size > 0:
        return True
    refuse_orphaned_log(path)
    return False


def refuse_orphaned_log(path: Path) -> None:
    """StorageError where the file is gone and SQLite's log of it is not.

    A new file in its place would be the end of that log, and the old one, put back, would lack what stands in it: a
    revocation, perhaps.
    """
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size > 0:
        raise StorageError(
            f"the store {path} is gone, and changes that were made to it are left in {log.name}",
            fix="Put the file back beside it. To begin anew all the same, move the log to where the file is now.",
        )


def create_file(path: Path) -> None:
    """Make the file and its directories, for their owner alone, where they are missing; StorageError if that fails."""
    try:
        for directory in (*reversed(path.parent.parents), path.parent):
            if not directory.exists():
                directory.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
        # Only ever a new file is opened here: closing any descriptor of an open database drops SQLite's locks on it.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, _FILE_MODE))
    except FileExistsError:
        return
    except OSError as error:
        raise StorageError(
            f"cannot create the store {path}: {error.strerror}",
            fix=f"Let this user write to {path.parent}, or choose another place.",
        ) from error
