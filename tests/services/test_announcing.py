"""What no change says by itself is announced: once, whoever sweeps, and wherever one is killed."""

from __future__ import annotations

import sys
import zoneinfo
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import pytest

from keyturn import RotationFrequency, RotationPolicy, RotationStrategy
from keyturn.audit.trail import KeyUsageEvent
from keyturn.domain.instants import rfc3339
from keyturn.domain.key import KeyType
from keyturn.domain.notices.announcements import Terms
from keyturn.domain.principal import Principal
from keyturn.domain.rotation.selection import KeySelection
from keyturn.domain.spec import GeneratedKey
from keyturn.errors import StorageError
from keyturn.ports.ledger import Reseal
from tests.fakes import BY, Method, Process, Site
from tests.services.rotating import DAY, HOUR, rotator_of
from tests.services.samples import events, on_both

ANNOUNCED: Final = ("rotation_scheduled", "key_expiring", "key_unused", "old_version_used")
LATER: Final[Any] = {"expires_in": 10 * 365 * DAY}


def sweep(process: Process, terms: Terms | None = None) -> int:
    return sum(process.node.announcer.sweep(terms or Terms()))


def announced(process: Process, *, after: int = 0, tenants: tuple[str, ...] = ("default",)) -> list[Any]:
    """Type, subject and details of what was announced, in order."""
    found: list[KeyUsageEvent] = [
        event for event in events(process, after=after, tenants=tenants) if event.type in ANNOUNCED
    ]
    return [(event.type, event.subjects[0], dict(event.details)) for event in found]


def go_on(process: Process, seconds: float, terms: Terms | None = None, *, step: float = 6 * HOUR) -> None:
    """Let time pass, with a sweep now and then."""
    end = process.clock.now() + timedelta(seconds=seconds)
    while process.clock.now() < end:
        process.clock.pass_time(step)
        sweep(process, terms)


def monthly(**others: Any) -> RotationPolicy:
    return RotationPolicy(
        policy_id="monthly",
        frequency=RotationFrequency.MONTHLY,
        strategy=RotationStrategy.OVERLAPPING,
        **others,
    )


@on_both
def test_an_expiry_is_announced_30_7_and_1_days_before(ours: Process) -> None:
    key = ours.issue(expires_in=40 * DAY, owner="acme", name="billing")
    ours.issue()
    go_on(ours, 41 * DAY)
    ends = rfc3339(key.created_at + timedelta(days=40))
    assert announced(ours) == [
        (
            "key_expiring",
            key.key_id,
            {"expires_at": ends, "notice": days * DAY, "owner": "acme", "name": "billing"},
        )
        for days in (30, 7, 1)
    ]


def test_what_was_issued_for_less_is_not_announced_at_once(ours: Process) -> None:
    key = ours.issue(expires_in=20 * DAY)
    sweep(ours)
    go_on(ours, 2 * DAY)
    assert announced(ours) == []
    go_on(ours, 12 * DAY)
    assert [each[:2] for each in announced(ours)] == [("key_expiring", key.key_id)]


@on_both
def test_a_rotation_is_announced_as_its_policy_says(ours: Process) -> None:
    named, selected, other = (
        ours.issue(**LATER),
        ours.issue(tags=("partner",), **LATER),
        ours.issue(**LATER),
    )
    rotator = rotator_of(ours)
    rotator.create_rotation_policy(monthly(notices=(7 * DAY, DAY), keys=KeySelection(tags=("partner",))))
    rotator.assign_policy(named.key_id, "monthly")
    go_on(ours, 30 * DAY)
    said = announced(ours)
    assert Counter((kind, key_id) for kind, key_id, _ in said) == {
        ("rotation_scheduled", named.key_id): 2,
        ("rotation_scheduled", selected.key_id): 2,
    }
    assert {details["notice"] for *_, details in said} == {7 * DAY, DAY}
    assert {(details["policy_id"], details["strategy"]) for *_, details in said} == {
        ("monthly", "overlapping")
    }
    due = datetime.fromisoformat(said[0][2]["due_at"])
    assert due - named.created_at == timedelta(days=31)
    assert other.key_id not in str(said)
    ours.clock.pass_time(2 * DAY)
    (first, second) = rotator.check_rotation_schedules()
    assert {first.type, second.type} == {"rotation_started"}


