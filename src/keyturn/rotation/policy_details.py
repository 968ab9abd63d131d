"""What the log's details say of a policy: its members as its row has them, with long lists cut."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from keyturn.domain.rotation.kept_policy import KeptPolicy
from keyturn.domain.rotation.policy_bodies import policy_put

LISTED: Final = 32
"""Of owners, tags and key_ids each: an entry's details are read whole by whoever looks at the log."""

_OF_THE_ROW: Final = frozenset(
    (
        "v",
        "kind",
        "id",
        "tenant",
        "revision",
        "policy_id",
        "created_at",
        "updated_at",
        "deleted",
        "paused",
    )
)


def details_of(kept: KeptPolicy) -> dict[str, object]:
    """Which policy it is, and why it is paused where it is."""
    details: dict[str, object] = {"policy_id": kept.policy.policy_id}
    if kept.paused is not None:
        details |= {"paused": kept.paused.name, "why": kept.paused.text}
    return details


def creation_of(kept: KeptPolicy) -> dict[str, object]:
    """The whole policy."""
    return {**details_of(kept), **_cut("policy", _members(kept))}


def change_of(before: KeptPolicy, after: KeptPolicy, named: Collection[str]) -> dict[str, object]:
    """What was named, and what has changed with it; None for what is absent now."""
    old, new = _members(before), _members(after)
    names = {*named, *(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))}
    return {**details_of(after), **_cut("changed", {name: new.get(name) for name in sorted(names)})}


def _members(kept: KeptPolicy) -> dict[str, Any]:
    return {name: value for name, value in policy_put(kept).body.items() if name not in _OF_THE_ROW}


def _cut(name: str, members: dict[str, Any]) -> dict[str, object]:
    """The members under this name, and beside them how much of their selection was left off."""
    keys = members.get("keys")
    if keys is None:
        return {name: members}
    lists = {each: keys[each] for each in ("owners", "tags", "key_ids")}
    cut = {**keys, **{each: values[:LISTED] for each, values in lists.items()}}
    more = {each: len(values) - LISTED for each, values in lists.items() if len(values) > LISTED}
    shown: dict[str, object] = {name: {**members, "keys": cut}}
    return {**shown, "not_listed": more} if more else shown
