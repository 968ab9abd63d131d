"""Permissions: dotted names that a key is granted. What a request requires is in `permission_query`.

    Grants(("documents.*", "billing.read")).cover("documents.read")      # True

A name is 1 to 8 segments of letters, digits, `_` and `-`, compared as written: folding case once turned somebody's
policy into root (CVE-2025-5999). In a grant the segment `*` stands for any one segment, and at the end for one or more,
so `*` alone is everything. In a query it has no meaning and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from keyturn.errors import InvalidInputError, shown

MAX_NAME_CHARACTERS: Final = 128
MAX_SEGMENTS: Final = 8

WILDCARD: Final = "*"
RESERVED: Final = frozenset({"AND", "OR", "NOT"})  # words of the query language, so not names of one segment

_NAME: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_GRANT: Final = re.compile(r"(?:[A-Za-z0-9_-]+|\*)(?:\.(?:[A-Za-z0-9_-]+|\*))*")
_FIX: Final = "Write it as segments of letters, digits, '_' and '-' with dots between: documents.read."


class Grants:
    """What a key is granted, compiled once: a name that is granted as written costs one look-up in a set.

    Immutable. It does not check its grants again, as `check_grant` has: a malformed one covers no valid name.
    """

    __slots__ = ("_prefixes", "_wild", "exact", "texts")

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts: Final = tuple(texts)
        wild = [_split(text) for text in self.texts if WILDCARD in text]
        self.exact: Final = frozenset(text for text in self.texts if WILDCARD not in text)
        # With its only wildcard at the end, a grant covers just what begins like it: str.startswith does them all.
        self._prefixes: Final = tuple(
            ".".join(p)[:-1] for p in wild if p[-1] == WILDCARD and WILDCARD not in p[:-1]
        )
        self._wild: Final = tuple(p for p in wild if WILDCARD in p[:-1])

    def cover(self, name: str) -> bool:
        """Whether some grant covers `name`, which `check_name` or `parse_query` has let through."""
        return name in self.exact or name.startswith(self._prefixes) or self._match(name)

    def _match(self, name: str) -> bool:
        if not self._wild:
            return False
        segments = _split(name)
        return any(_subsumes(pattern, segments) for pattern in self._wild)

    def __eq__(self, other: object) -> bool:
        return self.texts == other.texts if isinstance(other, Grants) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.texts)

    def __repr__(self) -> str:
        return f"Grants({self.texts!r})"


def check_name(name: str) -> str:
    """`name`, when it is a permission's name; InvalidInputError otherwise, also for a wildcard."""
    if isinstance(name, str) and WILDCARD in name:
        raise InvalidInputError(
            "'*' has a meaning in grants only", field="permissions", fix="Name the permission."
        )
    return _checked(name, _NAME)


def check_grant(grant: str) -> str:
    """`grant`, when it is a name or a pattern of one; InvalidInputError otherwise."""
    return _checked(grant, _GRANT)


def covers(grants: Sequence[str], name: str) -> bool:
    """Whether some grant covers `name`; InvalidInputError where one of them is malformed. `Grants` is the fast way."""
    return Grants(check_grant(grant) for grant in grants).cover(check_name(name))


def grants_within(held: Sequence[str], asked: Sequence[str]) -> bool:
    """Whether whoever holds `held` may give `asked`: each asked grant lies wholly within a held one.

    To look at one held grant at a time loses nothing: names are without number, so several grants together cover a
    pattern only if one of them does.
    """
    patterns = [_split(check_grant(grant)) for grant in held]
    exact = set(held)
    return all(
        check_grant(grant) in exact or any(_subsumes(pattern, _split(grant)) for pattern in patterns)
        for grant in asked
    )


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split("."))


def _subsumes(pattern: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether `pattern` covers all that `other` does, a name or a pattern itself."""
    if len(other) < len(pattern) or (len(other) > len(pattern) and pattern[-1] != WILDCARD):
        return False
    # A literal never equals a wildcard of `other`, which stands for more than it.
    return all(mine in (WILDCARD, theirs) for mine, theirs in zip(pattern, other, strict=False))


def _checked(text: str, shape: re.Pattern[str]) -> str:
    if not isinstance(text, str) or len(text) > MAX_NAME_CHARACTERS or shape.fullmatch(text) is None:
        raise InvalidInputError(
            f"not a permission of at most {MAX_NAME_CHARACTERS} characters: {shown(text)}",
            field="permissions",
            fix=_FIX,
        )
    if text.count(".") >= MAX_SEGMENTS:
        raise InvalidInputError(
            f"a permission has at most {MAX_SEGMENTS} segments: {shown(text)}", field="permissions", fix=_FIX
        )
    if text in RESERVED:
        raise InvalidInputError(
            f"{text} is a word of the query language, not a permission", field="permissions", fix=_FIX
        )
    return text
