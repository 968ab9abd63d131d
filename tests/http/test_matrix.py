"""Every route with every sort of id and caller: one 404, one 403 and one 401 for each, whatever stands behind an id.

Routes, parameters and bodies are those of tests/http/routes.py, which takes them from the application: a new route is
here as soon as it is there, and one with a parameter that nobody has thought of fails.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

import pytest

from tests.http.raw import Answer
from tests.http.routes import BODIES, GUARDED, IDS, NAMES, Route, documented, every_route
from tests.http.served import Served, another_source

MALFORMED: Final = (
    "a",
    "kt_",
    "kt_" + "0" * 65,
    "key_" + "0" * 22,
    "é".encode().decode("latin-1"),
    "Bearer",
    ".",
)
OWN: Final[dict[str, Callable[[Served], str]]] = {
    "key_id": lambda served: str(served.issue(owner="matrix", recoverable=True)["key_id"]),
    "rotation_id": lambda served: str(served.rotate()["rotation_id"]),
    "endpoint_id": lambda served: served.endpoint(),
    "policy_id": lambda served: str(served.policy()),
}

with_id = pytest.mark.parametrize(
    ("route", "name"),
    [(route, name) for route in GUARDED for name in sorted(route.parameters & IDS.keys())],
    ids=str,
)


@cache
def foreign(served: Served, name: str) -> str:
    """An id of another tenant."""
    return IDS[name][1](served)


@cache
def helpless(served: Served) -> str:
    """A provisioning key that may do nothing."""
    return served.provision()


def sorts_of(served: Served, route: Route) -> list[dict[str, str]]:
    """The route's ids: of nothing, of another tenant's, and of the caller's own."""
    names = route.parameters & IDS.keys()
    if not names:
        return [{}]
    return [
        {name: IDS[name][0] for name in names},
        {name: foreign(served, name) for name in names},
        {name: OWN[name](served) for name in names},
    ]


def assert_alike(answers: list[Answer]) -> None:
    """To the byte, but for the date."""
    assert len({answer.without("date") for answer in answers}) == 1, answers


@every_route
def test_all_parameters_of_a_path_are_known(route: Route) -> None:
    unknown = route.parameters - IDS.keys() - NAMES.keys()
    assert not unknown, f"say in tests/http/routes.py what {unknown} is: an id (IDS), or a name (NAMES)"


def test_all_that_is_said_of_routes_is_of_routes_that_there_are() -> None:
    known = {str(route) for route in documented()}
    assert BODIES.keys() <= known
    assert IDS.keys() | NAMES.keys() == set().union(*(route.parameters for route in GUARDED))
    assert OWN.keys() == IDS.keys()


@with_id
def test_another_tenants_id_looks_to_the_byte_like_one_of_nothing(
    served: Served, route: Route, name: str
) -> None:
    answers = [
        route.call(served, key=served.key, ids={name: IDS[name][0]}),
        route.call(served, key=served.key, ids={name: foreign(served, name)}),
        route.call(served, key=served.foreigner, ids={name: OWN[name](served)}),
    ]
    answers[0].problem(404, "not_found")
    assert_alike(answers)


@every_route
def test_who_lacks_the_permission_is_told_the_same_whatever_the_id(served: Served, route: Route) -> None:
    answers = [route.call(served, key=helpless(served), ids=ids) for ids in sorts_of(served, route)]
    answers[0].problem(403, "forbidden")
    assert_alike(answers)


@every_route
def test_who_has_no_key_is_told_the_same_whatever_the_id(served: Served, route: Route) -> None:
    answers = [route.call(served, key=None, ids=ids) for ids in sorts_of(served, route)]
    answers[0].problem(401, "unauthenticated")
    assert_alike(answers)


@every_route
@pytest.mark.parametrize("key", MALFORMED, ids=[repr(key) for key in MALFORMED])
def test_who_has_a_malformed_key_is_told_the_same_whatever_the_id(
    served: Served, route: Route, key: str
) -> None:
    source = another_source()  # so many refusals would be throttled
    answers = [route.call(served, key=key, source=source, ids=ids) for ids in sorts_of(served, route)]
    answers[0].problem(401, "unauthenticated")
    assert_alike(answers)
