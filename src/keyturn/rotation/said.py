"""What somebody says of a policy as JSON, into values: as it is shown, codes for enums and RFC 3339 for times."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from datetime import datetime
from enum import Enum
from typing import Any, Final, TypeVar

from keyturn.domain.instants import parse_rfc3339
from keyturn.domain.key import KeyType
from keyturn.domain.rotation.blackout import BlackoutWindow
from keyturn.domain.rotation.policy import RotationFrequency, RotationPolicy, RotationStrategy
from keyturn.domain.rotation.selection import KeySelection
from keyturn.domain.scope import KeyScope
from keyturn.errors import InvalidInputError, shown

_POLICY: Final = frozenset(each.name for each in fields(RotationPolicy)) - {"policy_id"}
_SELECTION: Final = frozenset(each.name for each in fields(KeySelection))
_BLACKOUT: Final = frozenset(each.name for each in fields(BlackoutWindow))
_E = TypeVar("_E", bound=Enum)


def policy_fields(members: Mapping[str, Any]) -> dict[str, Any]:
    """Members of a policy as values; InvalidInputError, which names it, for one that a policy has not.

    What a policy holds its values to is for the policy to say.
    """
    _require_known("", members, _POLICY)
    return {name: _policy_value(name, value) for name, value in members.items()}


def _policy_value(name: str, value: Any) -> Any:
    match name:
        case "frequency":
            return _member(name, value, RotationFrequency)
        case "strategy":
            return _member(name, value, RotationStrategy)
        case "keys":
            return None if value is None else _selection(value)
        case "blackouts" if isinstance(value, list):
            return tuple(_blackout(each) for each in value)
        case _:
            return value


def _selection(value: Any) -> KeySelection:
    members = dict(_object("keys", value, _SELECTION))
    kinds: tuple[tuple[str, type[Enum]], ...] = (("types", KeyType), ("scopes", KeyScope))
    for name, kind in kinds:
        if isinstance(members.get(name), list):
            members[name] = tuple(_member(f"keys.{name}", each, kind) for each in members[name])
    return KeySelection(**members)


def _blackout(value: Any) -> BlackoutWindow:
    members = dict(_object("blackouts", value, _BLACKOUT))
    for name in ("starts_at", "ends_at"):
        if isinstance(members.get(name), str):
            members[name] = _instant(members[name])
    return BlackoutWindow(**members)


def _instant(text: str) -> datetime:
    try:
        return parse_rfc3339(text)
    except InvalidInputError as error:
        raise InvalidInputError(
            str(error), field="blackouts", fix="Write it as 2026-01-31T12:00:00Z."
        ) from None


def _object(field: str, value: Any, known: Collection[str]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInputError(
            f"{shown(value)} is no object", field=field, fix=f"It has: {', '.join(sorted(known))}."
        )
    _require_known(f"{field}.", value, known)
    return value


def _require_known(within: str, members: Mapping[str, Any], known: Collection[str]) -> None:
    unknown = sorted(set(members) - set(known))
    if unknown:
        raise InvalidInputError(
            f"there is no {shown(within + unknown[0])}",
            field=within + unknown[0],
            fix=f"Use: {', '.join(sorted(known))}.",
        )


def _member(field: str, value: Any, kind: type[_E]) -> _E:
    found = next((member for member in kind if member.value == value), None)
    if found is None:
        raise InvalidInputError(
            f"{shown(value)} is no {kind.__name__}",
            field=field,
            fix=f"Use one of: {', '.join(str(member.value) for member in kind)}.",
        )
    return found
