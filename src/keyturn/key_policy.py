"""What callers say of a key that is to be: checked, and put into a specification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypedDict

from keyturn.domain.algorithms import parse_algorithm, parse_length
from keyturn.domain.key import Algorithm, KeyLength, KeyType
from keyturn.domain.requirement import check_profile
from keyturn.domain.scope import KeyScope
from keyturn.domain.spec import UNSAID, KeySpec, expiry
from keyturn.errors import InvalidInputError, shown


class TokenPolicy(TypedDict, total=False):
    """What may be said of an imported token's key; each is as for `SecureKeyGenerator.generate_api_key`."""

    name: str | None
    owner: str | None
    permissions: Sequence[str]
    allowed_ips: Sequence[str]
    metadata: Mapping[str, object] | None
    tags: Sequence[str]
    not_before: datetime | None
    expires_at: datetime | None
    rotation_policy_id: str | None
    published_for: int | None


class KeyPolicy(TokenPolicy, total=False):
    """What may be said of any key; each is as for `SecureKeyGenerator.generate_api_key`."""

    prefix: str | None
    recoverable: bool
    profile: Mapping[str, object] | None


def spec_of(
    now: datetime,
    key_type: KeyType,
    key_scope: KeyScope,
    expires_in: int | None,
    policy: KeyPolicy,
    *,
    length: KeyLength | int | None = None,
    algorithm: Algorithm | str | None = None,
    is_imported: bool = False,
) -> KeySpec:
    """The specification; InvalidInputError for a value that is out of bounds."""
    metadata, profile = policy.get("metadata"), policy.get("profile")
    return KeySpec(
        type=_checked_type(key_type),
        scope=_checked_scope(key_scope),
        length=UNSAID if length is None else parse_length(length),
        algorithm=_checked_algorithm(algorithm),
        is_imported=is_imported,
        name=policy.get("name"),
        owner=policy.get("owner"),
        prefix=policy.get("prefix"),
        permissions=_strings("permissions", policy.get("permissions", ())),
        allowed_ips=_strings("allowed_ips", policy.get("allowed_ips", ())),
        metadata={} if metadata is None else metadata,
        tags=_strings("tags", policy.get("tags", ())),
        recoverable=policy.get("recoverable", False),
        not_before=policy.get("not_before"),
        expires_at=expiry(now, expires_in, policy.get("expires_at")),
        profile=None if profile is None else check_profile(profile),
        rotation_policy_id=policy.get("rotation_policy_id"),
        published_for=policy.get("published_for"),
    )


def known(policy: Mapping[str, object], kind: type[Mapping[str, object]]) -> None:
    """TypeError, as Python raises it, for a keyword that is none: a misspelt `expires_at` would be a key for ever."""
    for name in policy.keys() - kind.__annotations__.keys():
        raise TypeError(f"got an unexpected keyword argument {name!r}")


def _checked_type(key_type: KeyType) -> KeyType:
    if not isinstance(key_type, KeyType):
        raise InvalidInputError(
            f"{shown(key_type)} is no KeyType", field="key_type", fix="Use KeyType.API_TOKEN, for example."
        )
    return key_type


def _checked_scope(scope: KeyScope) -> KeyScope:
    if not isinstance(scope, KeyScope):
        raise InvalidInputError(
            f"{shown(scope)} is no KeyScope", field="key_scope", fix="Use KeyScope.READ, for example."
        )
    return scope


def _checked_algorithm(algorithm: Algorithm | str | None) -> Algorithm | None:
    return algorithm if algorithm is None or isinstance(algorithm, Algorithm) else parse_algorithm(algorithm)


def _strings(field: str, values: Sequence[str]) -> tuple[str, ...]:
    # A str is a sequence of str too: taken as one it would grant single letters.
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise InvalidInputError(
            f"{field} is a list of strings",
            field=field,
            fix=f"Put {shown(values)} into a list."
            if isinstance(values, str)
            else "Give a list, or leave it out.",
        )
    return tuple(values)
