"""How rotations end and stand still, what is said of it, and who may do it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Final

import pytest

from keyturn.adapters.ledger.sqlite.location import parse_url
from keyturn.audit.trail import KeyUsageEvent
from keyturn.domain.entry import decode_entry
from keyturn.domain.key import KeyType
from keyturn.domain.lifecycle import RevocationReason
from keyturn.domain.principal import Principal
from keyturn.domain.publishing import LEAD_SECONDS
from keyturn.domain.rotation.reasons import Outcome, PauseCode
from keyturn.domain.rotation.stages import Stage
from keyturn.domain.scope import KeyScope
from keyturn.domain.spec import GeneratedKey
from keyturn.errors import ForbiddenError, IllegalTransitionError
from keyturn.key_rotator import (
    RotationFrequency,
    RotationPolicy,
    RotationStrategy,
)
from tests.contract.ledger_stores import Store
from tests.fakes import BY, Process
from tests.services.rotating import DAY, HOUR, rotator_of, token_of
from tests.services.samples import events, head, types

BLUE_GREEN, GRADUAL = RotationStrategy.BLUE_GREEN, RotationStrategy.GRADUAL


def switched(process: Process, window: int = HOUR) -> tuple[GeneratedKey, str, str]:
    """A key in its rollback window: the key, its new token, and the rotation's id."""
    key, rotator = process.issue(), rotator_of(process)
    rotated = rotator.rotate_key(key.key_id, strategy=BLUE_GREEN, rollback_window=window)
    rotator.prove_rotation(rotated.rotation.rotation_id, token_of(rotated))
    return key, token_of(rotated), rotated.rotation.rotation_id


# -- the rollback window has an end --------------------------------------------------------------------------------


def test_nobody_rolls_back_after_the_window_although_nothing_has_completed_it_yet(ours: Process) -> None:
    key, new, rotation_id = switched(ours)
    ours.clock.pass_time(HOUR)
    rotator = rotator_of(ours)
    for act in (rotator.rollback_rotation, rotator.pause_rotation):
        with pytest.raises(IllegalTransitionError, match="the window is over"):
            act(rotation_id)
    assert (ours.ask(key).code, ours.ask(new).code) == ("suspended", "valid")
    rotator.check_rotation_schedules()
    assert (ours.ask(key).code, ours.ask(new).code) == ("revoked", "valid")


def test_a_pause_does_not_lengthen_the_window_and_going_on_after_it_completes(ours: Process) -> None:
    key, new, rotation_id = switched(ours)
    rotator = rotator_of(ours)
    before = rotator.get_rotation(rotation_id)
    ours.clock.pass_time(HOUR / 2)
    paused = rotator.pause_rotation(rotation_id)
    assert paused.ends_at == before.ends_at == before.ceiling
    ours.clock.pass_time(HOUR / 2)
    with pytest.raises(IllegalTransitionError, match="the window is over"):
        rotator.rollback_rotation(rotation_id)
    after = head(ours)
    resumed = rotator.resume_rotation(rotation_id)
    assert (resumed.stage, resumed.paused) == (Stage.COMPLETED, None)
    assert types(ours, after=after) == ["rotation_resumed", "rotation_completed"]
    assert (ours.ask(key).code, ours.ask(new).code) == ("revoked", "valid")


def test_a_pause_within_the_window_leaves_its_end_where_it_was(ours: Process) -> None:
    key, new, rotation_id = switched(ours)
    rotator = rotator_of(ours)
    ours.clock.pass_time(HOUR / 4)
    rotator.pause_rotation(rotation_id)
    ours.clock.pass_time(HOUR / 4)
    rotator.resume_rotation(rotation_id)
    ours.clock.pass_time(HOUR / 2 - 1)
    assert rotator.check_rotation_schedules() == []
    rotator.rollback_rotation(rotation_id)
    assert (ours.ask(key).code, ours.ask(new).code) == ("valid", "revoked")


def test_an_overlap_that_passed_during_a_pause_is_completed_by_going_on(ours: Process) -> None:
    key, rotator = ours.issue(), rotator_of(ours)
    rotated = rotator.rotate_key(key.key_id, overlap=HOUR, max_overlap=HOUR)
    rotator.pause_rotation(rotated.rotation.rotation_id)
    ours.clock.pass_time(HOUR)
    assert rotator.resume_rotation(rotated.rotation.rotation_id).stage is Stage.COMPLETED
    assert (ours.ask(key).code, ours.ask(token_of(rotated)).code) == ("expired", "valid")


# -- what signs wrongly does not sign ------------------------------------------------------------------------------


