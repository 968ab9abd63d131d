"""Codes for one pick-up of a new secret."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import pytest

from keyturn import KeyRotator, KeyScope, KeyType, SecureKeyGenerator, SecureKeyStore
from keyturn.domain.principal import Principal
from keyturn.domain.secret import Secret
from keyturn.errors import (
    ForbiddenError,
    IllegalTransitionError,
    InvalidInputError,
    NotFoundError,
    ThrottledError,
)
from keyturn.rotation.pick_ups import PickUps
from keyturn.verifier.throttle import FAILURE_BURST, RESERVED_BURST, VAIN_BURST
from tests.fakes import BY, Process
from tests.services.rotating import rotator_of
from tests.services.samples import events, on_both


@pytest.fixture
def pick_ups(process: Process) -> PickUps:
    return process.node.rotation.pick_ups


def waiting(process: Process, **spec: Any) -> str:
    """A rotation whose new secret waits."""
    key = process.issue(**spec)
    return process.node.rotation.requests.rotate(key.key_id, BY, keeps_secret=True).rotation.rotation_id


def maker(process: Process, **spec: Any) -> Principal:
    """Whoever holds a provisioning key that may rotate."""
    wanted = {"permissions": ("rotation.rotate", "documents.*"), "owner": "ada", **spec}
    key = process.issue(key_type=KeyType.PROVISIONING, key_scope=KeyScope.FULL, **wanted)
    return Principal(actor=f"key:{key.key_id}", permissions=key.spec.permissions)


def alarms(process: Process) -> list[dict[str, object]]:
    return [dict(event.details) for event in events(process) if event.type == "pick_up_repeated"]


@on_both
def test_a_code_hands_the_secret_out_once_and_then_raises_one_alarm(
    process: Process, theirs: Process, pick_ups: PickUps
) -> None:
    offered = pick_ups.offer(waiting(process), BY)
    picked = pick_ups.redeem(offered.code)
    assert process.ask(picked.secret.reveal()).code == "valid"
    assert alarms(process) == []
    for each in (pick_ups, theirs.node.rotation.pick_ups, pick_ups):
        with pytest.raises(IllegalTransitionError, match="used before"):
            each.redeem(offered.code.reveal(), ip="203.0.113.9")
    assert alarms(process) == [{"ip": "203.0.113.9"}]


def test_of_two_who_show_a_code_at_once_one_gets_the_secret_and_the_other_raises_the_alarm(
    process: Process, theirs: Process, pick_ups: PickUps
) -> None:
    offered = pick_ups.offer(waiting(process), BY)
    process.ledger.before("commit", lambda: theirs.node.rotation.pick_ups.redeem(offered.code))
    with pytest.raises(IllegalTransitionError, match="used before"):
        pick_ups.redeem(offered.code)
    assert alarms(process) == [{}]


def test_a_code_ends(process: Process, pick_ups: PickUps) -> None:
    offered = pick_ups.offer(waiting(process), BY, lifetime=60)
    process.clock.pass_time(60)
    with pytest.raises(NotFoundError):
        pick_ups.redeem(offered.code)
    assert alarms(process) == []


def test_a_code_that_a_key_made_is_good_while_that_key_is(process: Process, pick_ups: PickUps) -> None:
    offered = pick_ups.offer(waiting(process, permissions=("documents.read",)), maker(process))
    assert process.ask(pick_ups.redeem(offered.code).secret.reveal())


Ending = Callable[[SecureKeyStore, str], object]
ENDINGS: Final[dict[str, Ending]] = {
    "revoke": lambda store, key_id: store.revoke_key(key_id),
    "compromise": lambda store, key_id: store.revoke_key(key_id, "keyCompromise"),
    "suspend": lambda store, key_id: store.suspend_key(key_id),
    "destroy": lambda store, key_id: store.destroy_key(key_id),
    "revoke the owner": lambda store, _: store.revoke_owner("ada"),
    "rotate as compromised": lambda store, key_id: KeyRotator(SecureKeyGenerator(), store).rotate_key(
        key_id, compromised=True
    ),
    "no such permission": lambda store, key_id: store.update_key(key_id, permissions=["documents.*"]),
    "less than the key": lambda store, key_id: store.update_key(key_id, permissions=["rotation.rotate"]),
    "less scope": lambda store, key_id: store.update_key(key_id, scope=KeyScope.READ),
    "not yet": lambda store, key_id: store.update_key(
        key_id, not_before=store._node.clock.now() + timedelta(1)
    ),
}


@on_both
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_code_ends_with_what_its_maker_may_do(
    process: Process, theirs: Process, pick_ups: PickUps, ending: str
) -> None:
    rotation_id = waiting(process, key_scope=KeyScope.FULL, permissions=("documents.read",))
    by = maker(process)
    offered = pick_ups.offer(rotation_id, by)
    ENDINGS[ending](theirs.store(), by.actor.removeprefix("key:"))
    with pytest.raises(NotFoundError, match="no such code"):
        pick_ups.redeem(offered.code)
    assert process.node.rotation.mover.pick_up(rotation_id, BY).secret, "it still waits"


def test_a_code_ends_with_its_makers_time(process: Process, pick_ups: PickUps) -> None:
    offered = pick_ups.offer(waiting(process), maker(process, expires_in=60))
    process.clock.pass_time(60)
    with pytest.raises(NotFoundError, match="no such code"):
        pick_ups.redeem(offered.code)


def test_what_a_key_makes_after_its_rotation_is_good(process: Process, pick_ups: PickUps) -> None:
    by = maker(process)
    rotator = rotator_of(process)
    rotator.rotate_key(by.actor.removeprefix("key:"), compromised=True)
    process.clock.pass_time(1)
    assert pick_ups.redeem(pick_ups.offer(waiting(process), by).code).secret


@pytest.mark.parametrize("code", ["", "ktpick_", "ktpick_" + "0" * 43, "ktpick_" + "é" * 43, "x" * 100_000])
def test_what_is_no_code_is_refused(pick_ups: PickUps, code: str) -> None:
    with pytest.raises(NotFoundError):
        pick_ups.redeem(code)


def test_bytes_that_are_no_text_are_no_code(pick_ups: PickUps) -> None:
    with pytest.raises(NotFoundError):
        pick_ups.redeem(Secret(b"\xff" * 50))


def test_a_code_is_made_only_where_a_secret_waits_and_by_who_may_have_it(
    process: Process, pick_ups: PickUps
) -> None:
    rotation_id = waiting(process, permissions=("documents.read",))
    with pytest.raises(ForbiddenError):
        pick_ups.offer(rotation_id, Principal(actor="key:a", permissions=("rotation.rotate",)))
    with pytest.raises(NotFoundError):
        pick_ups.offer(rotation_id, Principal(actor="library", tenant="other"))
    with pytest.raises(InvalidInputError):
        pick_ups.offer(rotation_id, BY, lifetime=59)
    pick_ups.redeem(pick_ups.offer(rotation_id, BY).code)
    with pytest.raises(IllegalTransitionError, match="no secret waits"):
        pick_ups.offer(rotation_id, BY)


OTHERWISE: Final[dict[str, Callable[[PickUps, Process, str], object]]] = {
    "for another code": lambda pick_ups, _, rotation_id: pick_ups.redeem(
        pick_ups.offer(rotation_id, BY).code
    ),
    "by an operator": lambda _, process, rotation_id: process.node.rotation.mover.pick_up(rotation_id, BY),
}


@on_both
@pytest.mark.parametrize("is_over", [False, True])
@pytest.mark.parametrize("otherwise", OTHERWISE)
def test_a_code_that_was_never_used_raises_one_alarm_when_its_secret_has_gone(
    process: Process, theirs: Process, pick_ups: PickUps, otherwise: str, is_over: bool
) -> None:
    rotation_id = waiting(process)
    code = pick_ups.offer(rotation_id, BY).code
    OTHERWISE[otherwise](theirs.node.rotation.pick_ups, theirs, rotation_id)
    if is_over:
        theirs.node.rotation.mover.complete(rotation_id, BY)
    assert alarms(process) == []
    for _ in range(2):
        with pytest.raises(IllegalTransitionError, match="without this code") as refused:
            pick_ups.redeem(code, ip="203.0.113.9")
        assert "rotated as compromised" in refused.value.fix
    assert alarms(process) == [{"ip": "203.0.113.9"}]


def test_a_maker_who_is_gone_hides_no_alarm(process: Process, pick_ups: PickUps) -> None:
    by, rotation_id = maker(process), waiting(process)
    codes = [pick_ups.offer(rotation_id, by).code for _ in range(2)]
    pick_ups.redeem(codes[0])
    process.store().revoke_key(by.actor.removeprefix("key:"), "keyCompromise")
    with pytest.raises(IllegalTransitionError, match="without this code"):
        pick_ups.redeem(codes[1])
    assert alarms(process) == [{}]


def test_a_code_of_a_rotation_that_was_rolled_back_is_no_alarm(process: Process, pick_ups: PickUps) -> None:
    rotation_id = waiting(process)
    code = pick_ups.offer(rotation_id, BY).code
    process.node.rotation.mover.roll_back(rotation_id, BY)
    with pytest.raises(IllegalTransitionError, match="rolled back"):
        pick_ups.redeem(code)
    assert alarms(process) == []


@on_both
def test_the_log_says_who_made_the_code_that_a_secret_was_fetched_for_and_from_where(
    process: Process, theirs: Process, pick_ups: PickUps
) -> None:
    by = maker(process)
    pick_ups.redeem(pick_ups.offer(waiting(process), by).code, ip="203.0.113.9")
    process.node.rotation.mover.pick_up(waiting(process), BY)
    by_code, by_hand = (event for event in events(theirs) if event.type == "rotation_picked_up")
    assert by_code.actor == by.actor
    assert (by_code.details["by"], by_code.details["ip"]) == ("code", "203.0.113.9")
    assert not {"by", "ip"} & by_hand.details.keys()


def test_the_code_and_the_secret_are_nowhere_in_the_store(process: Process, pick_ups: PickUps) -> None:
    offered = pick_ups.offer(waiting(process), BY)
    picked = pick_ups.redeem(offered.code)
    ledger = process.ledger.inner
    kept = repr(ledger.list_rows("", 1_000)) + repr(ledger.read_log(1, 1_000))
    for secret in (offered.code, picked.secret):
        assert secret.reveal() not in kept
    assert offered.code.reveal() not in repr(offered)


def test_who_guesses_codes_waits(process: Process, pick_ups: PickUps) -> None:
    offered = pick_ups.offer(waiting(process), BY)
    for _ in range(FAILURE_BURST):
        with pytest.raises(NotFoundError):
            pick_ups.redeem("ktpick_" + "0" * 43, ip="203.0.113.9")
    refused = 0
    for _ in range(40):
        try:
            pick_ups.redeem("ktpick_" + "0" * 43, ip="203.0.113.9")
        except ThrottledError:
            refused += 1
        except NotFoundError:
            pass  # out of the reserve that is for those who share an address
    assert refused >= 20
    assert pick_ups.redeem(offered.code, ip="203.0.113.10").secret


def test_what_cannot_be_a_code_costs_nobody_else_their_look_ups(process: Process, pick_ups: PickUps) -> None:
    for _ in range(VAIN_BURST + 100):
        with pytest.raises(NotFoundError):
            pick_ups.redeem("ktpick_x")
    for number in range(2 * RESERVED_BURST):
        with pytest.raises(NotFoundError):  # looked up, and not refused unseen
            pick_ups.redeem("ktpick_" + "0" * 43, ip=f"203.0.113.{number}")


def test_who_shows_what_cannot_be_a_code_waits_too(pick_ups: PickUps) -> None:
    for _ in range(FAILURE_BURST):
        with pytest.raises(NotFoundError):
            pick_ups.redeem("ktpick_x", ip="203.0.113.9")
    seen = set()
    for _ in range(RESERVED_BURST + 1):
        try:
            pick_ups.redeem("ktpick_" + "0" * 43, ip="203.0.113.9")
        except (NotFoundError, ThrottledError) as error:
            seen.add(type(error))
    assert ThrottledError in seen
