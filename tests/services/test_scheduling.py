"""What is due is done in every tenant: whatever one key, rotation or policy is like, and however much others have."""

from __future__ import annotations

import sqlite3
import zoneinfo
from collections.abc import Callable
from typing import Any, Final

import pytest

from keyturn.domain.principal import LIBRARY_ACTOR, Principal
from keyturn.domain.rotation.reasons import POLICY_PAUSED_BY_SOMEBODY
from keyturn.domain.rotation.stages import Stage
from keyturn.domain.spec import GeneratedKey
from keyturn.errors import InvalidInputError, StorageError
from keyturn.key_rotator import KeySelection, RotationFrequency, RotationPolicy, RotationStrategy
from tests.contract.ledger_stores import Store
from tests.fakes import BY, Process
from tests.services.rotating import DAY, HOUR, rotator_of, signing_key
from tests.services.samples import events, head, on_both

ACME: Final = Principal(actor=LIBRARY_ACTOR, tenant="acme")


def daily(policy_id: str = "p", **members: Any) -> RotationPolicy:
    given: dict[str, Any] = {
        "policy_id": policy_id,
        "frequency": RotationFrequency.DAILY,
        "strategy": RotationStrategy.OVERLAPPING,
        **members,
    }
    return RotationPolicy(**given)


def due_keys(
    process: Process, count: int, *, by: Principal = BY, policy: RotationPolicy | None = None
) -> list[GeneratedKey]:
    """Keys under a policy of their tenant, issued now and due in a day."""
    policy = policy or daily()
    process.node.rotation.policies.create(policy, by, may_select_none=True)
    keys = [process.make(rotation_policy_id=policy.policy_id) for _ in range(count)]
    for first in range(0, count, 1_000):
        process.node.issuer.issue_all(keys[first : first + 1_000], by)
    return keys


def begun(process: Process, limit: int | None = None) -> list[str]:
    """The keys whose rotations have begun in one run."""
    found = process.node.rotation.scheduler.work(limit)
    return [event.key_id for event in found if event.type == "rotation_started"]


def ids(keys: list[GeneratedKey]) -> set[str]:
    return {key.key_id for key in keys}


def break_seal(place: Store, row_id: str) -> None:
    with sqlite3.connect(place.url.removeprefix("sqlite:///")) as direct:
        direct.execute("UPDATE rows SET seal = zeroblob(37) WHERE id = ?", (row_id,))
    direct.close()


# -- each on its own ----------------------------------------------------------------------------------------------


def test_a_key_that_was_altered_keeps_no_other_from_its_rotation(
    ours: Process, place: Store, caplog: pytest.LogCaptureFixture
) -> None:
    keys = due_keys(ours, 5)
    ours.clock.pass_time(DAY)
    break_seal(place, keys[2].key_id)
    assert set(begun(ours)) == ids(keys) - {keys[2].key_id}
    assert begun(ours) == []
    told = [line for line in caplog.messages if keys[2].key_id in line]
    assert len(told) == 1, "once, not in every run"
    assert ours.node.rotation.left_out.read() == {("key",): 2}
    assert ours.node.records.incidents.found == 1


def test_a_version_that_was_altered_keeps_no_other_key_from_its_rotation(ours: Process, place: Store) -> None:
    keys = due_keys(ours, 3)
    ours.clock.pass_time(DAY)
    break_seal(place, f"{keys[0].key_id}.1")
    assert set(begun(ours)) == ids(keys[1:])
    (event,) = [each for each in events(ours) if each.type == "rotation_failed"]
    assert (event.subjects[0], event.details["error"]) == (keys[0].key_id, "integrity_failed")


def test_a_rotation_that_was_altered_keeps_no_other_from_its_next_step(ours: Process, place: Store) -> None:
    rotator = rotator_of(ours)
    rotations = [rotator.rotate_key(ours.issue().key_id, overlap=HOUR).rotation for _ in range(4)]
    ours.clock.pass_time(HOUR)
    break_seal(place, rotations[1].rotation_id)
    done = rotator.check_rotation_schedules()
    assert {event.rotation_id for event in done} == {
        each.rotation_id for each in rotations if each is not rotations[1]
    }
    assert {event.stage for event in done} == {"completed"}
    assert ours.node.rotation.left_out.read()["rotation",] == 1


