"""Stores as production wants them, made beforehand, and servers with a certificate."""

from __future__ import annotations

from pathlib import Path

from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.bootstrap import initialise
from keyturn.domain.secret import Secret
from tests.ops.certificates import Pair
from tests.running_server import KEK, RunningServer


def made_store(directory: Path) -> tuple[str, str]:
    """A new store in a file: its URL, and its first provisioning key."""
    url = f"sqlite:///{directory / 'keys.db'}"
    first = initialise(url, LocalKeyWrapper(Secret(KEK)), with_first_key=True)
    assert first is not None
    return url, first.secret.reveal()


def serving(pair: Pair, directory: Path) -> RunningServer:
    """A server, not yet started, with its store in this directory, which shows this certificate."""
    return RunningServer(
        f"sqlite:///{directory / 'keys.db'}",
        KEYTURN_TLS_CERT=str(pair.certificate),
        KEYTURN_TLS_KEY=str(pair.key),
    )
