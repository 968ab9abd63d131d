"""The vectors of the stored formats, keyrings over their data keys, and randomness that a test decides."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from keyturn.crypto.keyring import Keyring

Vector = dict[str, Any]

_VECTORS: Final = Path(__file__).parents[2] / "vectors"


def vectors(name: str) -> dict[str, Any]:
    """The vectors in `tests/vectors/<name>.json`."""
    loaded: dict[str, Any] = json.loads((_VECTORS / f"{name}.json").read_text())
    return loaded


def named(samples: list[Vector]) -> pytest.MarkDecorator:
    """One test for each of these vectors, called by the vector's name."""
    return pytest.mark.parametrize("vector", samples, ids=lambda vector: vector["name"])


SEALED: Final = vectors("sealed")
LOG_ID: Final[str] = SEALED["log_id"]
DEKS: Final = {int(version): bytes.fromhex(dek) for version, dek in SEALED["deks"].items()}
LOOKUP_KEY: Final = bytes.fromhex(SEALED["lookup_key"])


def keyring(primary: int = 1, *, log_id: str = LOG_ID) -> Keyring:
    """The keyring of the vectors, which share one log and its two data keys."""
    return Keyring(DEKS, primary, LOOKUP_KEY, log_id)


def flipped(raw: bytes) -> list[bytes]:
    """`raw` with one bit of one byte changed, once for each byte, and each bit having its turn."""
    return [raw[:at] + bytes([byte ^ 1 << at % 8]) + raw[at + 1 :] for at, byte in enumerate(raw)]


def scripted(*chunks: bytes) -> Callable[[int], bytes]:
    """What stands in for `os.urandom`, the system's generator: these bytes, in this order, and no others."""
    left = list(chunks)

    def urandom(count: int) -> bytes:
        assert left, f"{count} random bytes more than the script has"
        chunk = left.pop(0)
        assert len(chunk) == count
        return chunk

    return urandom