def test_of_several_policies_the_one_that_comes_first_announces(ours: Process) -> None:
    key, rotator = ours.issue(**LATER), rotator_of(ours)
    every = KeySelection(every_key=True)
    rotator.create_rotation_policy(monthly(notices=(DAY,), keys=every))
    weekly = replace(
        monthly(keys=every, overlap=DAY, notices=(HOUR,)),
        policy_id="weekly",
        frequency=RotationFrequency.WEEKLY,
    )
    rotator.create_rotation_policy(weekly)
    go_on(ours, 7 * DAY - 1, step=HOUR)
    assert [(key_id, details["policy_id"]) for _, key_id, details in announced(ours)] == [
        (key.key_id, "weekly")
    ]


def test_what_will_not_be_rotated_is_not_announced(ours: Process) -> None:
    rotator = rotator_of(ours)
    rotator.create_rotation_policy(monthly(keys=KeySelection(every_key=True)), may_select_none=True)
    suspended, soon, moving = ours.issue(**LATER), ours.issue(expires_in=29 * DAY), ours.issue(**LATER)
    ours.node.lifecycle.suspend(suspended.key_id, BY)
    rotator.rotate_key(moving.key_id, overlap=40 * DAY)
    go_on(ours, 30 * DAY)
    assert [each for each in announced(ours) if each[0] == "rotation_scheduled"] == []
    assert soon.key_id in {each[1] for each in announced(ours)}  # that it expires is
    paused = ours.issue(**LATER)
    rotator.pause_rotation_policy("monthly")
    go_on(ours, 29 * DAY)
    assert paused.key_id not in {each[1] for each in announced(ours) if each[0] == "rotation_scheduled"}


@on_both
def test_a_key_that_nobody_uses_is_announced_once_for_each_silence(ours: Process) -> None:
    key = ours.issue(**LATER)
    assert ours.ask(key, ip="203.0.113.9").valid
    ours.node.recorder.flush()
    last = ours.clock.now()
    go_on(ours, 100 * DAY, step=DAY)
    assert announced(ours) == [
        ("key_unused", key.key_id, {"last_used_at": rfc3339(last), "notice": 90 * DAY})
    ]
    assert ours.ask(key).valid
    ours.node.recorder.flush()
    go_on(ours, 91 * DAY, step=DAY)
    assert [kind for kind, *_ in announced(ours)] == ["key_unused"] * 2


def test_terms_say_what_is_announced_at_all(ours: Process) -> None:
    ours.issue(expires_in=95 * DAY)
    go_on(ours, 95 * DAY, Terms(expiring=(), unused=None))
    assert announced(ours) == []
    ours.issue(expires_in=95 * DAY)
    go_on(ours, 95 * DAY, Terms(expiring=(2 * DAY,), unused=30 * DAY))
    assert [(kind, details["notice"]) for kind, _, details in announced(ours)] == [
        ("key_unused", 30 * DAY),
        ("key_expiring", 2 * DAY),
    ]


@on_both
def test_an_old_version_in_use_is_announced_by_whom_from_where_and_how_often(ours: Process) -> None:
    key, quiet = ours.issue(owner="acme", **LATER), ours.issue(**LATER)
    rotator = rotator_of(ours)
    assert ours.ask(key, ip="203.0.113.1").valid  # before the rotation: no straggler for that
    ours.node.recorder.flush()
    ours.clock.pass_time(HOUR)
    rotated = rotator.rotate_key(key.key_id, overlap=4 * DAY).rotation
    rotator.rotate_key(quiet.key_id, overlap=4 * DAY)
    go_on(ours, DAY)
    for ip in ("203.0.113.8", "203.0.113.9"):
        ours.clock.pass_time(60)
        assert ours.ask(key, ip=ip).version == 1
    ours.node.recorder.flush()
    last = ours.clock.now()
    go_on(ours, 4 * DAY, step=HOUR)
    told = {
        "rotation_id": rotated.rotation_id,
        "version": 1,
        "last_used_at": rfc3339(last),
        "ip": "203.0.113.9",
        "uses": 2,
        "ends_at": rfc3339(ours.get(key).created_at + timedelta(days=4, hours=1)),
        "owner": "acme",
    }
    # At half of the overlap, a day before its end, and an hour before it.
    assert announced(ours) == [("old_version_used", key.key_id, told)] * 3
    (event, *_) = [each for each in events(ours) if each.type == "old_version_used"]
    assert event.subjects == (key.key_id, rotated.rotation_id)


