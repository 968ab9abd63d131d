"""The permission language: what it means, and what it says of what it does not understand."""

from __future__ import annotations

import pytest

from keyturn.domain.permission_query import (
    MAX_CACHED,
    MAX_DEPTH,
    AllOf,
    AnyOf,
    Name,
    Not,
    names_that_suffice,
    parse_query,
)
from keyturn.domain.permissions import Grants
from keyturn.errors import InvalidInputError

A, B, C = Name("a"), Name("b"), Name("c")


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("a", A),
        ("a AND b AND c", AllOf((A, B, C))),
        ("a OR b OR c", AnyOf((A, B, C))),
        ("NOT a", Not(A)),
        ("NOT NOT a", Not(Not(A))),
        ("a OR b AND c", AnyOf((A, AllOf((B, C))))),
        ("a AND b OR c", AnyOf((AllOf((A, B)), C))),
        ("(a OR b) AND c", AllOf((AnyOf((A, B)), C))),
        ("NOT a AND b", AllOf((Not(A), B))),
        ("NOT (a AND b)", Not(AllOf((A, B)))),
        ("a AND NOT b", AllOf((A, Not(B)))),
        ("((a))", A),
        ("  a   AND(b OR c)  ", AllOf((A, AnyOf((B, C))))),
        ("and AND or", AllOf((Name("and"), Name("or")))),
    ],
)
def test_not_binds_tighter_than_and_and_and_tighter_than_or(text: str, query: object) -> None:
    assert parse_query(text) == query


def test_a_query_is_met_by_what_the_grants_cover() -> None:
    query = parse_query("documents.read AND (billing.read OR billing.write) AND NOT beta")
    for met in (
        ("documents.read", "billing.write"),
        ("documents.*", "*.read"),
        ("documents.*", "billing.*", "beta.x"),
    ):
        assert query.is_met_by(Grants(met)), met
    for unmet in ((), ("documents.read",), ("documents.*", "billing.*", "beta"), ("*",)):
        assert not query.is_met_by(Grants(unmet)), unmet


def test_only_names_joined_by_and_can_be_told_from_a_set() -> None:
    assert names_that_suffice(parse_query("a")) == frozenset("a")
    assert names_that_suffice(parse_query("a AND b AND a")) == frozenset("ab")
    for text in ("NOT a", "a OR b", "a AND NOT b", "a AND (b OR c)", "a AND (b AND c)"):
        assert names_that_suffice(parse_query(text)) is None, text


@pytest.mark.parametrize("text", ["", " ", "   "])
def test_an_empty_query_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="would admit every key"):
        parse_query(text)


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("a and b", 3, "expected AND or OR, found 'and'"),
        ("a b", 3, "expected AND or OR, found 'b'"),
        ("a NOT b", 3, "expected AND or OR, found 'NOT'"),
        ("a (b)", 3, r"expected AND or OR, found '\('"),
        ("a)", 2, r"expected AND or OR, found '\)'"),
        ("AND", 1, "expected a permission, found 'AND'"),
        ("a AND", 6, "expected a permission, found the end"),
        ("a AND ", 7, "expected a permission, found the end"),
        ("a AND AND b", 7, "expected a permission, found 'AND'"),
        ("a OR OR b", 6, "expected a permission, found 'OR'"),
        ("NOT", 4, "expected a permission, found the end"),
        ("NOT AND", 5, "expected a permission, found 'AND'"),
        ("()", 2, r"expected a permission, found '\)'"),
        ("(a", 3, r"expected \) for the \( of column 1"),
        ("a AND (b OR (c)", 16, r"expected \) for the \( of column 7"),
        ("(a b)", 4, r"expected \) for the \( of column 1"),
        ("a\tAND b", 1, "not a permission"),
        ("a AND b\n", 7, "not a permission"),
        ("a\u00a0AND b", 1, "not a permission"),
        ("a,b", 1, "not a permission"),
        ("a && b", 3, "expected AND or OR"),
        ("  a..b", 3, "not a permission"),
        ("a AND *", 7, "meaning in grants only"),
        ("a OR documents.*", 6, "meaning in grants only"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_column(text: str, column: int, message: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^column {column}: .*{message}") as refused:
        parse_query(text)
    assert refused.value.field == "permissions"


def test_a_query_has_at_most_64_names() -> None:
    parse_query(" OR ".join(f"p{i}" for i in range(64)))
    with pytest.raises(InvalidInputError, match="64 names"):
        parse_query(" OR ".join(f"p{i}" for i in range(65)))
    with pytest.raises(InvalidInputError, match="64 names"):
        parse_query(" AND ".join(f"({'a OR b'})" for _ in range(33)))


def test_a_query_has_at_most_1024_characters() -> None:
    parse_query("a".ljust(1_024))
    with pytest.raises(InvalidInputError, match="1,024 characters"):
        parse_query("a".ljust(1_025))


@pytest.mark.parametrize("opening", ["(", "NOT ", "NOT ("])
def test_a_query_is_at_most_16_deep(opening: str) -> None:
    def nested(depth: int) -> str:
        return opening * depth + "a" + ")" * (opening.count("(") * depth)

    deepest = MAX_DEPTH // (2 if opening == "NOT (" else 1)
    parse_query(nested(deepest))
    with pytest.raises(InvalidInputError, match="inside one another"):
        parse_query(nested(deepest + 1))
    parse_query(" AND ".join([nested(deepest)] * 3))  # beside one another there may be more


def test_the_cache_of_queries_is_bounded() -> None:
    """Queries come from callers: without a bound they could fill the memory."""
    assert parse_query.cache_info().maxsize == MAX_CACHED