def test_a_version_whose_signatures_do_not_verify_makes_none_from_then_on(
    ours: Process, place: Store
) -> None:
    key = ours.issue(key_type=KeyType.HMAC, key_scope=KeyScope.FULL)
    rotator, store = rotator_of(ours), ours.store()
    rotation_id = rotator.rotate_key(
        key.key_id, strategy=GRADUAL, shares=(98, 99, 100), dwell=HOUR
    ).rotation.rotation_id
    assert {store.sign(key.key_id, b"data").version for _ in range(20)} >= {2}
    exchange_material(place, key)
    ours.clock.pass_time(HOUR)
    (event,) = rotator.check_rotation_schedules()
    assert (event.type, event.code) == ("rotation_paused", "not_verifying")
    made = [store.sign(key.key_id, b"data") for _ in range(40)]
    assert {each.version for each in made} == {1}
    assert all(store.verify_signature(key.key_id, b"data", each.value, version=1) for each in made)
    assert rotator.get_rotation_statistics().by_pause == {"not_verifying": 1}
    for act in (rotator.resume_rotation, rotator.complete_rotation):
        with pytest.raises(IllegalTransitionError, match="does not verify") as refused:
            act(rotation_id)
        assert refused.value.fix == "Roll the rotation back."
    assert store.sign(key.key_id, b"data").version == 1
    ended = rotator.rollback_rotation(rotation_id).outcome
    assert ended is not None
    assert ended.code is Outcome.NOT_VERIFYING


def exchange_material(place: Store, key: GeneratedKey, material: bytes = b"\0") -> bytes:
    """Put this in the place of what the key's second version signs with; what was there."""
    with closing(sqlite3.connect(parse_url(place.url))) as file, file:
        named = (f"{key.key_id}.2",)
        ((before,),) = file.execute("SELECT material FROM rows WHERE id = ?", named).fetchall()
        file.execute("UPDATE rows SET material = ? WHERE id = ?", (material, *named))
    return bytes(before)


@pytest.mark.parametrize("strategy", RotationStrategy)
def test_no_strategy_lets_a_version_take_over_whose_signatures_do_not_verify(
    ours: Process, place: Store, strategy: RotationStrategy
) -> None:
    key = ours.issue(key_type=KeyType.ECDSA, key_scope=KeyScope.FULL, published_for=HOUR)
    rotator, store = rotator_of(ours), ours.store()
    rotation_id = rotator.rotate_key(key.key_id, strategy=strategy).rotation.rotation_id
    good = exchange_material(place, key)
    ours.clock.pass_time(LEAD_SECONDS)
    (event,) = rotator.check_rotation_schedules()
    assert (event.type, event.code, event.stage) == ("rotation_paused", "not_verifying", "staged")
    for act in (rotator.resume_rotation, rotator.complete_rotation):
        with pytest.raises(IllegalTransitionError, match="does not verify"):
            act(rotation_id)
    assert store.sign(key.key_id, b"data").version == 1
    exchange_material(place, key, good)
    rotator.resume_rotation(rotation_id)
    (event,) = rotator.check_rotation_schedules()
    assert event.stage in ("completed", "overlap", "shifting", "window")


def test_an_approval_lets_nothing_take_over_whose_signatures_do_not_verify(
    ours: Process, place: Store
) -> None:
    key = ours.issue(key_type=KeyType.HMAC, key_scope=KeyScope.FULL)
    rotator, store = rotator_of(ours), ours.store()
    rotation_id = rotator.rotate_key(
        key.key_id, strategy=BLUE_GREEN, requires_check=True
    ).rotation.rotation_id
    exchange_material(place, key)
    assert rotator.approve_rotation(rotation_id).stage is Stage.STAGED
    assert store.sign(key.key_id, b"data").version == 1
    (event,) = rotator.check_rotation_schedules()
    assert (event.type, event.code) == ("rotation_paused", "not_verifying")
    assert rotator.rollback_rotation(rotation_id).stage is Stage.ROLLED_BACK
    assert store.sign(key.key_id, b"data").version == 1


def test_the_way_back_from_what_does_not_sign_stays_open_for_as_long_as_it_was_to(
    ours: Process, place: Store
) -> None:
    """Neither somebody who completes the rotation nor an early end of the old version closes it."""
    key = ours.issue(key_type=KeyType.HMAC, key_scope=KeyScope.FULL)
    rotator, store = rotator_of(ours), ours.store()
    rotation_id = rotator.rotate_key(key.key_id, overlap=DAY, retire_unused_after=HOUR).rotation.rotation_id
    store.sign(key.key_id, b"data")
    ours.node.recorder.flush()
    exchange_material(place, key)
    ours.clock.pass_time(2 * HOUR)
    assert rotator.check_rotation_schedules() == []
    with pytest.raises(IllegalTransitionError, match="does not verify"):
        rotator.complete_rotation(rotation_id)
    rotator.rollback_rotation(rotation_id)
    assert store.sign(key.key_id, b"data").version == 1