def test_after_a_downtime_each_thing_is_announced_once_and_nothing_that_has_happened(ours: Process) -> None:
    near, gone, rotated = (
        ours.issue(expires_in=40 * DAY),
        ours.issue(expires_in=31 * DAY),
        ours.issue(**LATER),
    )
    rotator = rotator_of(ours)
    rotator.create_rotation_policy(monthly(keys=KeySelection(key_ids=(rotated.key_id,))))
    sweep(ours)
    ours.clock.pass_time(39.5 * DAY)
    sweep(ours)
    assert [(key_id, details["notice"]) for _, key_id, details in announced(ours)] == [(near.key_id, DAY)]
    assert gone.key_id != near.key_id


def test_a_sweep_comes_once_an_hour_whoever_asks(ours: Process, theirs: Process) -> None:
    before = ours.ledger.inner.head()
    for process in (ours, theirs, ours):
        rotator_of(process).check_rotation_schedules()
    assert [each.type for each in events(ours, after=before)] == ["keys_swept"]
    ours.clock.pass_time(HOUR)
    sweep(theirs)
    ours.catch_up()
    assert [each.type for each in events(ours, after=before)] == ["keys_swept"] * 2


def test_every_tenant_is_told_of_its_own_keys(ours: Process) -> None:
    for tenant in ("acme", "globex"):
        ours.issue(by=Principal(actor="library", tenant=tenant), name=tenant, expires_in=7 * DAY + HOUR)
    go_on(ours, 2 * HOUR, step=HOUR)
    for tenant in ("acme", "globex"):
        assert [details["name"] for *_, details in announced(ours, tenants=(tenant,))] == [tenant]


def many(process: Process, count: int) -> list[GeneratedKey]:
    """Keys whose expiry comes to be announced in an hour."""
    keys = [process.make(expires_in=7 * DAY + HOUR) for _ in range(count)]
    for first in range(0, count, 1_000):
        process.node.issuer.issue_all(keys[first : first + 1_000], BY)
    return keys


def counts(process: Process) -> Counter[str]:
    process.catch_up()
    return Counter(key_id for _, key_id, _ in announced(process))


@on_both
def test_more_keys_than_a_commit_takes_are_announced_a_page_at_a_time(ours: Process) -> None:
    keys = many(ours, 1_200)
    ours.clock.pass_time(HOUR)
    pages = list(ours.node.announcer.sweep(Terms()))
    assert sum(pages) == 1_200
    assert max(pages) <= 200
    assert counts(ours) == {key.key_id: 1 for key in keys}


@on_both
def test_of_two_that_sweep_at_once_each_thing_is_announced_once(ours: Process, theirs: Process) -> None:
    keys = many(ours, 250)
    sweep(ours)
    ours.clock.pass_time(HOUR)
    second = theirs.node.announcer.sweep(Terms())
    ours.ledger.before("commit", lambda: next(second), lambda: next(second))
    sweep(ours)
    assert counts(theirs) != {key.key_id: 1 for key in keys}  # ours has left it to them
    list(second)
    assert counts(ours) == {key.key_id: 1 for key in keys}
    assert sweep(ours) == 0


class KilledError(BaseException):
    """What no program survives."""


def kills(process: Process, methods: tuple[Method, ...]) -> Iterator[int]:
    """Let one call after the other be the last of a process, before it or once it is done; count them."""
    for method in methods:
        for when in (process.ledger.before, process.ledger.after):
            for calls in range(4):
                yield calls

                def die() -> None:
                    raise KilledError

                when(method, *[lambda: None] * calls, die)
                try:
                    sweep(process)
                except KilledError:
                    yield -1
                process.ledger.work_again()


