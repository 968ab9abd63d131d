"""What a verification answers. Nothing here can be mistaken for a yes: a verdict's truth is its validity."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol, final

if TYPE_CHECKING:
    from keyturn.domain.scope import KeyScope


class Code(Enum):
    """Why a credential was accepted or refused; the values are stable and are part of every answer."""

    # Members are single objects; Enum's own hash is a Python function, and answers are looked up by code.
    __hash__ = object.__hash__

    VALID = "valid"
    MALFORMED = "malformed"
    NOT_FOUND = "not_found"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    SUSPENDED = "suspended"
    REVOKED = "revoked"
    INSUFFICIENT_SCOPE = "insufficient_scope"
    INSUFFICIENT_PERMISSIONS = "insufficient_permissions"
    IP_DENIED = "ip_denied"
    RATE_LIMITED = "rate_limited"
    CREDITS_EXHAUSTED = "credits_exhausted"
    THROTTLED = "throttled"
    STALE = "stale"
    INTEGRITY_FAILED = "integrity_failed"


_VALID = Code.VALID


class Presented(Protocol):
    """What was found behind a credential: a version of a key, and what whoever asked may know of it."""

    @property
    def key_id(self) -> str:
        """Which key it is."""

    @property
    def version(self) -> int:
        """The number of the version."""

    @property
    def owner(self) -> str | None:
        """Who holds it."""

    @property
    def scope(self) -> KeyScope:
        """Which actions it covers."""

    @property
    def permissions(self) -> tuple[str, ...]:
        """What it grants."""

    @property
    def metadata(self) -> Mapping[str, object]:
        """What its issuer attached."""

    @property
    def expires_at(self) -> datetime | None:
        """When it stops verifying."""


@final
class Verification:
    """The answer to one verification; false unless it is valid.

        verification = store.authenticate(token, scope=KeyScope.READ)
        if verification:
            serve(verification.owner)
        else:
            refuse(verification.code)

    Attributes:
        code: one of the verification codes, as text.
        as_of: how far this node had read the log, as ``log_id:position``.
        presented: the version of a key that was found; None where there was none, or where its secret was wrong.
    """

    __slots__ = ("as_of", "presented", "reason")

    def __init__(self, reason: Code, as_of: str, presented: Presented | None = None) -> None:
        self.reason = reason
        self.as_of = as_of
        self.presented = presented

    def __bool__(self) -> bool:
        return self.reason is _VALID

    @property
    def valid(self) -> bool:
        """Whether the credential was accepted."""
        return self.reason is Code.VALID

    @property
    def code(self) -> str:
        """The verification code."""
        return self.reason.value

    @property
    def key_id(self) -> str | None:
        """Which key was presented."""
        return None if self.presented is None else self.presented.key_id

    @property
    def version(self) -> int | None:
        """Which version of the key was presented."""
        return None if self.presented is None else self.presented.version

    @property
    def owner(self) -> str | None:
        """The caller's own id for who holds the key."""
        return None if self.presented is None else self.presented.owner

    @property
    def scope(self) -> str | None:
        """The key's scope, such as ``read_write``."""
        return None if self.presented is None else self.presented.scope.value

    @property
    def permissions(self) -> tuple[str, ...]:
        """What the key grants; wildcards as they were granted."""
        return () if self.presented is None else self.presented.permissions

    @property
    def metadata(self) -> Mapping[str, object]:
        """What the issuer attached to the key: a copy, since the key itself serves other verifications."""
        return {} if self.presented is None else deepcopy(dict(self.presented.metadata))

    @property
    def expires_at(self) -> datetime | None:
        """When the credential stops verifying; None for never, or where no key was found."""
        return None if self.presented is None else self.presented.expires_at

    def __repr__(self) -> str:
        return f"Verification(code={self.code!r}, key_id={self.key_id!r}, as_of={self.as_of!r})"


class KeyCheck(NamedTuple):
    """The status of a key that the caller holds by id; unpacks as ``(bool, str)`` and is false unless valid."""

    valid: bool
    message: str

    def __bool__(self) -> bool:
        return self.valid
