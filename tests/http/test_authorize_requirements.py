"""What `/v1/authorize` requires: profile, header and query together, and never less for what a client adds."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Final
from urllib.parse import urlencode

import pytest

from keyturn.domain.scope import KeyScope
from tests.http.authorizing import BEARER, assert_passes, assert_refused, gateway_of, put
from tests.http.served import Served

INSUFFICIENT: Final = f'{BEARER}, error="insufficient_scope"'

both_ways = pytest.mark.parametrize("way", ["plain", "asgi"])


@pytest.fixture(scope="module")
def reader(served: Served) -> str:
    """A key that reads documents."""
    return str(served.issue(scope="read", permissions=["documents.read", "beta"])["key"])


def profiled(served: Served, **profile: str) -> str:
    """A gateway's key with this profile."""
    return served.provision("keys.verify", profile=profile)


def header(requirement: Mapping[str, str]) -> str:
    return "; ".join(f'{name}="{value}"' for name, value in requirement.items())


# Every one of these asks for something, in the three places where it can stand.
REQUIREMENTS: Final[dict[str, dict[str, str]]] = {
    "met": {"scope": "read", "permissions": "documents.read"},
    "scope": {"scope": "write"},
    "permissions": {"permissions": "billing.read"},
    "not": {"permissions": "NOT beta"},
    "either": {"permissions": "billing.read OR documents.read"},
}
PERMISSIONS: Final = "insufficient_permissions"
MET: Final = frozenset({"met", "either"})
CODES: Final = {"scope": "insufficient_scope", "permissions": PERMISSIONS, "not": PERMISSIONS}


@both_ways
@pytest.mark.parametrize(
    "names", list(product([None, *REQUIREMENTS], repeat=3)), ids=lambda names: "-".join(map(str, names))
)
def test_all_that_is_required_must_be_met_wherever_it_stands(
    served: Served, reader: str, way: str, names: tuple[str | None, ...]
) -> None:
    in_profile, in_header, in_query = (None if name is None else REQUIREMENTS[name] for name in names)
    answer = put(
        served,
        way,
        gateway_of(served) if in_profile is None else gateway_with(served, names[0]),
        key=reader,
        require=None if in_header is None else header(in_header),
        path="/v1/authorize" if in_query is None else f"/v1/authorize?{urlencode(in_query)}",
    )
    unmet = [name for name in names if name is not None and name not in MET]
    if not unmet:
        assert_passes(answer)
    else:
        code = CODES["scope" if "scope" in unmet else unmet[0]]  # scopes are looked at first
        assert_refused(answer, 403, code, INSUFFICIENT)


_GATEWAYS: Final[dict[str, str]] = {}


def gateway_with(served: Served, name: str | None) -> str:
    assert name is not None
    if name not in _GATEWAYS:
        _GATEWAYS[name] = profiled(served, **REQUIREMENTS[name])
    return _GATEWAYS[name]


@both_ways
def test_scopes_from_several_places_are_required_together(served: Served, way: str) -> None:
    gateway = profiled(served, scope="read")
    for scope in KeyScope:
        key = str(served.issue(scope=scope.value)["key"])
        answer = put(served, way, gateway, key=key, require="scope=write")
        assert (answer.status == 200) is (scope in (KeyScope.READ_WRITE, KeyScope.FULL))


# What a client might try, where a gateway passes on its path and query behind /v1/authorize.
CLIENTS_OWN: Final = (
    "", "?", "?scope=read", "?scope=", "?permissions=beta", "?permissions=", "?scope=write&scope=read", "?cost=0", "?a",
    "?scope=full&permissions=billing.read", "?%73cope=read", "#?scope=read", "?scope=read#", "?%ff", "?" + "a" * 5_000,
)  # fmt: skip


@both_ways
@pytest.mark.parametrize("tail", CLIENTS_OWN, ids=lambda tail: ascii(tail)[:30])
@pytest.mark.parametrize("path", ["/v1/authorize/", "/v1/authorize/a", "/v1/authorize/v1/authorize"])
def test_behind_a_path_the_query_is_the_clients_and_counts_for_nothing(
    served: Served, reader: str, way: str, path: str, tail: str
) -> None:
    strict = gateway_with(served, "permissions")
    for gateway, is_right in ((strict, False), (gateway_of(served), True)):
        answer = put(served, way, gateway, key=reader, path=path + tail)
        if is_right:
            assert_passes(answer)
        else:
            assert_refused(answer, 403, "insufficient_permissions", INSUFFICIENT)


@both_ways
@pytest.mark.parametrize("tail", CLIENTS_OWN, ids=lambda tail: ascii(tail)[:30])
def test_no_query_loosens_what_profile_and_header_require(
    served: Served, reader: str, way: str, tail: str
) -> None:
    """Also on the exact path, where a gateway should not put its client's query."""
    for gateway, require in ((gateway_with(served, "scope"), None), (gateway_of(served), "scope=write")):
        answer = put(served, way, gateway, key=reader, path="/v1/authorize" + tail, require=require)
        assert answer.status in (400, 403), answer
        assert answer.field("x-keyturn-valid") == "false"


@both_ways
@pytest.mark.parametrize(
    "require",
    ["", "scope", "scope=root", "scope=read; scope=read", "scope=read,", 'permissions="a AND"', "x=1", "cost=0"],
)  # fmt: skip
def test_a_requirement_that_is_not_understood_lets_nobody_pass_and_is_the_gateways_fault(
    served: Served, reader: str, way: str, require: str
) -> None:
    for key in (reader, None):
        answer = put(served, way, key=key, require=require)
        problem = assert_refused(answer, 400, "gateway_requirement").json
        assert problem["detail"].startswith("what the gateway requires: ")


@both_ways
@pytest.mark.parametrize(
    "query", ["scope=read&scope=read", "scope=read&x=1", "scope=root", "permissions=", "read"]
)
def test_a_query_that_is_not_understood_on_the_exact_path_lets_nobody_pass(
    served: Served, reader: str, way: str, query: str
) -> None:
    answer = put(served, way, key=reader, path=f"/v1/authorize?{query}")
    assert_refused(answer, 400, "gateway_requirement")


@both_ways
def test_a_cost_is_understood_and_has_no_effect_yet(served: Served, reader: str, way: str) -> None:
    assert_passes(put(served, way, key=reader, require="cost=5"))
    assert_passes(put(served, way, key=reader, require="scope=read; cost=5", path="/v1/authorize?cost=7"))


@both_ways
def test_a_profile_is_for_the_gateway_and_not_for_those_who_verify(
    served: Served, reader: str, way: str
) -> None:
    """POST /v1/verify asks for what its question says; the same key may do both."""
    gateway = gateway_with(served, "scope")
    assert served.verify(reader, key=gateway)["valid"]
    assert_refused(put(served, way, gateway, key=reader), 403, "insufficient_scope", INSUFFICIENT)


def test_many_requirements_are_kept_apart(served: Served, reader: str) -> None:
    """More of them than are kept ready."""
    for number in range(1_100):
        answer = put(served, key=reader, require=f'permissions="documents.read AND NOT n{number}"')
        assert_passes(answer)
        if number % 10 == 0:
            answer = put(served, key=reader, require=f'permissions="documents.read AND n{number}"')
            assert_refused(answer, 403, "insufficient_permissions", INSUFFICIENT)
