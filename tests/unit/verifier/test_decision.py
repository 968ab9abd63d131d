"""The decision, as a function of what is kept, what is asked, and the time."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import combinations, product
from typing import Any

import pytest

from keyturn.domain.lifecycle import KeyState
from keyturn.domain.requirement import Requirement
from keyturn.domain.scope import KeyScope
from keyturn.domain.verdict import Code
from keyturn.errors import InvalidInputError
from keyturn.verifier.decision import NO_DEMAND, Demand, judge
from keyturn.verifier.entries import NO_OWNER, Entry
from tests.unit.verifier.samples import AT, NANOS, OWNER_ROW, entry_of, key_of, owner_of, version_of

MICROSECOND = timedelta(microseconds=1)
INSIDE, OUTSIDE = "203.0.113.9", "198.51.100.1"

# Each cause of refusal: how the key comes by it, and how the demand does. Their order is part of the contract.
CAUSES: dict[Code, tuple[dict[str, Any], dict[str, Any]]] = {
    Code.SUSPENDED: ({"state": KeyState.SUSPENDED}, {}),
    Code.EXPIRED: ({"expires_at": AT}, {}),
    Code.IP_DENIED: ({"allowed_ips": (INSIDE,)}, {}),
    Code.INSUFFICIENT_SCOPE: ({}, {"scope": KeyScope.WRITE}),
    Code.INSUFFICIENT_PERMISSIONS: ({}, {"permissions": "billing.read"}),
}


TOGETHER = [causes for count in range(len(CAUSES) + 1) for causes in combinations(CAUSES, count)]


@pytest.mark.parametrize("causes", TOGETHER, ids=lambda causes: " and ".join(code.value for code in causes))
def test_the_first_cause_is_told_state_then_time_then_network_then_scope_then_permissions(
    causes: tuple[Code, ...],
) -> None:
    members: dict[str, Any] = {"permissions": ("documents.read",)}
    demand: dict[str, Any] = {}
    for cause in causes:
        members |= CAUSES[cause][0]
        demand |= CAUSES[cause][1]
    expected = causes[0] if causes else Code.VALID
    assert judge(entry_of(**members), Demand.of(**demand), OUTSIDE, NANOS) is expected


@pytest.mark.parametrize("others", [cause for cause in CAUSES if cause not in (Code.SUSPENDED, Code.EXPIRED)])
def test_a_key_that_is_not_valid_yet_says_so_before_anything_about_the_demand(others: Code) -> None:
    members, demand = CAUSES[others]
    entry = entry_of(not_before=AT + MICROSECOND, **members)
    assert judge(entry, Demand.of(**demand), OUTSIDE, NANOS) is Code.NOT_YET_VALID
    suspended = entry_of(not_before=AT + MICROSECOND, state=KeyState.SUSPENDED)
    assert judge(suspended, NO_DEMAND, None, NANOS) is Code.SUSPENDED


# Time: from not_before on, and no longer at expires_at


@pytest.mark.parametrize(("nanos", "expected"), [(-1, Code.NOT_YET_VALID), (0, Code.VALID), (1, Code.VALID)])
def test_a_key_is_valid_from_the_very_nanosecond_of_not_before(nanos: int, expected: Code) -> None:
    assert judge(entry_of(not_before=AT), NO_DEMAND, None, NANOS + nanos) is expected


@pytest.mark.parametrize(("nanos", "expected"), [(-1, Code.VALID), (0, Code.EXPIRED), (1, Code.EXPIRED)])
def test_a_key_is_no_longer_valid_at_the_very_nanosecond_of_expires_at(nanos: int, expected: Code) -> None:
    assert judge(entry_of(expires_at=AT), NO_DEMAND, None, NANOS + nanos) is expected
    assert judge(entry_of(version={"expires_at": AT}), NO_DEMAND, None, NANOS + nanos) is expected


def test_a_window_of_one_microsecond_has_a_thousand_nanoseconds() -> None:
    entry = entry_of(not_before=AT, expires_at=AT + MICROSECOND)
    codes = [judge(entry, NO_DEMAND, None, NANOS + nanos) for nanos in (-1, 0, 999, 1_000)]
    assert codes == [Code.NOT_YET_VALID, Code.VALID, Code.VALID, Code.EXPIRED]


@pytest.mark.parametrize(
    ("of_key", "of_version", "ends"),
    [
        (None, None, None),
        (AT, None, AT),
        (None, AT, AT),
        (AT, AT + MICROSECOND, AT),
        (AT + MICROSECOND, AT, AT),
    ],
)
def test_a_credential_ends_with_its_key_or_its_version_whichever_is_first(
    of_key: datetime | None, of_version: datetime | None, ends: datetime | None
) -> None:
    entry = entry_of(expires_at=of_key, version={"expires_at": of_version})
    assert entry.expires_at == ends
    assert (judge(entry, NO_DEMAND, None, NANOS) is Code.EXPIRED) is (ends is not None)


def test_a_key_without_expiry_is_valid_in_fifty_years() -> None:
    assert judge(entry_of(), NO_DEMAND, None, NANOS + 50 * 365 * 86_400 * 10**9) is Code.VALID
    assert judge(entry_of(), NO_DEMAND, None, 0) is Code.VALID


# States


def expected_of(*states: KeyState) -> Code:
    """What a holder is told: refused for good outweighs suspended, which outweighs not yet."""
    if {KeyState.DEACTIVATED, KeyState.COMPROMISED, KeyState.DESTROYED} & set(states):
        return Code.REVOKED
    if KeyState.SUSPENDED in states:
        return Code.SUSPENDED
    return Code.NOT_YET_VALID if KeyState.PRE_ACTIVE in states else Code.VALID


@pytest.mark.parametrize(
    ("of_key", "of_version"), list(product(KeyState, KeyState)), ids=lambda state: state.value
)
def test_the_stricter_of_the_keys_and_the_versions_state_decides(
    of_key: KeyState, of_version: KeyState
) -> None:
    entry = entry_of(state=of_key, version={"state": of_version})
    assert judge(entry, NO_DEMAND, None, NANOS) is expected_of(of_key, of_version)


def test_a_key_whose_expiry_was_recorded_has_expired_and_was_not_revoked() -> None:
    recorded = entry_of(state=KeyState.DEACTIVATED, reason=None)
    assert judge(recorded, NO_DEMAND, None, NANOS) is Code.EXPIRED
    destroyed = entry_of(state=KeyState.DEACTIVATED, reason=None, version={"state": KeyState.DESTROYED})
    assert judge(destroyed, NO_DEMAND, None, NANOS) is Code.REVOKED


# Owners


def owned(key_epoch: int, owner_epoch: int | None, **members: Any) -> Entry:
    key = key_of(owner="acme", owner_row=OWNER_ROW, owner_epoch=key_epoch, **members)
    return Entry(version_of(), key, None if owner_epoch is None else owner_of(owner_epoch), NO_OWNER)


@pytest.mark.parametrize(
    ("key_epoch", "owner_epoch", "expected"),
    [
        (0, None, Code.VALID),  # never revoked: there is no row
        (0, 1, Code.REVOKED),
        (1, 1, Code.VALID),  # issued after the revocation
        (1, 2, Code.REVOKED),
        (0, 2, Code.REVOKED),
        (2, 1, Code.REVOKED),  # an owner's row from before the key
    ],
)
def test_a_key_is_valid_only_in_the_epoch_of_its_owner_that_it_was_issued_in(
    key_epoch: int, owner_epoch: int | None, expected: Code
) -> None:
    assert judge(owned(key_epoch, owner_epoch), NO_DEMAND, None, NANOS) is expected


@pytest.mark.parametrize("state", KeyState, ids=lambda state: state.value)
def test_the_revocation_of_an_owner_outweighs_every_state_of_the_key(state: KeyState) -> None:
    assert judge(owned(0, 1, state=state), NO_DEMAND, None, NANOS) is Code.REVOKED


# Network


@pytest.mark.parametrize(
    ("ip", "expected"),
    [
        ("10.1.2.3", Code.VALID),
        ("::ffff:10.1.2.3", Code.VALID),
        ("2001:db8::7", Code.VALID),
        ("11.1.2.3", Code.IP_DENIED),
        ("::ffff:11.1.2.3", Code.IP_DENIED),
        ("2001:db9::7", Code.IP_DENIED),
        ("10.1.2.3%eth0", Code.IP_DENIED),
        ("10.1.2", Code.IP_DENIED),
        ("10.1.2.3 ", Code.IP_DENIED),
        ("", Code.IP_DENIED),
        (None, Code.IP_DENIED),
    ],
)
def test_a_restricted_key_is_accepted_from_its_networks_and_from_nowhere_unknown(
    ip: str | None, expected: Code
) -> None:
    entry = entry_of(allowed_ips=("10.0.0.0/8", "2001:db8::/32"))
    assert judge(entry, NO_DEMAND, ip, NANOS) is expected


@pytest.mark.parametrize("ip", [None, "203.0.113.9", "no address at all"])
def test_a_key_without_networks_is_accepted_from_anywhere(ip: str | None) -> None:
    assert judge(entry_of(), NO_DEMAND, ip, NANOS) is Code.VALID


# Scope and permissions


ACTIONS = {
    KeyScope.READ: {"read"},
    KeyScope.WRITE: {"write"},
    KeyScope.ADMIN: {"admin"},
    KeyScope.READ_WRITE: {"read", "write"},
    KeyScope.FULL: {"read", "write", "admin"},
}


@pytest.mark.parametrize(("held", "asked"), list(product(KeyScope, KeyScope)), ids=lambda scope: scope.value)
def test_a_scope_is_met_by_a_key_that_holds_all_its_actions(held: KeyScope, asked: KeyScope) -> None:
    expected = Code.VALID if ACTIONS[asked] <= ACTIONS[held] else Code.INSUFFICIENT_SCOPE
    assert judge(entry_of(scope=held), Demand.of(scope=asked), None, NANOS) is expected


@pytest.mark.parametrize(
    ("grants", "asked", "met"),
    [
        (("documents.read",), "documents.read", True),
        (("documents.read",), "documents.read AND documents.read", True),
        (("documents.read",), "documents.read AND documents.write", False),
        (("documents.read", "documents.write"), "documents.write AND documents.read", True),
        (("documents.*",), "documents.read AND documents.write", True),
        (("documents.*", "billing.read"), "documents.read AND billing.read", True),
        (("documents.*", "billing.read"), "documents.read AND billing.write", False),
        (("*.read",), "documents.read", True),
        (("*.read",), "documents.write", False),
        (("*",), "anything.at.all", True),
        ((), "documents.read", False),
        (("Documents.read",), "documents.read", False),
        ((), "NOT beta", True),
        (("beta",), "NOT beta", False),
        (("*",), "NOT beta", False),
        (("documents.read",), "documents.read AND NOT beta", True),
        (("documents.read", "beta"), "documents.read AND NOT beta", False),
        (("beta",), "documents.read OR beta", True),
        (("billing.*",), "documents.read OR billing.read", True),
        (("documents.write",), "documents.read OR billing.read", False),
    ],
)
def test_permissions_are_met_when_the_grants_meet_the_query(
    grants: tuple[str, ...], asked: str, met: bool
) -> None:
    expected = Code.VALID if met else Code.INSUFFICIENT_PERMISSIONS
    assert judge(entry_of(permissions=grants), Demand.of(permissions=asked), None, NANOS) is expected


def test_who_asks_for_nothing_needs_no_permission() -> None:
    assert judge(entry_of(permissions=()), NO_DEMAND, None, NANOS) is Code.VALID


@pytest.mark.parametrize("text", ["", " ", "AND", "documents.*", "documents.read OR"])
def test_a_demand_that_says_nothing_or_is_not_understood_is_refused_before_anybody_is_let_in(
    text: str,
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Demand.of(permissions=text)
    assert caught.value.field == "permissions"


def test_a_demand_that_names_no_tenant_is_for_the_default_one() -> None:
    assert Demand.of() == NO_DEMAND
    assert NO_DEMAND.tenant == "default"


# Several requirements together


@pytest.mark.parametrize("count", range(4))
def test_several_requirements_are_met_by_what_meets_each_of_them(count: int) -> None:
    possible = [
        Requirement(scope=KeyScope.READ),
        Requirement(scope=KeyScope.WRITE, permissions="a"),
        Requirement(permissions="a AND b"),
        Requirement(permissions="b OR c"),
        Requirement(permissions="NOT d"),
    ]
    keys = [
        entry_of(scope=scope, permissions=granted)
        for scope in (KeyScope.READ, KeyScope.WRITE, KeyScope.READ_WRITE)
        for granted in ((), ("a",), ("a", "b"), ("a", "c"), ("*",), ("a", "b", "d"), ("b", "a.x"))
    ]
    for requirements in combinations(possible, count):
        together = Demand.meeting("default", requirements)
        for key in keys:
            alone = [judge(key, Demand.meeting("default", [one]), None, NANOS) for one in requirements]
            is_met = all(code is Code.VALID for code in alone)
            assert (judge(key, together, None, NANOS) is Code.VALID) is is_met, (
                requirements,
                key.permissions,
            )


def test_names_from_several_requirements_still_cost_one_comparison() -> None:
    demand = Demand.meeting("acme", [Requirement(permissions="a AND b"), Requirement(permissions="c")])
    assert (demand.tenant, demand.sufficient) == ("acme", frozenset("abc"))