def test_after_a_failure_what_either_version_signed_verifies_if_it_is_named(ours: Process) -> None:
    """Without a name it is held against the version that served."""
    key = ours.issue(key_type=KeyType.HMAC, key_scope=KeyScope.FULL, expires_in=HOUR)
    rotator, store = rotator_of(ours), ours.store()
    rotator.rotate_key(key.key_id, strategy=GRADUAL, shares=(50, 100), dwell=HOUR)
    signed: dict[int, bytes] = {}
    while len(signed) < 2:
        signature = store.sign(key.key_id, b"data")
        signed[signature.version] = signature.value

    def codes(**named: int) -> list[str]:
        found = [store.verify_signature(key.key_id, b"data", signed[each], **named) for each in (1, 2)]
        return [each.code.value for each in found]

    assert codes() == ["valid", "valid"]
    ours.clock.pass_time(HOUR)
    assert [event.type for event in rotator.check_rotation_schedules()] == ["rotation_failed"]
    assert codes() == ["valid", "invalid_signature"]
    assert (codes(version=1)[0], codes(version=2)[1]) == ("valid", "valid")
    with pytest.raises(IllegalTransitionError, match="not in service"):
        store.sign(key.key_id, b"data")


# -- what is said of an end ----------------------------------------------------------------------------------------


def test_a_rotation_that_a_compromise_takes_over_from_has_an_end_of_its_own_in_the_log(ours: Process) -> None:
    key, rotator = ours.issue(), rotator_of(ours)
    first = rotator.rotate_key(key.key_id).rotation
    after = head(ours)
    second = rotator.rotate_key(key.key_id, compromised=True).rotation
    found = events(ours, after=after)
    (failed,) = (event for event in found if event.type == "rotation_failed")
    assert failed.subjects == (key.key_id, first.rotation_id)
    assert first.rotation_id in rows_of(ours, failed)
    assert failed.details is not None
    assert (failed.details["outcome"], failed.details["superseded_by"]) == ("superseded", second.rotation_id)
    others = [event for event in found if event is not failed]
    assert [event.type for event in others] == ["rotation_started", "key_rotated", "rotation_completed"]
    assert all(event.subjects == (key.key_id, second.rotation_id) for event in others)


def rows_of(process: Process, event: KeyUsageEvent) -> list[str]:
    """Ids of the rows that the log's entry names."""

    (entry,) = process.ledger.inner.read_log(event.position, 1)
    return [mark.id for mark in decode_entry(entry.entry).rows]


def in_time(process: Process, key: GeneratedKey) -> None:
    rotator_of(process).rotate_key(key.key_id, overlap=HOUR)
    process.clock.pass_time(HOUR)


def expiring(process: Process, key: GeneratedKey) -> None:
    rotator_of(process).rotate_key(key.key_id, overlap=2 * DAY)
    process.clock.pass_time(2 * DAY)


def rolled_back(process: Process, key: GeneratedKey) -> None:
    rotated = rotator_of(process).rotate_key(key.key_id, overlap=HOUR)
    rotator_of(process).rollback_rotation(rotated.rotation.rotation_id)


def superseded(process: Process, key: GeneratedKey) -> None:
    rotator_of(process).rotate_key(key.key_id, overlap=HOUR)
    rotator_of(process).rotate_key(key.key_id, compromised=True)


def ended_by(act: Callable[[Process, GeneratedKey], object]) -> Callable[[Process, GeneratedKey], None]:
    def end(process: Process, key: GeneratedKey) -> None:
        rotator_of(process).rotate_key(key.key_id, overlap=HOUR)
        act(process, key)
        process.clock.pass_time(HOUR)

    return end


def exposed(process: Process, key: GeneratedKey) -> object:
    return process.node.lifecycle.revoke(key.key_id, BY, reason=RevocationReason.KEY_COMPROMISE)


WAYS: Final[dict[Outcome, Callable[[Process, GeneratedKey], None]]] = {
    Outcome.COMPLETED: in_time,
    Outcome.ROLLED_BACK: rolled_back,
    Outcome.SUPERSEDED: superseded,
    Outcome.COMPROMISED: ended_by(exposed),
    Outcome.KEY_EXPIRED: expiring,
    Outcome.KEY_ENDED: ended_by(lambda process, key: process.revoke(key)),
    Outcome.OWNER_REVOKED: ended_by(lambda process, key: process.revoke_owner("acme")),
}


