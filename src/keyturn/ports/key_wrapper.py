"""The key-encryption key: what wraps the data keys, and lives anywhere but beside the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

MAX_WRAPPED_BYTES: Final = 8_192  # refused before anything is allocated for it


class KeyWrapper(Protocol):
    """Wraps and unwraps data keys of 32 bytes. The same `context` must be given to unwrap."""

    @property
    def uri(self) -> str:
        """Which KEK this is, without any secret: `local`, or a KMS address."""

    def wrap(self, key: bytes, context: Mapping[str, str]) -> bytes:
        """`key` under the KEK, at most MAX_WRAPPED_BYTES; StorageError when the KMS does not answer."""

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """What `wrap` was given.

        WrongKekError when another KEK wrapped it, IntegrityError when it was altered or belongs to another context,
        StorageError when the KMS does not answer.
        """
