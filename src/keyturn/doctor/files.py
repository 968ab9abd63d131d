"""Files and disks: who may read and write them, and whether there is room."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from keyturn.config import Settings
from keyturn.doctor.findings import Finding, doubtful, failed, in_order, refused

OTHERS_READ: Final = 0o044
OTHERS_WRITE: Final = 0o022
LITTLE_SPACE: Final = 500 * 1024 * 1024  # bytes
NO_SPACE: Final = 20 * 1024 * 1024
LITTLE_INODES: Final = 1_000
_PROBE: Final = bytes(65_536)


def permissions(settings: Settings) -> Iterator[Finding]:
    """Whether anybody else may read keys or data, or exchange them."""
    data, secret = list(_data(settings)), list(_secret(settings))
    problems = [*_reachable(secret, is_secret=True), *_reachable(data, is_secret=False)]
    yield from problems
    if not problems and data + secret:
        yield in_order("permissions", f"{_counted(len(data) + len(secret))} for this user alone")


def _counted(files: int) -> str:
    return "1 file" if files == 1 else f"{files} files"


def _data(settings: Settings) -> Iterator[Path]:
    store = settings.store_file
    if store is not None:
        yield from (path for path in sorted(store.parent.glob(f"{store.name}*")) if path.is_file())


def _secret(settings: Settings) -> Iterator[Path]:
    file = settings.kek_file
    if settings.kek is None and file.parent.is_dir():
        yield from (path for path in sorted(file.parent.glob(f"{file.name}*")) if path.is_file())
    if settings.tls_key is not None and settings.tls_key.is_file():
        yield settings.tls_key


def _reachable(paths: list[Path], *, is_secret: bool) -> Iterator[Finding]:
    for directory in sorted({path.parent for path in paths}):
        mode = directory.stat().st_mode
        if mode & OTHERS_WRITE and not mode & stat.S_ISVTX:
            yield failed(
                "permissions", f"others may exchange what is in {directory}", f"Run: chmod go-w {directory}"
            )
    for path in paths:
        status = path.stat()
        if status.st_mode & OTHERS_WRITE:
            yield failed("permissions", f"others may write to {path}", f"Run: chmod 600 {path}")
        elif status.st_mode & OTHERS_READ:
            tell = failed if is_secret else doubtful
            yield tell("permissions", f"others may read {path}", f"Run: chmod 600 {path}")
        if status.st_uid not in (os.geteuid(), 0) and os.geteuid() != 0:
            yield doubtful(
                "permissions",
                f"{path} belongs to another user",
                "Run Keyturn as the user whose files these are.",
            )
        elif not os.access(path, os.R_OK | (0 if is_secret else os.W_OK)):
            yield failed("permissions", f"this user may not use {path}", f"Run: chown {os.geteuid()} {path}")


def disks(settings: Settings | None) -> Iterator[Finding]:
    """Room for temporary files and, of an SQLite store, for the data."""
    yield disk("temporary disk", Path(tempfile.gettempdir()))
    if settings is not None and settings.store_file is not None:
        directory = settings.store_file.parent
        if directory.is_dir():
            yield disk("data disk", directory)


def disk(check: str, directory: Path) -> Finding:
    """Whether there is room in a directory, proved by writing to it; nothing is left there."""
    try:
        found = os.statvfs(directory)
        with tempfile.TemporaryFile(dir=directory) as probe:
            probe.write(_PROBE)
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        return refused(check, error)
    free = found.f_bavail * found.f_frsize
    said = f"{directory}: {free / 2**30:,.1f} GiB free"
    # File systems without a fixed number of inodes say that they have none.
    if free < NO_SPACE or (found.f_files and found.f_favail == 0):
        return failed(check, said, "Free space or inodes, or move it to another disk.")
    if free < LITTLE_SPACE or (found.f_files and found.f_favail < LITTLE_INODES):
        return doubtful(check, f"{said}, {found.f_favail:,} inodes", "Free some, before it is full.")
    return in_order(check, said)
