"""The answer to whether a signature holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from keyturn.domain.key import Algorithm


class SignatureCode(Enum):
    """Why a signature was accepted or refused; the values are stable and are part of every answer."""

    VALID = "valid"
    INVALID_SIGNATURE = "invalid_signature"
    MALFORMED = "malformed"
    NOT_FOUND = "not_found"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    SUSPENDED = "suspended"
    REVOKED = "revoked"
    WRONG_TYPE = "wrong_type"
    WRONG_ISSUER = "wrong_issuer"
    WRONG_AUDIENCE = "wrong_audience"


@dataclass(frozen=True, slots=True)
class SignatureCheck:
    """Whether a signature holds; false unless it does.

    Attributes:
        code: why.
        key_id, version, algorithm: what it was checked with; None where that is not known.
        claims: what a token says, once its signature and its times hold.
    """

    code: SignatureCode
    key_id: str | None = None
    version: int | None = None
    algorithm: Algorithm | None = None
    claims: Mapping[str, object] | None = None

    def __bool__(self) -> bool:
        return self.code is SignatureCode.VALID
