"""Who may write policies, and who may let keys follow one: nobody rotates by the system what they could not issue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest

from keyturn.domain.key import KeyType
from keyturn.domain.principal import Principal
from keyturn.domain.scope import KeyScope
from keyturn.errors import ForbiddenError
from keyturn.key_rotator import KeySelection, RotationStrategy
from keyturn.rotation.policies import Policies
from tests.fakes import BY, Process
from tests.services.samples import head
from tests.services.test_scheduling import begun, daily

HOUR: Final = 3_600
WEAK: Final = (
    Principal(actor="key:key_x", permissions=("rotation.*", "documents.read"), scope=KeyScope.FULL),
    Principal(actor="key:key_x", permissions=("*",), scope=KeyScope.READ_WRITE),
    Principal(actor="key:key_x", permissions=("*.*", "*.*.*"), scope=KeyScope.FULL),
)
STRONG: Final = Principal(actor="key:key_x", permissions=("*",), scope=KeyScope.FULL)
WRITES: Final[dict[str, Callable[[Policies, Principal], object]]] = {
    "create": lambda policies, by: policies.create(daily("another"), by),
    "update": lambda policies, by: policies.update("p", by, {"notices": ()}),
    "resume": lambda policies, by: policies.resume("p", by),
}
every_write = pytest.mark.parametrize("write", WRITES)


def with_policy(process: Process, *, paused: bool) -> Policies:
    policies = process.node.rotation.policies
    policies.create(daily(), BY)
    if paused:
        policies.pause("p", BY)
    return policies


@every_write
@pytest.mark.parametrize("weak", WEAK, ids=["permissions", "scope", "segments"])
def test_who_could_not_issue_every_key_writes_no_policy(ours: Process, write: str, weak: Principal) -> None:
    policies = with_policy(ours, paused=True)
    before = head(ours)
    with pytest.raises(ForbiddenError) as refused:
        WRITES[write](policies, weak)
    assert "scope full" in refused.value.fix
    assert head(ours) == before


@every_write
def test_who_could_issue_every_key_writes_policies(ours: Process, write: str) -> None:
    policies = with_policy(ours, paused=True)
    WRITES[write](policies, STRONG)


def test_a_weak_key_may_stop_what_a_policy_does(ours: Process) -> None:
    policies = with_policy(ours, paused=False)
    assert policies.pause("p", WEAK[0]).paused is not None
    policies.delete("p", WEAK[0])
    assert policies.list(BY).items == ()


def test_a_weak_key_rotates_by_no_policy_what_it_may_not_rotate_itself(ours: Process) -> None:
    key = ours.issue(key_type=KeyType.HMAC, key_scope=KeyScope.FULL)
    policies, weak = ours.node.rotation.policies, replace(WEAK[0], scope=KeyScope.READ)
    with pytest.raises(ForbiddenError):
        ours.node.rotation.requests.rotate(key.key_id, weak)
    wanted = daily(
        "evil",
        strategy=RotationStrategy.IMMEDIATE,
        max_age=HOUR,
        notices=(),
        keys=KeySelection(key_ids=(key.key_id,)),
    )
    with pytest.raises(ForbiddenError):
        policies.create(wanted, weak)
    policies.create(daily(), BY)
    with pytest.raises(ForbiddenError):
        policies.assign(key.key_id, "p", weak)
    ours.clock.pass_time(2 * HOUR)
    assert begun(ours) == []
    assert policies.assign(key.key_id, "p", STRONG).rotation_policy_id == "p"


def test_no_key_lets_itself_follow_a_policy(ours: Process) -> None:
    own = ours.issue(key_type=KeyType.PROVISIONING, key_scope=KeyScope.FULL, permissions=("*",))
    policies = with_policy(ours, paused=False)
    with pytest.raises(ForbiddenError, match="its own policy"):
        policies.assign(own.key_id, "p", replace(STRONG, actor=f"key:{own.key_id}"))
