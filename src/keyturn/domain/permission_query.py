"""The permission language: what a request may require of a key's grants.

    parse_query("documents.read AND (billing.read OR billing.write) AND NOT beta").is_met_by(grants)

    query := term { OR term }      term := factor { AND factor }      factor := NOT factor | ( query ) | name

NOT binds tighter than AND, and AND tighter than OR; the words are written in capitals, with spaces between. A name is
met when some grant covers it, so a key that is granted `*` does not meet `NOT beta`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple, NoReturn, TypeAlias

from keyturn.domain.permissions import Grants, check_name
from keyturn.errors import InvalidInputError, shown

MAX_CHARACTERS: Final = 1_024
MAX_NAMES: Final = 64
MAX_DEPTH: Final = 16  # parentheses and NOTs inside one another
MAX_CACHED: Final = 4_096  # texts come from callers: without a bound they could fill the memory

_TOKEN: Final = re.compile(r"[()]|[^ ()]+")
_FIX: Final = "Write it like: documents.read AND (billing.read OR billing.write) AND NOT beta."


@dataclass(frozen=True, slots=True)
class Name:
    """Met when some grant covers the name."""

    name: str

    def is_met_by(self, grants: Grants) -> bool:
        """Whether the grants meet it."""
        return grants.cover(self.name)


@dataclass(frozen=True, slots=True)
class Not:
    """Met when its operand is not."""

    operand: Query

    def is_met_by(self, grants: Grants) -> bool:
        """Whether the grants meet it."""
        return not self.operand.is_met_by(grants)


@dataclass(frozen=True, slots=True)
class AllOf:
    """Met when all of its operands are: two or more."""

    operands: tuple[Query, ...]

    def is_met_by(self, grants: Grants) -> bool:
        """Whether the grants meet it."""
        return all(operand.is_met_by(grants) for operand in self.operands)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Met when at least one of its operands is: of two or more."""

    operands: tuple[Query, ...]

    def is_met_by(self, grants: Grants) -> bool:
        """Whether the grants meet it."""
        return any(operand.is_met_by(grants) for operand in self.operands)


Query: TypeAlias = Name | Not | AllOf | AnyOf


def names_that_suffice(query: Query) -> frozenset[str] | None:
    """The names of a query that is nothing but names joined by AND; None for any other.

    A key that is granted them as written meets the query, which one comparison of sets can tell.
    """
    operands = query.operands if isinstance(query, AllOf) else (query,)
    names = [operand.name for operand in operands if isinstance(operand, Name)]
    return frozenset(names) if len(names) == len(operands) else None


@lru_cache(maxsize=MAX_CACHED)
def parse_query(text: str) -> Query:
    """The query that `text` writes.

    InvalidInputError with the column, from 1, of what it does not understand. What a text means never changes, so
    results are cached.
    """
    if len(text) > MAX_CHARACTERS:
        raise InvalidInputError(
            f"a permission query has at most {MAX_CHARACTERS:,} characters", field="permissions", fix=_FIX
        )
    if not text.strip(" "):
        raise InvalidInputError(
            "an empty requirement would admit every key",
            field="permissions",
            fix="Leave it out to require nothing.",
        )
    return _Parser(text).parsed()


class _Token(NamedTuple):
    text: str
    at: int


class _Parser:
    """Descends recursively, to a bounded depth."""

    def __init__(self, text: str) -> None:
        self._tokens = [_Token(found[0], found.start()) for found in _TOKEN.finditer(text)]
        self._tokens.append(_Token("", len(text)))  # the end
        self._next = 0
        self._depth = 0
        self._names = 0

    def parsed(self) -> Query:
        query = self._query()
        rest = self._tokens[self._next]
        if rest.text:
            _refuse(rest.at, f"expected AND or OR, found {shown(rest.text)}")
        return query

    def _query(self) -> Query:
        terms = [self._term()]
        while self._take("OR"):
            terms.append(self._term())
        return terms[0] if len(terms) == 1 else AnyOf(tuple(terms))

    def _term(self) -> Query:
        factors = [self._factor()]
        while self._take("AND"):
            factors.append(self._factor())
        return factors[0] if len(factors) == 1 else AllOf(tuple(factors))

    def _factor(self) -> Query:
        token = self._tokens[self._next]
        if token.text not in ("NOT", "("):
            return self._name()
        self._next += 1
        self._depth += 1
        if self._depth > MAX_DEPTH:
            _refuse(token.at, f"more than {MAX_DEPTH} parentheses and NOTs inside one another")
        found = Not(self._factor()) if token.text == "NOT" else self._enclosed(token)
        self._depth -= 1
        return found

    def _enclosed(self, opening: _Token) -> Query:
        query = self._query()
        if not self._take(")"):
            closing = self._tokens[self._next]
            _refuse(closing.at, f"expected ) for the ( of column {opening.at + 1}")
        return query

    def _name(self) -> Query:
        token = self._tokens[self._next]
        if token.text in ("", ")", "AND", "OR"):
            _refuse(
                token.at, f"expected a permission, found {shown(token.text) if token.text else 'the end'}"
            )
        try:
            check_name(token.text)
        except InvalidInputError as error:
            _refuse(token.at, str(error))
        self._names += 1
        if self._names > MAX_NAMES:
            _refuse(token.at, f"more than {MAX_NAMES} names")
        self._next += 1
        return Name(token.text)

    def _take(self, word: str) -> bool:
        is_next = self._tokens[self._next].text == word
        self._next += is_next
        return is_next


def _refuse(at: int, message: str) -> NoReturn:
    raise InvalidInputError(f"column {at + 1}: {message}", field="permissions", fix=_FIX)
