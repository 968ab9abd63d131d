"""What a header and a query require: read in one way only, or not at all."""

from __future__ import annotations

from urllib.parse import quote, urlencode

import pytest

from keyturn.domain.requirement import Requirement
from keyturn.domain.scope import KeyScope
from keyturn.errors import InvalidInputError
from keyturn.server.requiring import MAX_TEXT, demand_of, from_header, from_query
from keyturn.verifier.decision import Demand

READ = Requirement(scope=KeyScope.READ)
LONGEST = " AND ".join(["a" * 100] * 9)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("scope=read", READ),
        ('scope="read"', READ),
        ("permissions=documents.read", Requirement(permissions="documents.read")),
        ('permissions="a.b AND (c OR NOT d-_e)"', Requirement(permissions="a.b AND (c OR NOT d-_e)")),
        ('scope=read; permissions="a"; cost=1', Requirement(scope=KeyScope.READ, permissions="a")),
        ("cost=999999999;permissions=a \t;\t scope=read", Requirement(scope=KeyScope.READ, permissions="a")),
        ("cost=1", None),
        (f'permissions="{LONGEST}"', Requirement(permissions=LONGEST)),
    ],
)  # fmt: skip
def test_a_header_has_parameters_with_semicolons_between(text: str, expected: Requirement | None) -> None:
    assert from_header(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", " ", ";", "scope", "scope=", 'scope=""', "scope = read", "scope =read", "scope= read", "=read",
        "Scope=read", "SCOPE=read", "scope=read;", ";scope=read", "scope=read;;cost=1", "scope=read cost=1",
        "scope=read, cost=1",
        "scope=read,scope=write", "scope=read; scope=read", "scope=read; scope=write", "scope=READ", "scope=none",
        "scope='read'", 'scope="read', 'scope=read"', 'scope="re\\ad"', 'scope="read"x', "scope=read; x=1", "x=1",
        "scopes=read", "permission=a", "permissions=", 'permissions=""', 'permissions=" "', "permissions=a b",
        'permissions="a AND"', 'permissions="a; scope=read"', 'permissions="a" AND "b"', "permissions=a.*",
        'permissions="é"', 'permissions="a\tAND b"', "cost=0", "cost=01", "cost=-1", "cost=+1", "cost=1.5", "cost=1e3",
        "cost=1000000000", "cost=one", "cost=\u0661", 'cost=""', "scope=read\n", "scope=read\x00",
        "scope=read # no more",
        f'permissions="a"; cost={"1" * MAX_TEXT}', f'permissions="{"a" * 1_025}"', "scope=read".ljust(MAX_TEXT + 1),
    ],
)  # fmt: skip
def test_a_header_that_could_be_read_in_another_way_is_not_read_at_all(text: str) -> None:
    with pytest.raises(InvalidInputError):
        from_header(text)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", None),
        ("scope=read", READ),
        ("sc%6Fpe=re%61d", READ),
        ("permissions=a.b+AND+c", Requirement(permissions="a.b AND c")),
        ("permissions=a.b%20AND%20%28c%20OR%20NOT%20d%29", Requirement(permissions="a.b AND (c OR NOT d)")),
        ("cost=7&permissions=a&scope=read", Requirement(scope=KeyScope.READ, permissions="a")),
        ("cost=7", None),
        (urlencode({"permissions": LONGEST}), Requirement(permissions=LONGEST)),
        ("permissions=" + "".join(f"%{ord(c):02x}" for c in LONGEST), Requirement(permissions=LONGEST)),
    ],
)
def test_a_query_has_the_same_parameters(query: str, expected: Requirement | None) -> None:
    assert from_query(query.encode()) == expected


@pytest.mark.parametrize(
    "query",
    [
        b"&", b"scope", b"scope=", b"=read", b"scope=read&", b"&scope=read", b"scope=read&&cost=1",
        b"scope=read;cost=1",
        b"scope=read&scope=read", b"scope=read&scope=write", b"scope=read&%73cope=write", b"Scope=read", b"scope=READ",
        b"scope=read&x=1", b"x", b"x=", b"scope[]=read", b"scope=read%00", b"scope=%72ead%", b"scope=\xffread",
        b"permissions=%ff", b"permissions=", b"permissions=+", b"permissions=a+AND", b"permissions=a&permissions=b",
        b"cost=0", b"cost=", b"cost=1.0", b"cost=-1", b"cost=+1", quote("scope=read").encode(),
        b"permissions=" + b"a" * 1_025, b"permissions=" + b"a" * MAX_TEXT,
    ],
)  # fmt: skip
def test_a_query_that_could_be_read_in_another_way_is_not_read_at_all(query: bytes) -> None:
    with pytest.raises(InvalidInputError):
        from_query(query)


def test_what_is_required_adds_up() -> None:
    profile = Requirement(scope=KeyScope.READ, permissions="a")
    demand = demand_of("acme", profile, 'scope=write; permissions="b"', b"permissions=c")
    assert demand == Demand.meeting(
        "acme", [Requirement(scope=KeyScope.READ_WRITE), Requirement(permissions="a AND b AND c")]
    )
    assert demand_of("acme", None, None, b"") == Demand(tenant="acme")
    assert demand_of("acme", profile, None, b"") == Demand.meeting("acme", [profile])


def test_what_was_refused_is_refused_again() -> None:
    for _ in range(3):
        with pytest.raises(InvalidInputError):
            demand_of("acme", None, "scope=", b"")
