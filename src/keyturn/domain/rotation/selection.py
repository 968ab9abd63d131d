"""Which keys a policy is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from keyturn.domain import canonical, fields
from keyturn.domain.ids import KEY, is_id
from keyturn.domain.key import Key, KeyType
from keyturn.domain.rotation.checks import MAX_LISTED, require_each, tuple_of
from keyturn.domain.scope import KeyScope
from keyturn.errors import InvalidInputError

MAX_SELECTION_BYTES: Final = 32_768
"""Of owners, tags and key_ids as canonical JSON: a row has 65,536, and blackout windows may take half of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySelection:
    """Which keys a policy is for, beside those that name it: all that are in each list that is not empty.

    A key that names a policy follows that one, whatever others select. InvalidInputError for a selection without any
    condition, unless it says `every_key`; and for one whose texts are too long to be kept together.
    """

    types: tuple[KeyType, ...] = ()
    owners: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    scopes: tuple[KeyScope, ...] = ()
    key_ids: tuple[str, ...] = ()
    every_key: bool = False

    def __post_init__(self) -> None:
        for name in ("types", "owners", "tags", "scopes", "key_ids"):
            object.__setattr__(self, name, tuple_of(getattr(self, name), MAX_LISTED))
        require_each("types", self.types, KeyType)
        require_each("scopes", self.scopes, KeyScope)
        for name, check in (("owners", fields.check_owner), ("tags", fields.check_tag)):
            require_each(name, getattr(self, name), str)
            for text in getattr(self, name):
                check(text)
        require_each("key_ids", self.key_ids, str)
        if not all(is_id(KEY, key_id) for key_id in self.key_ids):
            raise InvalidInputError("one of key_ids is no key_id", field="keys.key_ids")
        has_condition = any((self.types, self.owners, self.tags, self.scopes, self.key_ids))
        if type(self.every_key) is not bool or has_condition is self.every_key:
            raise InvalidInputError(
                "a selection has a condition, or says every_key",
                field="keys",
                fix="Name types, owners, tags, scopes or key_ids; or set every_key alone to rotate all keys.",
            )

        taken = len(canonical.encode([self.owners, self.tags, self.key_ids]).encode())
        if taken > MAX_SELECTION_BYTES:
            raise InvalidInputError(
                f"owners, tags and key_ids of a selection take {MAX_SELECTION_BYTES:,} bytes at most, these {taken:,}",
                field="keys",
                fix="Let keys name the policy instead, or give them a tag in common and select that.",
            )

    def admits(self, key: Key) -> bool:
        """Whether the key is one of these."""
        return (
            (not self.types or key.type in self.types)
            and (not self.scopes or key.scope in self.scopes)
            and (not self.owners or key.owner in self.owners)
            and (not self.tags or not set(self.tags).isdisjoint(key.tags))
            and (not self.key_ids or key.key_id in self.key_ids)
        )
