import pytest

from keyturn.domain.permissions import (
    Grants,
    check_grant,
    check_name,
    covers,
    grants_within,
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


def test_grants_are_values() -> None:
    assert Grants(["a", "b.*"]) == Grants(("a", "b.*"))
    assert hash(Grants(["a"])) == hash(Grants(("a",)))
    assert Grants(("a",)) != Grants(("b",))
    assert repr(Grants(("a",))) == "Grants(('a',))"
