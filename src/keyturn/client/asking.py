"""What calls of the API take, by its own names, and how it is written as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any, TypedDict

from keyturn.domain.instants import rfc3339
from keyturn.domain.key import KeyType
from keyturn.domain.lifecycle import KeyState
from keyturn.domain.requirement import Requirement
from keyturn.domain.scope import KeyScope
from keyturn.domain.secret import Secret


class NewKey(TypedDict, total=False):
    """A key to be issued; times are aware, `length` is in bits and `expires_in` in seconds."""

    type: KeyType
    scope: KeyScope
    length: int
    algorithm: str
    name: str | None
    owner: str | None
    prefix: str | None
    expires_in: int | None
    expires_at: datetime | None
    not_before: datetime | None
    permissions: Sequence[str]
    allowed_ips: Sequence[str]
    metadata: Mapping[str, Any]
    tags: Sequence[str]
    recoverable: bool
    profile: Requirement | Mapping[str, str] | None


class KeyChanges(TypedDict, total=False):
    """Changes to a key: what is not named stays, None clears."""

    name: str | None
    scope: KeyScope | None
    permissions: Sequence[str] | None
    allowed_ips: Sequence[str] | None
    metadata: Mapping[str, Any] | None
    tags: Sequence[str] | None
    profile: Requirement | Mapping[str, str] | None
    not_before: datetime | None
    expires_at: datetime | None
    expires_in: int | None


class Wanted(TypedDict, total=False):
    """Which keys to list; what is not named may be anything. `q` is part of the name, the key_id or the owner."""

    owner: str
    type: KeyType
    scope: KeyScope
    state: KeyState
    tag: str
    prefix: str
    expires_before: datetime
    unused_since: datetime
    q: str


class _Presented(TypedDict):
    key: str | Secret


class Question(_Presented, total=False):
    """A token that was presented, and what it must be good for."""

    scope: KeyScope
    permissions: str
    ip: str


def written(value: Any) -> Any:
    """A value as the API writes it. Secrets among them are revealed: they are what is sent."""
    match value:
        case Secret():
            return value.reveal()
        case Enum():
            return value.value
        case datetime():
            return rfc3339(value)
        case Requirement():
            return value.members
        case Mapping():
            return {name: written(inner) for name, inner in value.items()}
        case list() | tuple():
            return [written(inner) for inner in value]
        case _:
            return value
