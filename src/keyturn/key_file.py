"""Development's key file: made on the first start, and replaced without a moment at which no file opens the store.

file = KeyFile(path)
wrapper = file.wrapper()                        # over a new key, where there is no file yet
with file.replacement(new_kek) as replacement:  # beside the old one by now, should this process be killed
    ...                                         # commit the keyring under the new key
    replacement.settle()                        # in its place; the old one is kept under another name
"""

from __future__ import annotations

import fcntl
import logging
import os
import shlex
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final

from keyturn.adapters.kms.local import KEK_BYTES, LocalKeyWrapper
from keyturn.adapters.ledger.sqlite.location import parse_url
from keyturn.config import Settings
from keyturn.crypto.randomness import random_bytes
from keyturn.domain.bytestext import to_base64url
from keyturn.domain.secret import Secret
from keyturn.errors import ConfigurationError, ConflictError, InvalidInputError, WrongKekError
from keyturn.ports.key_wrapper import KeyWrapper

_log = logging.getLogger("keyturn.keyring")

_MAX_BYTES: Final = 4_096
_OTHERS: Final = 0o077
_PUT_BACK: Final = (
    "Put your copy of the file back. If no store was made with it, remove it: a new one will be made."
)


def require_apart(settings: Settings) -> None:
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


class KeyFile:
    """A KEK in a file of mode 0600."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._next = path.with_name(f"{path.name}.new")
        self._lock = path.with_name(f"{path.name}.lock")

    def wrapper(self) -> KeyWrapper:
        """A wrapper over the file's key; the file is made where it is missing."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.path.exists():
            self._make()
        return _FileWrapper(self)

    def _make(self) -> None:
        setting = Secret("base64:" + to_base64url(random_bytes(KEK_BYTES)))
        with _written(setting, self.path.parent) as file, suppress(FileExistsError):
            # Whole or not at all: of several first starts at once, one makes the file and the others read it.
            self.path.hardlink_to(file)

    def read(self) -> Secret:
        """The setting in the file; ConfigurationError where it is damaged or others may read it."""
        return Secret(_text_of(self.path))

    def read_next(self) -> Secret | None:
        """The setting that was to replace it; None where no replacement was begun."""
        try:
            return Secret(self._next.read_text().strip())
        except FileNotFoundError:
            return None

    @contextmanager
    def replacement(self, setting: Secret) -> Iterator[Replacement]:
        """Keep a new key beside the present one, until the body settles which of them counts.

        Whoever is killed or fails in between leaves both, and the next start sees which one opens the store.
        ConflictError while another process is at it.
        """
        with self._locked(), _written(setting, self.path.parent) as file:
            file.replace(self._next)
            _sync(self.path.parent)
            try:
                yield Replacement(self)
            except (ConflictError, InvalidInputError, WrongKekError):
                self._next.unlink(missing_ok=True)  # the store was not changed
                raise

    def promote_next(self) -> Path | None:
        """Put the replacement in the file's place, and keep the old key under another name, which is returned.

        None where another process was first.
        """
        kept = self._kept()
        try:
            self._next.replace(self.path)
        except FileNotFoundError:
            if kept.samefile(self.path):
                kept.unlink()
            return None
        _sync(self.path.parent)
        return kept

    def _kept(self) -> Path:
        """The present file under a second name: other stores and backups may still be under its key."""
        for number in count(1):
            kept = self.path.with_name(f"{self.path.name}.old-{number}")
            try:
                kept.hardlink_to(self.path)
            except FileExistsError:
                if kept.samefile(self.path):
                    return kept
                continue
            return kept
        raise AssertionError("numbers do not end")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        file = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise ConflictError(
                "another process is replacing the key file", fix="Let it end, then run the command again."
            ) from None
        finally:
            os.close(file)


class Replacement:
    """A replacement of the key file that is under way."""

    def __init__(self, file: KeyFile) -> None:
        self._file = file

    def settle(self) -> Path | None:
        """The store is under the new key for certain: let it be the file's. Returns where the old one is kept."""
        return self._file.promote_next()


class _FileWrapper:
    """Wraps with the key in the file; unwraps with the one that is to replace it where a crash came in between."""

    def __init__(self, file: KeyFile) -> None:
        self._file = file
        self._setting = file.read()
        try:
            self._inner = LocalKeyWrapper.from_setting(self._setting)
        except ConfigurationError as error:
            raise ConfigurationError(f"{file.path} is damaged: {error}", fix=_PUT_BACK) from None

    @property
    def uri(self) -> str:
        return self._inner.uri

    def wrap(self, key: bytes, context: Mapping[str, str]) -> bytes:
        return self._inner.wrap(key, context)

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        try:
            return self._inner.unwrap(wrapped, context)
        except WrongKekError:
            key = self._unwrapped_otherwise(wrapped, context)
            if key is None:
                raise
            return key

    def _unwrapped_otherwise(self, wrapped: bytes, context: Mapping[str, str]) -> bytes | None:
        """Unwrap with what the file has by now, or else with its replacement, which is then put in its place."""
        for setting in (self._file.read(), self._file.read_next()):
            if setting is None or setting == self._setting:
                continue
            wrapper = LocalKeyWrapper.from_setting(setting)
            try:
                key = wrapper.unwrap(wrapped, context)
            except WrongKekError:
                continue
            if setting == self._file.read_next():
                self._finish()
            self._setting, self._inner = setting, wrapper
            return key
        return None

    def _finish(self) -> None:
        try:
            kept = self._file.promote_next()
        except OSError as error:
            _log.warning("the replacement of %s cannot be finished: %s", self._file.path, error)
        else:
            _log.warning("the replacement of %s was finished; its old key is in %s", self._file.path, kept)


@contextmanager
def _written(setting: Secret, directory: Path) -> Iterator[Path]:
    """A file of mode 0600 with this setting, on the disk; gone afterwards under the name that it has now."""
    descriptor, name = tempfile.mkstemp(dir=directory)
    path = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(setting.reveal_bytes() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        yield path
    finally:
        path.unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