@pytest.mark.parametrize("altered", [0, 1])
def test_a_policy_that_was_altered_stops_no_other_tenants_rotations(
    ours: Process, place: Store, altered: int
) -> None:
    both = [(BY, due_keys(ours, 2)), (ACME, due_keys(ours, 2, by=ACME))]
    ours.clock.pass_time(DAY)
    break_seal(place, ours.node.rotation.policies.get("p", both[altered][0]).row_id)
    assert set(begun(ours)) == ids(both[1 - altered][1])
    assert ours.node.rotation.left_out.read() == {("policy",): 1}


def test_a_policy_whose_time_zone_is_unknown_here_stops_no_other(
    ours: Process, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Another machine had the zone's data."""
    due_keys(ours, 2, policy=daily(time_zone="Asia/Kathmandu"))
    theirs = due_keys(ours, 2, by=ACME)
    ours.clock.pass_time(DAY)

    def without_data(name: str) -> zoneinfo.ZoneInfo:
        raise zoneinfo.ZoneInfoNotFoundError(name)

    monkeypatch.setattr("zoneinfo.ZoneInfo", without_data)
    assert set(begun(ours)) == ids(theirs)
    assert ours.node.rotation.left_out.read() == {("policy",): 1}
    assert sum("unknown time zone" in line for line in caplog.messages) == 1
    ours.node.rotation.statistics.of(BY)


def test_a_rotation_that_was_altered_keeps_no_other_from_its_check(ours: Process, place: Store) -> None:
    rotator = rotator_of(ours, check=lambda _: True)
    rotations = [
        rotator.rotate_key(
            signing_key(ours).key_id, strategy=RotationStrategy.BLUE_GREEN, requires_check=True
        ).rotation
        for _ in range(3)
    ]
    break_seal(place, rotations[1].rotation_id)
    done = rotator.check_rotation_schedules()
    assert {event.rotation_id for event in done} == {rotations[0].rotation_id, rotations[2].rotation_id}


def test_a_store_that_does_not_answer_ends_the_run(ours: Process) -> None:
    due_keys(ours, 2)
    ours.clock.pass_time(DAY)
    ours.ledger.fail(StorageError("away"), "commit")
    with pytest.raises(StorageError):
        begun(ours)
    ours.ledger.work_again()
    assert len(begun(ours)) == 2


# -- by the policy as it is -----------------------------------------------------------------------------------------


_Act = Callable[[Process], object]
_CHANGES: Final[dict[str, _Act]] = {
    "paused": lambda they: they.node.rotation.policies.pause("p", BY, POLICY_PAUSED_BY_SOMEBODY),
    "deleted": lambda they: they.node.rotation.policies.delete("p", BY),
    "changed": lambda they: they.node.rotation.policies.update(
        "p", BY, {"frequency": RotationFrequency.YEARLY}
    ),
}


@on_both
@pytest.mark.parametrize("change", _CHANGES)
def test_nothing_begins_by_a_policy_once_it_is_paused_deleted_or_changed(
    ours: Process, theirs: Process, change: str
) -> None:
    due_keys(ours, 6)
    ours.clock.pass_time(DAY)
    ours.ledger.before("commit", lambda: None, lambda: None, lambda: _CHANGES[change](theirs))
    assert len(begun(ours)) == 2, "those before"
    assert begun(ours) == []
    assert len(rotator_of(ours).get_rotation_history().items) == 2


def test_a_policy_that_was_changed_goes_on_as_it_is_now_in_the_next_run(
    ours: Process, theirs: Process
) -> None:
    keys = due_keys(ours, 4)
    ours.clock.pass_time(DAY)
    ours.ledger.before("commit", lambda: theirs.node.rotation.policies.update("p", BY, {"overlap": HOUR}))
    assert begun(ours) == []
    assert set(begun(ours)) == ids(keys)
    plans = {each.plan.overlap for each in rotator_of(ours).get_rotation_history().items}
    assert plans == {HOUR}


def test_the_policy_is_read_again_for_each_page(
    ours: Process, theirs: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by who has lost no commit."""
    monkeypatch.setattr("keyturn.rotation.scheduler._PAGE", 2)
    due_keys(ours, 6)
    ours.clock.pass_time(DAY)
    run = ours.node.rotation.scheduler.work()
    next(run), next(run)
    _CHANGES["paused"](theirs)
    commits = ours.ledger.calls["commit"]
    assert list(run) == []
    assert ours.ledger.calls["commit"] == commits


# -- what cannot begin ----------------------------------------------------------------------------------------------


def test_what_cannot_begin_is_in_the_log_once_for_each_time_it_was_due(
    ours: Process, theirs: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyturn.rotation.starting.MAX_VERSION", 1)
    (key,) = due_keys(ours, 1)
    ours.clock.pass_time(DAY)
    before = head(ours)
    (told,) = ours.node.rotation.scheduler.work()
    assert (told.type, told.code, told.rotation_id, told.key_id) == (
        "rotation_failed",
        "not_begun",
        None,
        key.key_id,
    )
    assert "all the versions" in told.why
    for process in (ours, theirs):
        for _ in range(3):
            assert list(process.node.rotation.scheduler.work()) == []
            process.clock.pass_time(HOUR)
    assert theirs.ledger.calls["commit"] == 0, "nor is it tried to be said"
    (event,) = events(ours, after=before)
    policy = ours.node.rotation.policies.get("p", BY)
    assert (event.type, event.actor, event.subjects) == (
        "rotation_failed",
        "system",
        (key.key_id, policy.row_id),
    )
    assert (event.details["policy_id"], event.details["outcome"], event.details["error"]) == (
        "p",
        "not_begun",
        "illegal_transition",
    )
    ours.clock.pass_time(300 * DAY)
    ours.node.answers.forget_expired()
    assert list(ours.node.rotation.scheduler.work()) == []
    rotator_of(ours).update_rotation_policy("p", frequency=RotationFrequency.WEEKLY)
    assert [each.code for each in ours.node.rotation.scheduler.work()] == ["not_begun"], "due anew"
    assert ours.ask(key).valid


def test_two_who_find_that_a_rotation_cannot_begin_say_it_once(
    ours: Process, theirs: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyturn.rotation.starting.MAX_VERSION", 1)
    due_keys(ours, 1)
    ours.clock.pass_time(DAY)
    done: list[Any] = []
    ours.ledger.before("commit", lambda: done.extend(theirs.node.rotation.scheduler.work()))
    done += ours.node.rotation.scheduler.work()
    assert len(done) == 1


def test_what_cannot_begin_uses_up_nobodys_turn(ours: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = [signing_key(ours) for _ in range(6)]
    rotator = rotator_of(ours)
    for key in stuck:
        rotator.rotate_key(key.key_id, strategy=RotationStrategy.IMMEDIATE)
    rotator.create_rotation_policy(daily(), may_select_none=True)
    for key in stuck:
        rotator.assign_policy(key.key_id, "p")
    keys = [ours.issue(rotation_policy_id="p") for _ in range(4)]
    monkeypatch.setattr("keyturn.rotation.starting.MAX_VERSION", 2)
    ours.clock.pass_time(DAY)
    found = rotator.check_rotation_schedules(limit=4)
    assert {event.key_id for event in found if event.rotation_id is not None} == ids(keys)


def test_a_key_whose_owner_was_revoked_is_no_failure(ours: Process) -> None:
    rotator = rotator_of(ours)
    rotator.create_rotation_policy(daily(), may_select_none=True)
    ours.issue(owner="acme", rotation_policy_id="p")
    ours.clock.pass_time(DAY)
    ours.ledger.before("commit", lambda: None)
    ours.ledger.fail(StorageError("away"), "list_owned")
    with pytest.raises(StorageError):
        ours.revoke_owner("acme")  # its key rows are yet to follow
    ours.ledger.work_again()
    assert list(ours.node.rotation.scheduler.work()) == []


# -- what stands still ----------------------------------------------------------------------------------------------


@on_both
@pytest.mark.parametrize("end", ["revoke", "destroy", "expire"])
def test_a_paused_rotation_ends_with_its_key_and_keeps_no_secret(ours: Process, end: str) -> None:
    rotator = rotator_of(ours)
    key, other = ours.issue(expires_in=DAY), ours.issue(expires_in=3 * DAY)
    paused = [rotator.rotate_key(each.key_id, keep_secret=True).rotation for each in (key, other)]
    for rotation in paused:
        rotator.pause_rotation(rotation.rotation_id)
    if end == "expire":
        ours.clock.pass_time(DAY)
    else:
        getattr(ours.node.lifecycle, end)(key.key_id, BY)
    (event,) = rotator.check_rotation_schedules()
    assert (event.type, event.rotation_id) == ("rotation_failed", paused[0].rotation_id)
    assert event.code in ("key_ended", "key_expired")
    assert rotator.get_rotation(paused[0].rotation_id).stage is Stage.FAILED
    assert all(each.version.material is None for each in ours.node.versions.list(key.key_id, BY).items)
    assert ours.get(key).rotation is None
    assert rotator.get_rotation(paused[1].rotation_id).paused is not None
    assert rotator.check_rotation_schedules() == []


def test_every_rotation_that_stands_still_is_looked_at_run_by_run(
    ours: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, each run looks at a few."""
    monkeypatch.setattr("keyturn.rotation.advancing._SWEPT", 3)
    rotator, keys = rotator_of(ours), [ours.issue() for _ in range(10)]
    for key in keys:
        rotation = rotator.rotate_key(key.key_id).rotation
        rotator.pause_rotation(rotation.rotation_id)
        ours.revoke(key)
    runs = [len(rotator.check_rotation_schedules()) for _ in range(5)]
    assert sum(runs) == 10
    assert max(runs) == 3


# -- fairness -------------------------------------------------------------------------------------------------------


def test_a_tenant_with_much_to_do_keeps_no_other_waiting(
    ours: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyturn.rotation.scheduler._PAGE", 5)
    few = due_keys(ours, 2)
    many = due_keys(ours, 40, by=ACME)
    ours.clock.pass_time(DAY)
    order = begun(ours)
    assert set(order) == ids(few) | ids(many)
    assert max(order.index(key.key_id) for key in few) < 5 + 2


def test_runs_that_are_cut_short_go_on_with_those_they_did_not_get_to(ours: Process) -> None:
    policies = [due_keys(ours, 20, policy=daily(f"p{number}")) for number in range(6)]
    ours.clock.pass_time(DAY)
    done = [key_id for _ in range(4) for key_id in begun(ours, limit=4)]
    assert len(done) == 4 * 4
    assert all(ids(keys).intersection(done) for keys in policies)


def test_steps_and_new_rotations_take_turns(ours: Process) -> None:
    rotator = rotator_of(ours)
    for _ in range(20):
        rotator.rotate_key(ours.issue().key_id, overlap=HOUR)
    due_keys(ours, 20)
    ours.clock.pass_time(DAY)
    types = [event.type for event in rotator.check_rotation_schedules(limit=8)]
    assert types.count("rotation_completed") == types.count("rotation_started") == 4


def test_a_run_does_no_more_than_its_limit_and_the_rest_stays_due(ours: Process) -> None:
    keys, rotator = due_keys(ours, 7), rotator_of(ours)
    ours.clock.pass_time(DAY)
    runs = [rotator.check_rotation_schedules(limit=limit) for limit in (0, 1, 2, 3, 4, None)]
    assert [len(run) for run in runs] == [0, 1, 2, 3, 1, 0]
    assert {event.key_id for run in runs for event in run} == ids(keys)
    for limit in (-1, True, 1.5):
        with pytest.raises(InvalidInputError, match="limit"):
            rotator.check_rotation_schedules(limit=limit)  # type: ignore[arg-type]


def test_what_was_missed_is_made_up_for_once(ours: Process) -> None:
    """After three months without anybody at work a daily rotation is due, not ninety; and the next one a day later."""
    keys = [*due_keys(ours, 3, policy=daily(overlap=HOUR)), signing_key(ours)]
    rotator = rotator_of(ours)
    rotator.assign_policy(keys[-1].key_id, "p")
    ours.clock.pass_time(90 * DAY + HOUR)
    assert len(begun(ours)) == 4
    assert begun(ours) == []
    ours.clock.pass_time(DAY - 2 * HOUR)
    rotator.check_rotation_schedules()
    assert ours.get(keys[-1]).newest_version == 2
    ours.clock.pass_time(2 * HOUR)
    rotator.check_rotation_schedules()
    assert ours.get(keys[-1]).newest_version == 3


def test_selections_of_many_types_leave_out_nobody(ours: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each list of keys is gone through to its end, however it falls into pages."""
    monkeypatch.setattr("keyturn.rotation.scheduler._PAGE", 2)
    named = due_keys(ours, 4, policy=daily(keys=KeySelection(every_key=True)))
    selected = [ours.issue() for _ in range(5)] + [signing_key(ours) for _ in range(3)]
    ours.clock.pass_time(DAY)
    done = begun(ours)
    assert sorted(done) == sorted(ids(named) | ids(selected))
