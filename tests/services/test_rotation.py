"""Rotating one key, by each strategy, as its holder and its store see it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from keyturn.domain.key import KeyType
from keyturn.domain.lifecycle import KeyState
from keyturn.domain.principal import Principal
from keyturn.domain.rotation.stages import Stage
from keyturn.domain.scope import KeyScope
from keyturn.domain.spec import GeneratedKey
from keyturn.errors import (
    ConflictError,
    ForbiddenError,
    IllegalTransitionError,
    InvalidInputError,
    NotFoundError,
    StorageError,
)
from keyturn.key_generator import SecureKeyGenerator
from keyturn.key_rotator import (
    KeyRotator,
    KeySelection,
    RotationFrequency,
    RotationPolicy,
    RotationStrategy,
)
from tests.fakes import BY, Process, Site
from tests.services.rotating import DAY, HOUR, rotator_of, signing_key, token_of
from tests.services.samples import on_both, types

IMMEDIATE, GRADUAL, OVERLAPPING, BLUE_GREEN = (
    RotationStrategy.IMMEDIATE,
    RotationStrategy.GRADUAL,
    RotationStrategy.OVERLAPPING,
    RotationStrategy.BLUE_GREEN,
)


def states(process: Process, key: GeneratedKey) -> list[KeyState]:
    """States of the versions, oldest first."""
    found = process.node.versions.list(key.key_id, BY)
    return [each.state for each in reversed(found.items)]


@on_both
def test_an_immediate_rotation_changes_the_token_in_one_commit(ours: Process, theirs: Process) -> None:
    key = ours.issue(owner="acme", prefix="acme_live", permissions=("a.b",))
    assert theirs.ask(key).valid
    before = ours.ledger.inner.head()
    rotated = rotator_of(ours).rotate_key(key.key_id, strategy=IMMEDIATE)
    assert types(ours, after=before) == ["rotation_started", "key_rotated", "rotation_completed"]
    assert (ours.ask(key).code, ours.ask(token_of(rotated)).code) == ("revoked", "valid")
    theirs.catch_up()
    assert (theirs.ask(key).code, theirs.ask(token_of(rotated)).code) == ("revoked", "valid")
    answer = ours.ask(token_of(rotated), permissions="a.b")
    assert (answer.key_id, answer.version, answer.owner) == (key.key_id, 2, "acme")
    assert token_of(rotated).startswith("acme_live_")


@on_both
def test_both_tokens_verify_until_the_overlap_ends_and_the_new_one_after(
    ours: Process, theirs: Process
) -> None:
    key = ours.issue()
    assert theirs.ask(key).valid
    rotated = rotator_of(ours).rotate_key(key.key_id, overlap=HOUR)
    assert rotated.rotation.stage is Stage.OVERLAP
    for seconds, code in ((0, "valid"), (HOUR - 1, "valid"), (1, "expired"), (DAY, "expired")):
        ours.clock.pass_time(seconds)
        for process in (ours, theirs):
            assert process.ask(key).code == code  # whether or not anybody has looked at the rotation
            assert process.ask(token_of(rotated)).code == "valid"
    events = rotator_of(theirs).check_rotation_schedules()
    assert [event.type for event in events] == ["rotation_completed"]
    ours.catch_up()
    assert (ours.ask(key).code, ours.ask(token_of(rotated)).code) == ("expired", "valid")
    assert states(ours, key) == [KeyState.DEACTIVATED, KeyState.ACTIVE]
    assert ours.get(key).rotation is None


def test_no_version_outlives_its_key(ours: Process) -> None:
    key = ours.issue(expires_in=HOUR)
    rotated = rotator_of(ours).rotate_key(key.key_id, overlap=DAY)
    assert rotated.rotation.ends_at == key.expires_at == rotated.key.expires_at
    ours.clock.pass_time(HOUR)
    assert (ours.ask(key).code, ours.ask(token_of(rotated)).code) == ("expired", "expired")
    assert [event.type for event in rotator_of(ours).check_rotation_schedules()] == ["rotation_failed"]


def test_a_rotation_rolled_back_leaves_the_old_token_and_ends_the_new(ours: Process, theirs: Process) -> None:
    key, rotator = ours.issue(), rotator_of(ours)
    rotated = rotator.rotate_key(key.key_id, overlap=HOUR)
    assert theirs.ask(token_of(rotated)).valid
    ours.clock.pass_time(HOUR - 1)
    assert rotator.rollback_rotation(rotated.rotation.rotation_id).stage is Stage.ROLLED_BACK
    theirs.catch_up()
    ours.clock.pass_time(DAY)
    for process in (ours, theirs):
        assert (process.ask(key).code, process.ask(token_of(rotated)).code) == ("valid", "revoked")
    for act in (rotator.rollback_rotation, rotator.complete_rotation, rotator.pause_rotation):
        with pytest.raises(IllegalTransitionError, match="rolled back"):
            act(rotated.rotation.rotation_id)
    again = rotator.rotate_key(key.key_id, strategy=IMMEDIATE)
    assert (again.rotation.old, again.rotation.new) == (1, 3)
    assert (ours.ask(key).code, ours.ask(token_of(rotated)).code, ours.ask(token_of(again)).code) == (
        "revoked",
        "revoked",
        "valid",
    )


def test_there_is_no_way_back_once_the_old_token_has_come_to_its_end(ours: Process) -> None:
    key, rotator = ours.issue(), rotator_of(ours)
    rotated = rotator.rotate_key(key.key_id, overlap=HOUR)
    ours.clock.pass_time(HOUR)
    for act in (rotator.rollback_rotation, rotator.pause_rotation):
        with pytest.raises(IllegalTransitionError, match="the overlap is over"):
            act(rotated.rotation.rotation_id)
    assert ours.ask(key).code == "expired"


def test_a_paused_rotation_keeps_the_old_token_up_to_the_longest_overlap(ours: Process) -> None:
    key, rotator = ours.issue(), rotator_of(ours)
    rotated = rotator.rotate_key(key.key_id, overlap=HOUR, max_overlap=5 * HOUR)
    ours.clock.pass_time(HOUR / 2)
    rotator.pause_rotation(rotated.rotation.rotation_id)
    ours.clock.pass_time(2 * HOUR)
    assert ours.ask(key).valid
    assert rotator.check_rotation_schedules() == []
    rotator.resume_rotation(rotated.rotation.rotation_id)
    ours.clock.pass_time(HOUR / 2 - 1)
    assert ours.ask(key).valid
    rotator.pause_rotation(rotated.rotation.rotation_id)
    ours.clock.pass_time(2 * HOUR + 1)
    assert ours.ask(key).code == "expired"  # five hours after it began
    assert ours.ask(token_of(rotated)).valid


def test_completing_ends_the_old_token_at_once(ours: Process) -> None:
    key, rotator = ours.issue(), rotator_of(ours)
    rotated = rotator.rotate_key(key.key_id, overlap=HOUR)
    assert rotator.complete_rotation(rotated.rotation.rotation_id).stage is Stage.COMPLETED
    assert (ours.ask(key).code, ours.ask(token_of(rotated)).code) == ("revoked", "valid")


def test_a_compromised_token_is_refused_at_once_with_all_that_a_rotation_had_left(ours: Process) -> None:
    key, rotator = ours.issue(), rotator_of(ours)
    first = rotator.rotate_key(key.key_id)
    assert ours.ask(key).valid
    second = rotator.rotate_key(key.key_id, compromised=True)
    assert [ours.ask(each).code for each in (key, token_of(first), token_of(second))] == [
        "revoked",
        "revoked",
        "valid",
    ]
    assert states(ours, key) == [KeyState.COMPROMISED, KeyState.COMPROMISED, KeyState.ACTIVE]
    assert rotator.get_rotation(first.rotation.rotation_id).stage is Stage.FAILED
    assert rotator.check_rotation_schedules() == []


def test_a_key_is_rotated_by_one_rotation_at_a_time(ours: Process) -> None:
    key, rotator = ours.issue(), rotator_of(ours)
    rotator.rotate_key(key.key_id)
    with pytest.raises(IllegalTransitionError, match="being rotated already: rot_"):
        rotator.rotate_key(key.key_id)


@pytest.mark.parametrize("act", ["revoke", "suspend", "destroy"])
def test_a_key_that_is_not_in_service_is_not_rotated(ours: Process, act: str) -> None:
    key = ours.issue()
    getattr(ours.node.lifecycle, act)(key.key_id, BY)
    with pytest.raises(IllegalTransitionError, match="is not rotated"):
        rotator_of(ours).rotate_key(key.key_id)


@pytest.mark.parametrize("act", ["revoke", "destroy"])
def test_a_key_that_ends_ends_both_its_tokens_and_its_rotation(ours: Process, act: str) -> None:
    key, rotator = ours.issue(), rotator_of(ours)
    rotated = rotator.rotate_key(key.key_id, overlap=HOUR)
    getattr(ours.node.lifecycle, act)(key.key_id, BY)
    assert (ours.ask(key).code, ours.ask(token_of(rotated)).code) == ("revoked", "revoked")
    for attempt in (rotator.rollback_rotation, rotator.complete_rotation, rotator.pause_rotation):
        with pytest.raises(IllegalTransitionError):
            attempt(rotated.rotation.rotation_id)
    ours.clock.pass_time(HOUR)
    assert [event.type for event in rotator.check_rotation_schedules()] == ["rotation_failed"]
    assert ours.ask(token_of(rotated)).code == "revoked"


# -- BLUE_GREEN ---------------------------------------------------------------------------------------------------


@on_both
def test_a_staged_token_takes_over_once_it_is_shown_and_can_be_switched_back(ours: Process) -> None:
    key, rotator = ours.issue(), rotator_of(ours)
    rotated = rotator.rotate_key(key.key_id, strategy=BLUE_GREEN)
    rotation_id, new = rotated.rotation.rotation_id, token_of(rotated)
    assert (ours.ask(key).code, ours.ask(new).code) == ("valid", "not_yet_valid")
    with pytest.raises(InvalidInputError, match="not the rotation's new token"):
        rotator.prove_rotation(rotation_id, key.secret)
    with pytest.raises(IllegalTransitionError, match="awaited: proof"):
        rotator.complete_rotation(rotation_id)
    assert rotator.prove_rotation(rotation_id, new).stage is Stage.WINDOW
    assert (ours.ask(key).code, ours.ask(new).code) == ("suspended", "valid")
    rotator.rollback_rotation(rotation_id)
    assert (ours.ask(key).code, ours.ask(new).code) == ("valid", "revoked")


def test_the_rollback_window_ends_with_the_old_token_revoked(ours: Process) -> None:
    key, rotator = ours.issue(), rotator_of(ours)
    rotated = rotator.rotate_key(key.key_id, strategy=BLUE_GREEN, rollback_window=HOUR)
    rotator.prove_rotation(rotated.rotation.rotation_id, token_of(rotated))
    ours.clock.pass_time(HOUR)
    assert [event.stage for event in rotator.check_rotation_schedules()] == ["completed"]
    assert (ours.ask(key).code, ours.ask(token_of(rotated)).code) == ("revoked", "valid")
    with pytest.raises(IllegalTransitionError, match="completed"):
        rotator.rollback_rotation(rotated.rotation.rotation_id)


@pytest.mark.parametrize(("says", "stage"), [(True, "window"), (False, "staged"), (None, "staged")])
def test_a_callers_check_decides_whether_the_new_version_takes_over(
    ours: Process, says: bool | None, stage: str
) -> None:
    asked: list[str] = []

    def check(rotation: Any) -> bool:
        asked.append(rotation.rotation_id)
        if says is None:
            raise RuntimeError("the check itself is broken")
        return says

    key = ours.issue(key_type=KeyType.HMAC, key_scope=KeyScope.FULL)
    rotator = rotator_of(ours, check=check)
    rotated = rotator.rotate_key(key.key_id, strategy=BLUE_GREEN, requires_check=True)
    rotator.check_rotation_schedules()
    rotator.check_rotation_schedules()
    assert asked == [rotated.rotation.rotation_id]
    found = rotator.get_rotation(rotated.rotation.rotation_id)
    assert (found.stage.value, found.paused is None) == (stage, says is True)


# -- signing keys --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", RotationStrategy)
@pytest.mark.parametrize("key_type", [KeyType.HMAC, KeyType.ECDSA, KeyType.JWT])
def test_what_a_signing_key_signs_verifies_at_every_stage_of_every_rotation(
    ours: Process, theirs: Process, strategy: RotationStrategy, key_type: KeyType
) -> None:
    key, rotator, store = signing_key(ours, key_type), rotator_of(ours), ours.store()
    signed: list[Any] = []

    def sign() -> None:
        signed.append(
            store.sign_jwt(key.key_id, {"n": len(signed)})
            if key_type is KeyType.JWT
            else store.sign(key.key_id, b"data")
        )

    def verify() -> None:
        for each in signed:
            for process in (ours, theirs):
                process.catch_up()
                found = (
                    process.store().verify_jwt(each.token)
                    if key_type is KeyType.JWT
                    else process.store().verify_signature(
                        key.key_id, b"data", each.value, version=each.version
                    )
                )
                assert found, (found, each)

    sign()
    lead: dict[str, Any] = {} if strategy is IMMEDIATE else {"lead": HOUR}
    rotation_id = rotator.rotate_key(key.key_id, strategy=strategy, **lead).rotation.rotation_id
    stages = []
    for _ in range(400):
        sign()
        verify()
        stages.append(rotator.get_rotation(rotation_id).stage.value)
        if stages[-1] == "completed":
            break
        ours.clock.pass_time(6 * HOUR)
        rotator.check_rotation_schedules()
    wanted = {
        IMMEDIATE: ["completed"],
        OVERLAPPING: ["staged", "overlap", "completed"],
        GRADUAL: ["staged", "shifting", "overlap", "completed"],
        BLUE_GREEN: ["staged", "window", "completed"],
    }
    assert list(dict.fromkeys(stages)) == wanted[strategy]
    assert signed[-1].version == 2


def test_the_share_of_signatures_grows_stage_by_stage(ours: Process) -> None:
    key, rotator, store = signing_key(ours), rotator_of(ours), ours.store()
    rotated = rotator.rotate_key(key.key_id, strategy=GRADUAL, shares=(20, 60, 100), dwell=HOUR)
    for share in (20, 60, 100):
        found = rotator.get_rotation(rotated.rotation.rotation_id)
        assert found.share == (None if share == 100 else share)
        made = [store.sign(key.key_id, b"data") for _ in range(300)]
        by_new = sum(signature.version == 2 for signature in made) / 3
        assert abs(by_new - share) < 12
        assert all(store.verify_signature(key.key_id, b"data", each.value) for each in made)
        ours.clock.pass_time(HOUR)
        rotator.check_rotation_schedules()


def test_signatures_of_a_compromised_version_count_no_more(ours: Process) -> None:
    key, rotator, store = signing_key(ours), rotator_of(ours), ours.store()
    old = store.sign(key.key_id, b"data")
    rotator.rotate_key(key.key_id, compromised=True)
    assert store.verify_signature(key.key_id, b"data", old.value, version=1).code.value == "revoked"
    assert store.sign(key.key_id, b"data").version == 2


# -- what waits to be picked up ------------------------------------------------------------------------------------


@on_both
def test_a_scheduled_token_waits_sealed_and_the_old_one_goes_on_until_it_is_fetched(ours: Process) -> None:
    rotator = rotator_of(ours)
    rotator.create_rotation_policy(
        RotationPolicy(
            policy_id="monthly_rotation",
            frequency=RotationFrequency.MONTHLY,
            strategy=OVERLAPPING,
            overlap=HOUR,
        )
    )
    key = ours.issue(rotation_policy_id="monthly_rotation")
    assert rotator.check_rotation_schedules() == []
    ours.clock.pass_time(31 * DAY)
    (event,) = rotator.check_rotation_schedules()
    assert (event.type, event.stage, event.awaited) == ("rotation_started", "staged", ("pick_up",))
    assert rotator.check_rotation_schedules() == []
    ours.clock.pass_time(20 * DAY)
    assert ours.ask(key).valid
    assert [e.type for e in rotator.check_rotation_schedules()] == ["rotation_awaited"]
    assert event.rotation_id is not None
    picked = rotator.pick_up_secret(event.rotation_id)
    assert picked.rotation.stage is Stage.OVERLAP
    assert (ours.ask(key).code, ours.ask(picked.secret.reveal()).code) == ("valid", "valid")
    with pytest.raises(IllegalTransitionError, match="does not await pick_up"):
        rotator.pick_up_secret(event.rotation_id)
    assert ours.node.versions.list(key.key_id, BY).items[0].version.material is None
    ours.clock.pass_time(HOUR)
    assert (ours.ask(key).code, ours.ask(picked.secret.reveal()).code) == ("expired", "valid")


def test_a_secret_that_waits_is_gone_with_a_rollback_and_with_the_key(ours: Process) -> None:
    rotator = rotator_of(ours)
    for act in (
        lambda key, rotation: rotator.rollback_rotation(rotation),
        lambda key, rotation: ours.node.lifecycle.destroy(key, BY),
    ):
        key = ours.issue()
        rotated = rotator.rotate_key(key.key_id, keep_secret=True)
        assert rotated.secret is None
        act(key.key_id, rotated.rotation.rotation_id)
        assert all(each.version.material is None for each in ours.node.versions.list(key.key_id, BY).items)
        with pytest.raises(IllegalTransitionError):
            rotator.pick_up_secret(rotated.rotation.rotation_id)


def test_a_staged_secret_that_waits_is_picked_up_once_and_then_proved(ours: Process) -> None:
    key, rotator = ours.issue(), rotator_of(ours)
    rotated = rotator.rotate_key(key.key_id, strategy=RotationStrategy.BLUE_GREEN, keep_secret=True)
    picked = rotator.pick_up_secret(rotated.rotation.rotation_id)
    assert all(each.version.material is None for each in ours.node.versions.list(key.key_id, BY).items)
    with pytest.raises(IllegalTransitionError):
        rotator.pick_up_secret(rotated.rotation.rotation_id)
    assert ours.ask(key).valid
    rotator.prove_rotation(rotated.rotation.rotation_id, picked.secret)
    assert ours.ask(picked.secret.reveal()).valid


def test_an_old_token_that_nobody_uses_any_more_ends_early(ours: Process) -> None:
    key, rotator = ours.issue(), rotator_of(ours)
    rotated = rotator.rotate_key(key.key_id, overlap=5 * DAY, retire_unused_after=HOUR)
    for passed, stage in ((HOUR / 2, "overlap"), (HOUR / 2, "overlap"), (HOUR, "overlap")):
        assert ours.ask(key).valid
        ours.clock.pass_time(passed)
        ours.node.recorder.flush()
        rotator.check_rotation_schedules()
        assert (
            rotator.get_rotation(rotated.rotation.rotation_id).stage.value == stage
        )  # the new one is unused
    assert ours.ask(token_of(rotated)).valid
    ours.node.recorder.flush()
    assert [event.stage for event in rotator.check_rotation_schedules()] == ["completed"]
    assert timedelta(0) < ours.clock.now() - rotated.rotation.started_at < timedelta(days=1)


def test_the_example_program_runs_as_it_stands(ours: Process) -> None:
    """Of what the guide shows; with a store that is there already."""
    generator, store = SecureKeyGenerator(), ours.store()
    rotator = KeyRotator(generator, store)
    rotator.create_rotation_policy(
        RotationPolicy(
            policy_id="monthly_rotation",
            frequency=RotationFrequency.MONTHLY,
            strategy=RotationStrategy.OVERLAPPING,
        )
    )
    rotator.check_rotation_schedules()


def test_two_schedulers_rotate_a_key_once(site: Site, ours: Process, theirs: Process) -> None:
    rotator_of(ours).create_rotation_policy(
        RotationPolicy(policy_id="p", frequency=RotationFrequency.DAILY, strategy=OVERLAPPING)
    )
    key = ours.issue(rotation_policy_id="p")
    ours.clock.pass_time(DAY)
    theirs.catch_up()
    done: list[Any] = []
    ours.ledger.before("commit", lambda: done.extend(rotator_of(theirs).check_rotation_schedules()))
    mine = rotator_of(ours).check_rotation_schedules()
    assert ([event.key_id for event in done], mine) == ([key.key_id], [])
    assert ours.get(key).newest_version == 2


def test_a_key_with_more_versions_than_an_entry_can_name_is_destroyed_whole(
    ours: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyturn.issuing.lifecycle._VERSIONS_AT_ONCE", 3)
    key, rotator = signing_key(ours), rotator_of(ours)
    for _ in range(7):
        rotator.rotate_key(key.key_id, strategy=IMMEDIATE)
    ours.node.lifecycle.destroy(key.key_id, BY)
    versions = [each.version for each in ours.node.versions.list(key.key_id, BY).items]
    assert [version.number for version in versions] == list(range(8, 0, -1))
    assert all((each.state, each.material) == (KeyState.DESTROYED, None) for each in versions)


@pytest.mark.parametrize("is_running", [False, True])
def test_a_version_that_serves_is_destroyed_with_its_key_however_old_it_is(
    ours: Process, monkeypatch: pytest.MonkeyPatch, is_running: bool
) -> None:
    """After many roll-backs: should the destruction fail on the way, the key is as it was."""
    monkeypatch.setattr("keyturn.issuing.lifecycle._VERSIONS_AT_ONCE", 3)
    key, rotator = ours.issue(), rotator_of(ours)
    for _ in range(6):
        rotator.rollback_rotation(rotator.rotate_key(key.key_id).rotation.rotation_id)
    new = rotator.rotate_key(key.key_id, overlap=HOUR) if is_running else None
    ours.ledger.after("commit", lambda: ours.ledger.fail(StorageError("away"), "commit"))
    with pytest.raises(StorageError):
        ours.node.lifecycle.destroy(key.key_id, BY)
    ours.ledger.work_again()
    assert ours.ask(key).valid
    assert new is None or ours.ask(token_of(new)).valid
    ours.node.lifecycle.destroy(key.key_id, BY)
    versions = [each.version for each in ours.node.versions.list(key.key_id, BY).items]
    assert [version.state for version in versions] == [KeyState.DESTROYED] * (8 if is_running else 7)


def test_a_version_that_comes_to_serve_while_its_key_is_destroyed_is_destroyed_too(
    ours: Process, theirs: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyturn.issuing.lifecycle._VERSIONS_AT_ONCE", 3)
    key, rotator = ours.issue(), rotator_of(ours)
    for _ in range(6):
        rotator.rollback_rotation(rotator.rotate_key(key.key_id).rotation.rotation_id)
    theirs.catch_up()
    ours.ledger.before("commit", lambda: rotator_of(theirs).rotate_key(key.key_id, strategy=IMMEDIATE))
    ours.node.lifecycle.destroy(key.key_id, BY)
    versions = [each.version for each in ours.node.versions.list(key.key_id, BY).items]
    assert [version.state for version in versions] == [KeyState.DESTROYED] * 8


def test_statistics_tell_who_lags_behind(ours: Process) -> None:
    rotator = rotator_of(ours)
    slow, quick = ours.issue(), ours.issue()
    ours.clock.pass_time(DAY)
    rotator.create_rotation_policy(
        RotationPolicy(
            policy_id="p", frequency=RotationFrequency.NEVER, strategy=OVERLAPPING, max_age=DAY // 2
        )
    )
    rotator.assign_policy(slow.key_id, "p")
    assert rotator.get_rotation_statistics().past_max_age == 1
    behind = rotator.rotate_key(slow.key_id)
    moved = rotator.rotate_key(quick.key_id)
    ours.clock.pass_time(HOUR)
    assert ours.ask(slow, ip="203.0.113.9").valid
    assert ours.ask(token_of(moved)).valid
    ours.node.recorder.flush()
    rotator.complete_rotation(moved.rotation.rotation_id)
    found = rotator.get_rotation_statistics()
    assert (found.by_stage, found.success_rate, found.past_max_age) == (
        {"overlap": 1, "completed": 1},
        1.0,
        0,
    )
    (straggler,) = found.stragglers
    assert (straggler.rotation_id, straggler.last_ip) == (behind.rotation.rotation_id, "203.0.113.9")
    assert found.mean_age == HOUR


def test_statistics_end_at_a_bound_and_say_so(ours: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    rotator = rotator_of(ours)
    keys = [ours.issue() for _ in range(5)]
    for key in keys[:3]:
        rotator.rotate_key(key.key_id)
    for bound, is_partial, counted in ((5, False, (5, 3)), (4, True, (4, 3)), (2, True, (2, 2))):
        monkeypatch.setattr("keyturn.rotation.statistics.MAX_SCANNED", bound)
        found = rotator.get_rotation_statistics()
        assert (found.is_partial, (found.keys, sum(found.by_stage.values()))) == (is_partial, counted)
    ours.clock.pass_time(60 * DAY)
    monkeypatch.setattr("keyturn.rotation.statistics.MAX_SCANNED", 5)
    assert not rotator.get_rotation_statistics().is_partial


def test_nobody_gets_the_secret_of_a_key_that_holds_more_than_they_do(ours: Process) -> None:
    """Rotating hands out a secret, and so does picking one up; rolling back brings one back."""
    weak = Principal(actor="key:key_x", permissions=("rotation.*", "documents.read"), scope=KeyScope.READ)
    strong = ours.issue(permissions=("documents.*",), key_scope=KeyScope.FULL)
    rotation, services = (
        rotator_of(ours).rotate_key(strong.key_id, keep_secret=True).rotation,
        ours.node.rotation,
    )
    for act in (
        lambda: services.requests.rotate(strong.key_id, weak),
        lambda: services.mover.pick_up(rotation.rotation_id, weak),
        lambda: services.mover.roll_back(rotation.rotation_id, weak),
    ):
        with pytest.raises(ForbiddenError):
            act()
    assert ours.ask(strong).valid
    own = ours.issue(permissions=("documents.read",))
    assert services.requests.rotate(own.key_id, weak).secret is not None


def test_another_tenants_rotations_and_policies_are_as_if_they_were_not_there(ours: Process) -> None:
    theirs = KeyRotator(SecureKeyGenerator(clock=ours.clock), ours.store("acme"))
    theirs.create_rotation_policy(
        RotationPolicy(policy_id="p", frequency=RotationFrequency.MONTHLY, strategy=OVERLAPPING)
    )
    key = ours.make()
    ours.store("acme").store_key(key)
    rotation_id, rotator = theirs.rotate_key(key.key_id).rotation.rotation_id, rotator_of(ours)
    for act in (
        rotator.get_rotation,
        rotator.pause_rotation,
        rotator.rollback_rotation,
        rotator.complete_rotation,
    ):
        with pytest.raises(NotFoundError, match="no such rotation"):
            act(rotation_id)
    with pytest.raises(NotFoundError, match="no such key"):
        rotator.rotate_key(key.key_id)
    with pytest.raises(NotFoundError, match="no such rotation policy"):
        rotator.delete_rotation_policy("p")
    assert rotator.list_rotation_policies().items == ()
    assert rotator.get_rotation_history().items == ()
    assert rotator.get_rotation_statistics().by_stage == {}
    rotator.create_rotation_policy(
        RotationPolicy(policy_id="p", frequency=RotationFrequency.DAILY, strategy=IMMEDIATE)
    )
    (kept,) = theirs.list_rotation_policies().items
    assert kept.policy.frequency is RotationFrequency.MONTHLY


def test_a_policy_that_comes_back_under_its_name_is_the_new_one(ours: Process) -> None:
    rotator = rotator_of(ours)
    policy = RotationPolicy(policy_id="p", frequency=RotationFrequency.DAILY, strategy=OVERLAPPING)
    rotator.create_rotation_policy(policy)
    with pytest.raises(ConflictError, match="already"):
        rotator.create_rotation_policy(policy)
    key = ours.issue(rotation_policy_id="p")
    rotator.delete_rotation_policy("p")
    ours.clock.pass_time(2 * DAY)
    assert rotator.check_rotation_schedules() == []
    rotator.create_rotation_policy(policy)
    assert [event.key_id for event in rotator.check_rotation_schedules()] == [key.key_id]


def test_a_change_of_strategy_fills_in_what_suits_it(ours: Process) -> None:
    rotator = rotator_of(ours)
    rotator.create_rotation_policy(
        RotationPolicy(policy_id="p", frequency=RotationFrequency.MONTHLY, strategy=OVERLAPPING, overlap=HOUR)
    )
    changed = rotator.update_rotation_policy("p", strategy=BLUE_GREEN)
    assert (changed.overlap, changed.rollback_window) == (0, DAY)
    daily = rotator.update_rotation_policy("p", frequency=RotationFrequency.DAILY)
    assert daily.rollback_window == DAY // 4
    custom = rotator.update_rotation_policy("p", frequency=RotationFrequency.CUSTOM, cron="0 3 * * SUN")
    assert custom.period == 7 * DAY
    assert rotator.update_rotation_policy("p", frequency=RotationFrequency.YEARLY).cron is None


def test_a_selection_leaves_alone_what_names_another_policy(ours: Process) -> None:
    rotator = rotator_of(ours)
    tagged, other = ours.issue(tags=("a",)), ours.issue(tags=("a",))
    rotator.create_rotation_policy(
        RotationPolicy(
            policy_id="daily",
            frequency=RotationFrequency.DAILY,
            strategy=OVERLAPPING,
            keys=KeySelection(tags=("a",), types=(KeyType.API_TOKEN,)),
        )
    )
    rotator.create_rotation_policy(
        RotationPolicy(policy_id="never", frequency=RotationFrequency.NEVER, strategy=OVERLAPPING)
    )
    rotator.assign_policy(other.key_id, "never")
    with pytest.raises(InvalidInputError, match="selects no key"):
        rotator.create_rotation_policy(
            RotationPolicy(
                policy_id="nobody",
                frequency=RotationFrequency.DAILY,
                strategy=OVERLAPPING,
                keys=KeySelection(tags=("nobody has this",)),
            )
        )
    ours.clock.pass_time(DAY)
    assert [event.key_id for event in rotator.check_rotation_schedules()] == [tagged.key_id]