@pytest.mark.parametrize("outcome", WAYS)
def test_the_way_in_which_a_rotation_ended_has_a_code(ours: Process, outcome: Outcome) -> None:
    key, rotator = ours.issue(owner="acme", expires_in=DAY), rotator_of(ours)
    WAYS[outcome](ours, key)
    rotator.check_rotation_schedules()
    *_, first = rotator.get_rotation_history(key_id=key.key_id).items
    assert first.outcome is not None
    assert first.outcome.code is outcome
    found = rotator.get_rotation_statistics()
    assert found.by_outcome[outcome.value] == 1
    judged = {Outcome.COMPLETED: 1.0, Outcome.ROLLED_BACK: 0.0, Outcome.SUPERSEDED: 1.0}
    assert found.success_rate == judged.get(outcome), "only what says something of the policy counts"


def test_a_new_version_that_the_check_refused_is_told_from_one_that_somebody_rolled_back(
    ours: Process,
) -> None:
    key = ours.issue(key_type=KeyType.HMAC, key_scope=KeyScope.FULL)
    checked = rotator_of(ours, check=lambda rotation: False)
    rotation_id = checked.rotate_key(
        key.key_id, strategy=BLUE_GREEN, requires_check=True
    ).rotation.rotation_id
    checked.check_rotation_schedules()
    paused = checked.get_rotation(rotation_id).paused
    assert paused is not None
    assert paused.why.code is PauseCode.CHECK_REFUSED
    ended = checked.rollback_rotation(rotation_id).outcome
    assert ended is not None
    assert ended.code is Outcome.CHECK_REFUSED


def test_after_a_roll_back_the_old_version_is_as_old_as_it_is_and_the_next_rotation_a_period_away(
    ours: Process,
) -> None:
    rotator = rotator_of(ours)
    rotator.create_rotation_policy(
        RotationPolicy(
            policy_id="p",
            frequency=RotationFrequency.NEVER,
            strategy=RotationStrategy.OVERLAPPING,
            max_age=10 * DAY,
        )
    )
    key = ours.issue(rotation_policy_id="p")
    ours.clock.pass_time(10 * DAY + 1)
    (event,) = rotator.check_rotation_schedules()
    assert event.rotation_id is not None
    ours.clock.pass_time(9 * DAY)
    rotator.pick_up_secret(event.rotation_id)
    ours.clock.pass_time(DAY)
    rotator.rollback_rotation(event.rotation_id)
    assert rotator.check_rotation_schedules() == [], "it would rotate again at once"
    found = rotator.get_rotation_statistics()
    assert (found.mean_age, found.past_max_age) == (20 * DAY + 1, 1)
    ours.clock.pass_time(10 * DAY)
    assert [each.key_id for each in rotator.check_rotation_schedules()] == [key.key_id]


# -- who may move versions -----------------------------------------------------------------------------------------

ACTS: Final = ("pause", "resume", "roll_back", "complete", "approve")


@pytest.mark.parametrize("act", ACTS)
def test_a_provisioning_key_does_nothing_to_a_rotation_of_its_own(ours: Process, act: str) -> None:
    own = ours.issue(key_type=KeyType.PROVISIONING, key_scope=KeyScope.FULL, permissions=("*",))
    by = Principal(actor=f"key:{own.key_id}")
    rotation = rotator_of(ours).rotate_key(own.key_id).rotation
    with pytest.raises(ForbiddenError, match="no key changes"):
        getattr(ours.node.rotation.mover, act)(rotation.rotation_id, by)
    assert rotator_of(ours).get_rotation(rotation.rotation_id) == rotation


@pytest.mark.parametrize("act", [*ACTS, "prove"])
def test_who_could_not_issue_a_key_does_not_move_its_versions(ours: Process, act: str) -> None:
    weak = Principal(actor="key:key_x", permissions=("rotation.*", "documents.read"), scope=KeyScope.READ)
    strong = ours.issue(permissions=("documents.*",), key_scope=KeyScope.FULL)
    rotated = rotator_of(ours).rotate_key(strong.key_id, strategy=BLUE_GREEN, requires_check=True)
    rotation_id, mover = rotated.rotation.rotation_id, ours.node.rotation.mover
    more = (token_of(rotated),) if act == "prove" else ()
    with pytest.raises(ForbiddenError):
        getattr(mover, act)(rotation_id, *more, weak)
    assert mover.get(rotation_id, BY) == rotated.rotation
