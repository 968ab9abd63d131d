"""Stores as production wants them: made beforehand."""

from __future__ import annotations

from pathlib import Path

from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.bootstrap import initialise
from keyturn.domain.secret import Secret
from tests.running_server import KEK


def made_store(directory: Path) -> tuple[str, str]:
    """A new store in a file: its URL, and its first provisioning key."""
    url = f"sqlite:///{directory / 'keys.db'}"
    first = initialise(url, LocalKeyWrapper(Secret(KEK)), with_first_key=True)
    assert first is not None
    return url, first.secret.reveal()
