"""Answers of a server, each used again for a moment.

How old an answer is counts from before it was asked for: what it says may have been true no longer than that.
"""

from __future__ import annotations

import threading
from hashlib import sha256
from typing import Final, NamedTuple

from keyturn.domain.verdict import Code, Verification
from keyturn.integrations.required import Required
from keyturn.ports.clock import Clock

MAX_VALID: Final = 10_000
MAX_REFUSED: Final = 1_000  # anybody can have keys refused; they take no room from those that are valid

# What the server may say otherwise in the next moment, whatever happens to the key, is not kept.
_PASSING: Final = frozenset(
    (Code.STALE, Code.INTEGRITY_FAILED, Code.THROTTLED, Code.RATE_LIMITED, Code.CREDITS_EXHAUSTED)
)


class Asked(NamedTuple):
    """A question. The token is not kept, only its SHA-256."""

    digest: bytes
    required: Required
    ip: str | None

    @classmethod
    def of(cls, token: str, required: Required, ip: str | None) -> Asked:
        """The question about a token."""
        return cls(sha256(token.encode("utf-8", "surrogatepass")).digest(), required, ip)


class Answers:
    """At most so many answers, each for at most `bound` seconds; the oldest go first."""

    def __init__(self, bound: float, clock: Clock) -> None:
        self._bound = bound
        self._clock = clock
        self._lock = threading.Lock()
        self._valid: dict[Asked, tuple[Verification, float]] = {}
        self._refused: dict[Asked, tuple[Verification, float]] = {}

    def find(self, asked: Asked) -> Verification | None:
        """The answer to the same question, if it is recent enough and its key has not expired since."""
        known = self._valid.get(asked) or self._refused.get(asked)
        if known is None:
            return None
        answer, asked_at = known
        ends = answer.expires_at
        if answer and ends is not None and self._clock.now() >= ends:
            return None
        # Looked at last: a process that was stopped on the way here must not answer from what it knew before.
        return answer if self._clock.steady() - asked_at <= self._bound else None

    def keep(self, asked: Asked, answer: Verification, asked_at: float) -> None:
        """Keep an answer that was asked for at this steady time, unless a later one is known."""
        if answer.reason in _PASSING:
            return
        kept, most = (self._valid, MAX_VALID) if answer else (self._refused, MAX_REFUSED)
        with self._lock:
            for known in (self._valid.get(asked), self._refused.get(asked)):
                if known is not None and known[1] > asked_at:
                    return
            self._valid.pop(asked, None)
            self._refused.pop(asked, None)
            if len(kept) >= most:
                del kept[next(iter(kept))]
            kept[asked] = answer, asked_at
