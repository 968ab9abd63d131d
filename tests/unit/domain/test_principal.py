from itertools import product

import pytest

from keyturn.domain.principal import LIBRARY_ACTOR, LOCAL_ACTOR, SYSTEM_ACTOR, Principal
from keyturn.domain.scope import KeyScope
from keyturn.errors import ForbiddenError


def holding(*permissions: str, scope: KeyScope = KeyScope.FULL) -> Principal:
    return Principal(actor="key:key_0123456789ABCDEFGHIJKL", permissions=permissions, scope=scope)


def may(principal: Principal, permission: str) -> bool:
    try:
        principal.require(permission)
    except ForbiddenError:
        return False
    return True


def may_grant(principal: Principal, *permissions: str, scope: KeyScope = KeyScope.READ) -> bool:
    try:
        principal.require_grantable(permissions, scope)
    except ForbiddenError:
        return False
    return True


def test_the_operator_of_the_machine_may_do_everything_in_the_default_tenant() -> None:
    local = Principal(actor=LOCAL_ACTOR)
    assert local.tenant == "default"
    assert may(local, "keys.create")
    assert may_grant(local, "*", scope=KeyScope.FULL)


def test_the_log_has_names_for_those_who_hold_no_key() -> None:
    """They stand in entries for good."""
    assert (LOCAL_ACTOR, LIBRARY_ACTOR, SYSTEM_ACTOR) == ("local", "library", "system")


def test_a_caller_may_do_what_its_grants_cover_and_nothing_else() -> None:
    caller = holding("keys.read", "audit.*")
    assert may(caller, "keys.read")
    assert may(caller, "audit.read")
    assert not may(caller, "keys.create")
    assert not may(caller, "keys")
    assert not may(caller, "keys.read.secret")
    assert not may(holding(), "keys.read")


def test_a_refusal_names_the_permission_and_what_to_do() -> None:
    with pytest.raises(ForbiddenError, match=r"lacks the permission keys\.revoke$") as refused:
        holding("keys.read").require("keys.revoke")
    assert refused.value.fix == "Use a provisioning key that holds keys.revoke."
    assert refused.value.code == "forbidden"


def test_no_caller_grants_permissions_that_it_lacks() -> None:
    caller = holding("keys.*", "documents.read")
    assert may_grant(caller)
    assert may_grant(caller, "keys.create", "documents.read")
    assert may_grant(caller, "keys.*")
    assert not may_grant(caller, "documents.write")
    assert not may_grant(caller, "documents.*")
    assert not may_grant(caller, "keys.create", "audit.read")
    assert not may_grant(caller, "*")
    assert not may_grant(holding(), "documents.read")


@pytest.mark.parametrize(("held", "asked"), list(product(KeyScope, KeyScope)), ids=lambda scope: scope.value)
def test_no_caller_issues_a_scope_beyond_its_own(held: KeyScope, asked: KeyScope) -> None:
    assert may_grant(holding("*", scope=held), scope=asked) is (asked.actions <= held.actions)


def test_a_refused_scope_is_named_with_the_one_that_is_held() -> None:
    with pytest.raises(ForbiddenError, match="scope read cannot hand on the scope full") as refused:
        holding("*", scope=KeyScope.READ).require_grantable((), KeyScope.FULL)
    assert refused.value.fix == "Ask for a scope within read."


def test_a_caller_cannot_be_changed() -> None:
    for name in ("permissions", "scope", "tenant", "anything"):
        with pytest.raises((AttributeError, TypeError)):
            setattr(holding("keys.read"), name, ("*",))
