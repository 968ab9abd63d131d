"""Answers that are kept for a day, for whoever sends the same request again. `docs/formats/answer.md` specifies them.

A request that makes something may carry an Idempotency-Key; its answer is kept in the commit that makes the thing, so
that there is never one without the other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from keyturn.domain import canonical
from keyturn.domain.framing import framed
from keyturn.domain.secret import Secret
from keyturn.domain.stored import read_as

KEPT: Final = timedelta(hours=24)
MAX_IDEMPOTENCY_KEY_CHARACTERS: Final = 255
_FINGERPRINT_BYTES: Final = 32  # SHA-256


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered.

    Attributes:
        request: fingerprint of the request (see `fingerprint`).
        status: the HTTP status.
        etag: value of the ETag field; empty where there was none.
        body: the body, byte for byte. It may hold the secret of a key.
    """

    request: bytes
    status: int
    etag: str
    body: Secret

    def to_secret(self) -> Secret:
        """The answer as bytes: fingerprint (32), status (2), ETag framed, body."""
        head = self.request + self.status.to_bytes(2, "big") + framed(self.etag)
        return Secret(head + self.body.reveal_bytes())

    @classmethod
    def from_secret(cls, secret: Secret) -> Answer:
        """The answer that `to_secret` made; IntegrityError for anything else."""
        raw = secret.reveal_bytes()
        with read_as("a kept answer"):
            start = _FINGERPRINT_BYTES + 4
            end = start + int.from_bytes(raw[start - 2 : start], "big")
            if len(raw) < end:
                raise ValueError("cut off")
            status = int.from_bytes(raw[_FINGERPRINT_BYTES : start - 2], "big")
            return cls(raw[:_FINGERPRINT_BYTES], status, raw[start:end].decode(), Secret(raw[end:]))


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """The row of an answer. It is made once, never changed, and forgotten when it has expired.

    Attributes:
        subjects: ids of what the request made.
        expires_at: from then on it counts as absent.
        material: the sealed answer.
    """

    row_id: str
    tenant: str
    subjects: tuple[str, ...]
    created_at: datetime
    expires_at: datetime
    material: bytes | None


def fingerprint(operation: str, body: object) -> bytes:
    """What tells a request from another: SHA-256 of its operation (`POST /v1/keys`) and of the JSON that was sent.

    Spaces and the order of members make no difference. InvalidInputError for JSON that has no canonical form.
    """
    sent = canonical.encode(body).encode()
    return hashlib.sha256(framed("keyturn-request-v1", operation) + sent).digest()
