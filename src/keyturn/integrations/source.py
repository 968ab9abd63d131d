"""Where a guard's answers come from."""

from __future__ import annotations

from typing import Protocol

from keyturn.domain.verdict import Verification
from keyturn.integrations.required import Required
from keyturn.key_store import SecureKeyStore


class Source(Protocol):
    """Verifies tokens, for any number of threads and event loops, in any number of forked processes.

    Every method but `close` raises KeyturnError where no answer can be had; an answer is never guessed.
    """

    def verify(self, token: str, required: Required, ip: str | None) -> Verification:
        """The answer; the calling thread waits for it."""

    async def verify_async(self, token: str, required: Required, ip: str | None) -> Verification:
        """The answer; the event loop never waits for it."""

    async def open(self) -> None:
        """Open what is needed for answers, as the first question would."""

    async def aclose(self) -> None:
        """Close what belongs to the running loop, then as `close`."""

    def close(self) -> None:
        """Let go of everything that this process has opened; a later question opens it again."""

    @property
    def store(self) -> SecureKeyStore:
        """The store of this process; ConfigurationError where the source has none."""
