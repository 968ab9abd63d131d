import pytest

from keyturn.domain.permissions import (
    MAX_CACHED_QUERIES,
    Grants,
    Query,
    check_grant,
    check_name,
    covers,
    grants_within,
    parse_query,
)
from keyturn.errors import InvalidInputError


@pytest.mark.parametrize(
    ("grant", "name"),
    [
        ("documents.read", "documents.read"),
        ("documents.*", "documents.read"),
        ("documents.*", "documents.read.all"),
        ("*", "documents"),
        ("*", "a.b.c.d.e.f.g.h"),
        ("*.read", "documents.read"),
        ("a.*.c", "a.b.c"),
        ("a.*.*", "a.b.c"),
        ("a.*.*", "a.b.c.d"),
        ("*.b.*", "a.b.c.d"),
        ("A-1_b", "A-1_b"),
    ],
)
def test_a_grant_covers_a_name(grant: str, name: str) -> None:
    assert covers((grant,), name)
    assert covers(("x.y", grant), name)
    assert grants_within((grant,), (name,))


@pytest.mark.parametrize(
    ("grant", "name"),
    [
        ("documents.read", "documents"),
        ("documents.read", "documents.read.all"),
        ("documents.read", "documents.Read"),
        ("documents.read", "documents.rea"),
        ("documents.*", "documents"),
        ("documents.*", "documentsx.read"),
        ("documents.*", "documents-x.read"),
        ("*.read", "read"),
        ("*.read", "a.b.read"),
        ("a.*.c", "a.c"),
        ("a.*.c", "a.b.b.c"),
        ("a.*.*", "a.b"),
    ],
)
def test_a_grant_covers_no_more_than_it_says(grant: str, name: str) -> None:
    """CVE-2025-5999 for case; a prefix of the text is not a prefix of the segments."""
    assert not covers((grant,), name)
    assert not grants_within((grant,), (name,))


def test_no_grants_cover_nothing() -> None:
    assert not covers((), "documents.read")
    assert not grants_within((), ("documents.read",))
    assert grants_within((), ())


@pytest.mark.parametrize(
    ("held", "asked"),
    [
        (("*",), ("*", "a.*", "*.a", "a")),
        (("a.*",), ("a.*", "a.b.*", "a.*.c", "a.*.*", "a.b")),
        (("a.*.c",), ("a.*.c", "a.b.c")),
        (("*.b.*",), ("*.b.*", "a.b.*", "*.b.c", "a.b.*.d")),
        (("a", "b.*"), ("b.c", "a")),
    ],
)
def test_a_key_may_grant_what_lies_within_its_own_grants(
    held: tuple[str, ...], asked: tuple[str, ...]
) -> None:
    assert grants_within(held, asked)


@pytest.mark.parametrize(
    ("held", "asked"),
    [
        (("a.*",), ("*",)),
        (("a.*",), ("a",)),
        (("a.*",), ("*.b",)),
        (("a.b", "a.c"), ("a.*",)),
        (("a.*.c",), ("a.*",)),
        (("a.*.c",), ("a.*.*",)),
        (("a.*.*",), ("a.*",)),
        (("a.b.c",), ("a.*.c",)),
        (("*.read",), ("*",)),
        (("a", "b.*"), ("a", "c")),
    ],
)
def test_no_key_can_grant_what_it_lacks(held: tuple[str, ...], asked: tuple[str, ...]) -> None:
    assert not grants_within(held, asked)


MALFORMED = [
    "",
    ".",
    "a.",
    ".a",
    "a..b",
    "a b",
    " a",
    "a\n",
    "a/b",
    "a:b",
    "é",
    "\uff41",
    "a*",
    "*a.b",
    "a.**",
    "(a)",
    "AND",
    "OR",
    "NOT",
    "a.b.c.d.e.f.g.h.i",
    "a" * 129,
    "\ud800",
]


@pytest.mark.parametrize("text", MALFORMED)
def test_a_malformed_permission_is_neither_name_nor_grant(text: str) -> None:
    for check in (check_name, check_grant):
        with pytest.raises(InvalidInputError) as refused:
            check(text)
        assert refused.value.field == "permissions"


@pytest.mark.parametrize("value", [None, 1, b"a", ["a"]])
def test_a_permission_is_text(value: object) -> None:
    for check in (check_name, check_grant):
        with pytest.raises(InvalidInputError):
            check(value)  # type: ignore[arg-type]


