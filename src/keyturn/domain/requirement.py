"""What is required of a key beside its being valid.

    Requirement(scope=KeyScope.READ, permissions="documents.read AND NOT beta")

A provisioning key may carry one as its profile: what a gateway that calls with it always requires.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from keyturn.domain.permission_query import parse_query
from keyturn.domain.scope import KeyScope, parse_scope
from keyturn.errors import InvalidInputError, shown

_MEMBERS: Final = ("scope", "permissions")
_FIX: Final = 'Such as {"scope": "read", "permissions": "documents.read"}.'


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """A scope, a permission query, or both; InvalidInputError for neither.

    Attributes:
        scope: the key's scope must cover it.
        permissions: a query that the key's grants must meet, as it was written.
    """

    scope: KeyScope | None = None
    permissions: str | None = None

    def __post_init__(self) -> None:
        if self.scope is None and self.permissions is None:
            raise InvalidInputError("an empty requirement would admit every key", fix=_FIX)
        if self.permissions is not None:
            parse_query(self.permissions)

    @property
    def members(self) -> dict[str, str]:
        """What it says, as JSON: a member for each part that there is."""
        scope = {} if self.scope is None else {"scope": self.scope.value}
        return scope if self.permissions is None else {**scope, "permissions": self.permissions}


def check_profile(profile: Requirement | Mapping[str, object]) -> Requirement:
    """The profile that `scope` and `permissions` in a mapping say; InvalidInputError that names `profile` otherwise."""
    if isinstance(profile, Requirement):
        return profile
    if not isinstance(profile, Mapping):
        raise InvalidInputError("profile: an object", field="profile", fix=_FIX)
    unknown = [name for name in profile if name not in _MEMBERS]
    if unknown:
        raise InvalidInputError(
            f"profile: unknown member {shown(unknown[0])}",
            field="profile",
            fix=f"Known are: {', '.join(_MEMBERS)}.",
        )
    try:
        return Requirement(scope=_scope(profile.get("scope")), permissions=_text(profile.get("permissions")))
    except InvalidInputError as error:
        raise InvalidInputError(f"profile: {error}", field="profile", fix=error.fix) from None


def _scope(value: object) -> KeyScope | None:
    return (
        value if isinstance(value, KeyScope) else None if value is None else parse_scope(_text(value) or "")
    )


def _text(value: object) -> str | None:
    if value is not None and type(value) is not str:
        raise InvalidInputError("its members are texts", fix=_FIX)
    return value