def test_wherever_a_process_is_killed_nothing_is_lost_and_nothing_told_twice(site: Site) -> None:
    survivor = site.process()
    keys = many(survivor, 250)
    sweep(survivor)
    killed = 0
    for hours in range(1, 4):  # a sweep that was due, one on the way, and none
        survivor.clock.pass_time(HOUR)
        for each in kills(site.process(), ("list_rows", "read", "last_uses", "commit", "read_log")):
            killed += each < 0
            if hours == 1:
                assert all(count == 1 for count in counts(survivor).values())
    sweep(survivor)
    assert killed > 10
    assert counts(survivor) == {key.key_id: 1 for key in keys}


def test_a_store_that_fails_on_the_way_is_said_and_made_up_for(ours: Process) -> None:
    keys = many(ours, 250)
    sweep(ours)
    ours.clock.pass_time(HOUR)
    pages = ours.node.announcer.sweep(Terms())
    next(pages)
    ours.ledger.fail(StorageError("gone"))
    with pytest.raises(StorageError):
        list(pages)
    ours.ledger.work_again()
    ours.clock.pass_time(3 * HOUR)
    sweep(ours)
    assert counts(ours) == {key.key_id: 1 for key in keys}


def test_what_cannot_be_announced_yet_keeps_nobody_from_hearing_what_was_done(
    ours: Process, caplog: pytest.LogCaptureFixture
) -> None:
    rotator = rotator_of(ours)
    rotator.rotate_key(ours.issue().key_id, overlap=HOUR)
    ours.clock.pass_time(HOUR)
    ours.ledger.fail(StorageError("gone"), "last_uses")
    assert [event.type for event in rotator.check_rotation_schedules()] == ["rotation_completed"]
    assert "could not all be announced" in caplog.text


@on_both
def test_a_row_that_does_not_hold_keeps_no_other_from_being_announced(
    ours: Process, caplog: pytest.LogCaptureFixture
) -> None:
    first, broken, last = keys = [ours.issue(expires_in=7 * DAY + HOUR) for _ in range(3)]
    rotated = rotator_of(ours).rotate_key(last.key_id, overlap=DAY).rotation
    for row_id in (broken.key_id, rotated.rotation_id):
        (row,) = ours.ledger.inner.read((row_id,))
        assert row is not None
        assert ours.ledger.inner.reseal([Reseal(row, bytes(len(row.seal)), row.material)]) == 1
    go_on(ours, HOUR, step=HOUR)
    assert counts(ours) == {first.key_id: 1, last.key_id: 1}
    assert broken.key_id in caplog.text
    assert len(keys) == 3


def test_a_policy_whose_zone_is_not_known_here_keeps_no_other_from_announcing(
    ours: Process, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    rotator, key = rotator_of(ours), ours.issue(**LATER)
    every = KeySelection(types=(KeyType.API_TOKEN,))
    elsewhere = monthly(keys=every, time_zone="Europe/Zurich", notices=(DAY,))
    rotator.create_rotation_policy(replace(elsewhere, policy_id="elsewhere"))
    rotator.create_rotation_policy(monthly(keys=every, notices=(DAY,)))
    with without_zones(monkeypatch, str(tmp_path)):
        go_on(ours, 31 * DAY - 1)
    assert [(key_id, details["policy_id"]) for _, key_id, details in announced(ours)] == [
        (key.key_id, "monthly")
    ]
    assert "cannot be announced" in caplog.text


@contextmanager
def without_zones(monkeypatch: pytest.MonkeyPatch, empty: str) -> Iterator[None]:
    """A machine that has no time zones: neither the system's files nor the package tzdata."""
    with monkeypatch.context() as patch:
        for name in ("tzdata", *(name for name in sys.modules if name.startswith("tzdata."))):
            patch.setitem(sys.modules, name, None)
        zoneinfo.reset_tzpath([empty])
        zoneinfo.ZoneInfo.clear_cache()
        try:
            yield
        finally:
            zoneinfo.reset_tzpath()


def test_a_clock_that_was_far_ahead_does_not_silence_announcements(ours: Process) -> None:
    key = ours.issue(expires_in=7 * DAY + 3 * HOUR)
    ours.clock.step_wall(timedelta(days=400))
    sweep(ours)
    ours.clock.step_wall(timedelta(days=-400))
    go_on(ours, 4 * HOUR, step=HOUR)
    assert counts(ours) == {key.key_id: 1}