def test_a_permission_may_be_as_long_as_its_bounds() -> None:
    for text in ("a" * 128, "a.b.c.d.e.f.g.h", "and", "AND.OR"):
        assert check_name(text) == check_grant(text) == text


def test_a_wildcard_is_a_grant_and_no_name() -> None:
    for text in ("*", "a.*", "*.a", "a.*.b", "*.*"):
        assert check_grant(text) == text
        with pytest.raises(InvalidInputError, match="grants only"):
            check_name(text)


@pytest.mark.parametrize("grant", [text for text in MALFORMED if text not in ("AND", "OR", "NOT")])
def test_a_malformed_grant_in_a_row_covers_no_name(grant: str) -> None:
    for name in ("a", "a.b", "a.b.c.d.e.f.g.h", "aa", "b"):
        assert not Grants((grant,)).cover(name)


def test_what_is_read_into_a_log_stays_on_one_line_and_short() -> None:
    with pytest.raises(InvalidInputError) as refused:
        check_name("a\r\nlevel=info" + "x" * 100_000)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 200


def test_a_query_is_met_when_every_name_is_covered() -> None:
    query = parse_query("documents.read AND billing.write")
    assert query.is_met_by(Grants(("documents.read", "billing.write", "x")))
    assert query.is_met_by(Grants(("documents.*", "billing.write")))
    assert query.is_met_by(Grants(("*.read", "billing.*")))
    assert query.is_met_by(Grants(("*",)))
    assert not query.is_met_by(Grants(("documents.read",)))
    assert not query.is_met_by(Grants(("documents.*",)))
    assert not query.is_met_by(Grants(()))


def test_a_query_says_what_is_missing() -> None:
    query = parse_query("c AND a AND b.x")
    assert query.missing(Grants(("a",))) == ("c", "b.x")
    assert query.missing(Grants(("*",))) == ()


@pytest.mark.parametrize("text", ["a AND b", "  a   AND b  ", "a AND b AND a"])
def test_spaces_and_repetition_do_not_change_a_query(text: str) -> None:
    assert parse_query(text) == Query(("a", "b"))
    assert hash(parse_query(text)) == hash(Query(("a", "b")))


def test_lower_case_and_is_a_permission_like_any_other() -> None:
    assert parse_query("and AND or").names == ("and", "or")


@pytest.mark.parametrize("text", ["", " ", "   "])
def test_an_empty_query_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="would admit every key"):
        parse_query(text)


def test_a_query_of_no_names_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="would admit every key"):
        Query(())


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("a OR b", 3),
        ("a AND b OR c", 9),
        ("NOT a", 1),
        ("a AND NOT b", 7),
        ("(a)", 1),
        ("a AND (b OR c)", 7),
        ("a and b", 3),
        ("a b", 3),
        ("AND", 1),
        ("AND a", 1),
        ("a AND", 6),
        ("a AND ", 7),
        ("a AND AND b", 7),
        ("a\tAND b", 1),
        ("a AND b\n", 7),
        ("a\u00a0AND b", 1),
        ("a,b", 1),
        ("a && b", 3),
        ("  a..b", 3),
        ("a AND *", 7),
        ("documents.*", 1),
    ],
)
def test_what_a_query_does_not_understand_is_refused_with_its_column(text: str, column: int) -> None:
    with pytest.raises(InvalidInputError, match=f"^column {column}: .*only AND is understood") as refused:
        parse_query(text)
    assert refused.value.field == "permissions"


def test_a_query_is_bounded() -> None:
    assert len(parse_query(" AND ".join(f"p{i}" for i in range(64))).names) == 64
    with pytest.raises(InvalidInputError, match="64 names"):
        parse_query(" AND ".join(f"p{i}" for i in range(65)))
    with pytest.raises(InvalidInputError, match="1024 characters"):
        parse_query("a" + " " * 1_024)


def test_the_cache_of_queries_is_bounded() -> None:
    """Queries come from callers: without a bound they could fill the memory."""
    assert parse_query.cache_info().maxsize == MAX_CACHED_QUERIES


def test_grants_are_values() -> None:
    assert Grants(["a", "b.*"]) == Grants(("a", "b.*"))
    assert hash(Grants(["a"])) == hash(Grants(("a",)))
    assert Grants(("a",)) != Grants(("b",))
    assert repr(Grants(("a",))) == "Grants(('a',))"
    assert repr(Query(("a",))) == "Query(('a',))"
