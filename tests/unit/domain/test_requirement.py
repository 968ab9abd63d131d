"""What is required of a key: a scope, a query, or both, and never nothing."""

from __future__ import annotations

from typing import Any

import pytest

from keyturn.domain.requirement import Requirement, check_profile
from keyturn.domain.scope import KeyScope
from keyturn.errors import InvalidInputError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"scope": "read"}, Requirement(scope=KeyScope.READ)),
        ({"scope": KeyScope.FULL}, Requirement(scope=KeyScope.FULL)),
        ({"permissions": " a.b  AND NOT c "}, Requirement(permissions=" a.b  AND NOT c ")),
        (
            {"scope": "read_write", "permissions": "a"},
            Requirement(scope=KeyScope.READ_WRITE, permissions="a"),
        ),
        ({"scope": None, "permissions": "a"}, Requirement(permissions="a")),
        (Requirement(permissions="a"), Requirement(permissions="a")),
    ],
)
def test_a_profile_is_what_was_given_to_the_letter(given: Any, expected: Requirement) -> None:
    assert check_profile(given) == expected


@pytest.mark.parametrize(
    "given",
    [
        {}, {"scope": None}, {"scope": None, "permissions": None}, {"scope": ""}, {"scope": "READ"}, {"scope": 1},
        {"scope": ["read"]}, {"permissions": ""}, {"permissions": " "}, {"permissions": "a AND"}, {"permissions": [1]},
        {"permissions": "a" * 1_025}, {"scope": "read", "cost": 1}, {1: "read"}, "read", ["scope"], 1, True,
    ],
    ids=str,
)  # fmt: skip
def test_what_says_nothing_or_cannot_be_understood_is_refused_by_name(given: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_profile(given)
    assert caught.value.field == "profile"
    assert str(caught.value).startswith("profile: ")
    assert caught.value.fix


def test_a_requirement_of_nothing_cannot_be_made() -> None:
    with pytest.raises(InvalidInputError, match="would admit every key"):
        Requirement()


@pytest.mark.parametrize(
    ("requirement", "members"),
    [
        (Requirement(scope=KeyScope.READ), {"scope": "read"}),
        (Requirement(permissions="a OR b"), {"permissions": "a OR b"}),
        (Requirement(scope=KeyScope.FULL, permissions="a"), {"scope": "full", "permissions": "a"}),
    ],
)
def test_its_members_say_it_again(requirement: Requirement, members: dict[str, str]) -> None:
    assert requirement.members == members
    assert check_profile(members) == requirement
