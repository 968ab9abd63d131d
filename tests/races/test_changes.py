"""Two who change one key at once: both changes hold, or one is refused, and a refusal always survives."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest

from keyturn.domain.key import KeyType
from keyturn.domain.lifecycle import KeyState, RevocationReason
from keyturn.domain.principal import Principal
from keyturn.domain.scope import KeyScope
from keyturn.domain.spec import GeneratedKey
from keyturn.errors import ConflictError, ForbiddenError, IllegalTransitionError, KeyturnError
from keyturn.issuing.retrying import ATTEMPTS, ENDING_SECONDS
from tests.fakes import BY, Process, Site

Act = Callable[[Process, GeneratedKey], object]


def types(process: Process, key: GeneratedKey) -> list[str]:
    found = process.node.trail.events({"default", "system"}, key_id=key.key_id, limit=1_000)
    return [event.type for event in found]


# Updates


def test_two_updates_of_one_key_both_hold(ours: Process, theirs: Process) -> None:
    key = ours.issue()
    ours.ledger.before("commit", lambda: theirs.update(key, tags=("red",), expires_in=60))
    ours.update(key, name="named", permissions=("a.b",))
    found = theirs.get(key)
    assert (found.name, found.permissions, found.tags, found.revision) == ("named", ("a.b",), ("red",), 3)
    assert found.expires_at is not None
    assert types(ours, key) == ["key_created", "key_updated", "key_updated"]


def test_of_two_updates_of_one_field_the_later_holds(ours: Process, theirs: Process) -> None:
    key = ours.issue()
    ours.ledger.before("commit", lambda: theirs.update(key, name="first"))
    ours.update(key, name="second")
    assert theirs.get(key).name == "second"


def test_an_update_after_a_revocation_that_was_quicker_is_refused_and_the_key_stays_revoked(
    site: Site, ours: Process, theirs: Process
) -> None:
    """Writing back the whole row that was read would bring the key back to life."""
    key = ours.issue()
    ours.ledger.before("commit", lambda: theirs.revoke(key))
    with pytest.raises(IllegalTransitionError):
        ours.update(key, name="named")
    site.clock.pass_time(2.0)
    assert (ours.get(key).state, ours.get(key).name) == (KeyState.DEACTIVATED, None)
    assert {process.ask(key).code for process in (ours, theirs)} == {"revoked"}


def test_a_revocation_after_an_update_that_was_quicker_holds_and_so_does_the_update(
    site: Site, ours: Process, theirs: Process
) -> None:
    key = ours.issue()
    ours.ledger.before("commit", lambda: theirs.update(key, name="named", expires_at=None))
    ours.revoke(key)
    site.clock.pass_time(2.0)
    assert (ours.get(key).state, ours.get(key).name) == (KeyState.DEACTIVATED, "named")
    assert {process.ask(key).code for process in (ours, theirs)} == {"revoked"}


def test_an_update_of_a_key_whose_owner_is_revoked_meanwhile_does_not_bring_it_back(
    site: Site, ours: Process, theirs: Process
) -> None:
    key = ours.issue(owner="acme")
    ours.ledger.before("commit", lambda: theirs.revoke_owner("acme"))
    with pytest.raises(IllegalTransitionError):
        ours.update(key, name="named")
    site.clock.pass_time(2.0)
    assert {process.ask(key).code for process in (ours, theirs)} == {"revoked"}


# Acts


ENDS: dict[str, Act] = {
    "revoke": lambda p, k: p.revoke(k),
    "compromise": lambda p, k: p.node.lifecycle.revoke(k.key_id, BY, reason=RevocationReason.KEY_COMPROMISE),
    "destroy": lambda p, k: p.node.lifecycle.destroy(k.key_id, BY),
}
SUSPEND: Act = lambda p, k: p.node.lifecycle.suspend(k.key_id, BY)  # noqa: E731
RESUME: Act = lambda p, k: p.node.lifecycle.resume(k.key_id, BY)  # noqa: E731


@pytest.mark.parametrize("end", ENDS)
def test_a_key_that_ends_while_it_is_resumed_stays_ended(
    site: Site, ours: Process, theirs: Process, end: str
) -> None:
    key = ours.issue()
    SUSPEND(ours, key)
    ours.ledger.before("commit", lambda: ENDS[end](theirs, key))
    with pytest.raises(IllegalTransitionError):
        RESUME(ours, key)
    site.clock.pass_time(2.0)
    assert {process.ask(key).code for process in (ours, theirs)} == {"revoked"}


def test_a_key_that_gains_rights_while_it_is_resumed_is_not_resumed_by_whoever_lacks_them(
    ours: Process, theirs: Process
) -> None:
    limited = Principal(actor="key:key_x", permissions=("documents.*",), scope=KeyScope.READ)
    key = ours.issue(permissions=("documents.read",), key_scope=KeyScope.READ)
    SUSPEND(ours, key)
    ours.ledger.before("commit", lambda: theirs.update(key, permissions=("*",)))
    with pytest.raises(ForbiddenError):
        ours.node.lifecycle.resume(key.key_id, limited)
    assert theirs.get(key).state is KeyState.SUSPENDED


@pytest.mark.parametrize("first", ENDS)
@pytest.mark.parametrize("second", ENDS)
def test_of_two_ends_at_once_the_stricter_holds(
    site: Site, ours: Process, theirs: Process, first: str, second: str
) -> None:
    key = ours.issue()
    ours.ledger.before("commit", lambda: ENDS[first](theirs, key))
    try:
        ENDS[second](ours, key)
    except IllegalTransitionError:
        assert (first, second) == ("destroy", "destroy")
    strictness = ["revoke", "compromise", "destroy"]
    stricter = max(first, second, key=strictness.index)
    states = {
        "revoke": KeyState.DEACTIVATED,
        "compromise": KeyState.COMPROMISED,
        "destroy": KeyState.DESTROYED,
    }
    assert theirs.get(key).state is states[stricter]
    site.clock.pass_time(2.0)
    assert {process.ask(key).code for process in (ours, theirs)} == {"revoked"}


def test_of_two_destroys_at_once_one_is_recorded_and_nothing_is_left(ours: Process, theirs: Process) -> None:
    key = ours.issue(key_type=KeyType.HMAC)
    ours.ledger.before("commit", lambda: ENDS["destroy"](theirs, key))
    with pytest.raises(IllegalTransitionError):
        ENDS["destroy"](ours, key)
    assert types(ours, key) == ["key_created", "key_destroyed"]
    (version,) = ours.ledger.inner.read([f"{key.key_id}.1"])
    assert version is not None
    assert (version.material, version.revision) == (None, 2)


def test_of_two_revocations_at_once_one_is_recorded(ours: Process, theirs: Process) -> None:
    key = ours.issue()
    ours.ledger.before("commit", lambda: theirs.revoke(key))
    assert ours.revoke(key).state is KeyState.DEACTIVATED
    assert types(ours, key) == ["key_created", "key_revoked"]


def test_a_key_is_stored_once_by_two_who_store_it_at_once(ours: Process, theirs: Process) -> None:
    key = ours.make()
    ours.ledger.before("commit", lambda: theirs.node.issuer.issue(key, BY))
    with pytest.raises(ConflictError):
        ours.node.issuer.issue(key, BY)
    assert types(ours, key) == ["key_created"]
    assert theirs.ask(key)


@pytest.mark.parametrize("end", ENDS)
def test_the_secret_of_a_key_that_ends_while_it_is_retrieved_is_not_handed_out(
    ours: Process, theirs: Process, end: str
) -> None:
    key = ours.issue(recoverable=True)
    ours.ledger.before("commit", lambda: ENDS[end](theirs, key))
    with pytest.raises(KeyturnError):
        ours.node.reader.material(key.key_id, BY)
    assert "key_retrieved" not in types(ours, key)


# Again and again


AGAIN: dict[str, Act] = {
    **ENDS,
    "suspend": SUSPEND,
    "owner": lambda p, k: p.revoke_owner("acme"),
    "update": lambda p, k: p.update(k, tags=("red",)),
    "resume": RESUME,
}


def be_first_with(theirs: Process, key: GeneratedKey, times: int) -> list[Callable[[], object]]:
    return [partial(theirs.update, key, name=f"name {number}") for number in range(times)]


@pytest.mark.parametrize("act", ["update", "resume"])
def test_whoever_loses_ten_times_in_a_row_is_told_so(ours: Process, theirs: Process, act: str) -> None:
    key = ours.issue()
    if act == "resume":
        SUSPEND(ours, key)
    state = ours.get(key).state
    ours.ledger.before("commit", *be_first_with(theirs, key, ATTEMPTS))
    commits = ours.ledger.calls["commit"]
    with pytest.raises(ConflictError):
        AGAIN[act](ours, key)
    assert ATTEMPTS == 10
    assert ours.ledger.calls["commit"] - commits == 10
    found = ours.get(key)
    assert (found.state, found.tags, found.name) == (state, (), "name 9")


def test_whoever_loses_nine_times_in_a_row_wins_the_tenth(ours: Process, theirs: Process) -> None:
    key = ours.issue()
    ours.ledger.before("commit", *be_first_with(theirs, key, ATTEMPTS - 1))
    AGAIN["update"](ours, key)
    assert (ours.get(key).name, ours.get(key).tags) == ("name 8", ("red",))


@pytest.mark.parametrize("act", ["revoke", "compromise", "destroy", "suspend"])
def test_no_number_of_changes_keeps_a_key_from_being_ended(
    site: Site, ours: Process, theirs: Process, act: str
) -> None:
    """A stolen key that may change itself would otherwise outlive its revocation."""
    key = ours.issue()
    ours.ledger.before("commit", *be_first_with(theirs, key, 10 * ATTEMPTS))
    AGAIN[act](ours, key)
    assert theirs.get(key).name == "name 99"
    site.clock.pass_time(2.0)
    assert {process.ask(key).code for process in (ours, theirs)} <= {"revoked", "suspended"}


def test_no_number_of_revocations_keeps_another_revocation_of_the_owner_from_counting(
    ours: Process, theirs: Process
) -> None:
    key = ours.issue(owner="acme")
    ours.ledger.before("commit", *[lambda: theirs.revoke_owner("acme")] * 3 * ATTEMPTS)
    ours.revoke_owner("acme")
    owner = ours.node.records.get(ours.node.issuer._keys.owner_row_id("default", "acme"))
    assert owner is not None
    assert owner.body["epoch"] == 3 * ATTEMPTS + 1
    assert not ours.ask(key)


def test_an_end_that_loses_for_five_seconds_is_told_so(site: Site, ours: Process, theirs: Process) -> None:
    key, number = ours.issue(), iter(range(1_000))

    def be_first() -> None:
        site.clock.pass_time(1.0)
        theirs.update(key, name=f"name {next(number)}")

    ours.ledger.before("commit", *[be_first] * 10)
    with pytest.raises(ConflictError):
        ours.revoke(key)
    assert ENDING_SECONDS == 5.0
    assert ours.get(key).name == "name 4"


# Expiry


def test_two_who_record_the_same_expired_keys_record_each_once(
    site: Site, ours: Process, theirs: Process
) -> None:
    keys = [ours.issue(expires_in=60) for _ in range(5)]
    site.clock.pass_time(60.0)
    recorded: list[int] = []
    ours.ledger.after("list_expired", lambda: recorded.append(theirs.node.lifecycle.expire_all()))
    recorded.append(ours.node.lifecycle.expire_all())
    assert recorded == [5, 0]
    assert all(types(ours, key) == ["key_created", "key_expired"] for key in keys)


def test_two_who_record_expired_keys_side_by_side_record_each_once(
    site: Site, ours: Process, theirs: Process
) -> None:
    """The other one comes between the check and the commit, and has done a part."""
    keys = [ours.issue(expires_in=60 if number < 3 else 61) for number in range(5)]
    site.clock.pass_time(60.0)
    recorded: list[int] = []

    def be_first_with_three() -> None:
        recorded.append(theirs.node.lifecycle.expire_all())

    ours.ledger.before("list_expired", lambda: site.clock.pass_time(1.0))
    ours.ledger.before("commit", be_first_with_three)
    theirs.ledger.before("list_expired", lambda: None)
    recorded.append(ours.node.lifecycle.expire_all())
    assert sum(recorded) + ours.node.lifecycle.expire_all() == 5
    assert all(types(ours, key) == ["key_created", "key_expired"] for key in keys)


def test_a_key_whose_life_is_prolonged_while_its_expiry_is_recorded_lives_on(
    site: Site, ours: Process, theirs: Process
) -> None:
    """By a process whose clock is a little behind."""
    keys = [ours.issue(expires_in=60) for _ in range(3)]
    prolonged, others = keys[1], (keys[0], keys[2])
    site.clock.pass_time(60.0)

    def prolong() -> None:
        site.clock.step_wall(timedelta(seconds=-1))
        theirs.update(prolonged, expires_in=3_600)
        site.clock.step_wall(timedelta(seconds=1))

    ours.ledger.before("commit", prolong)
    assert ours.node.lifecycle.expire_all() == 2
    assert ours.get(prolonged).state is KeyState.ACTIVE
    site.clock.pass_time(2.0)
    assert [ours.ask(key).code for key in (prolonged, *others)] == ["valid", "expired", "expired"]


@pytest.mark.parametrize("end", ENDS)
def test_a_key_that_ends_while_its_expiry_is_recorded_keeps_its_end(
    site: Site, ours: Process, theirs: Process, end: str
) -> None:
    keys = [ours.issue(expires_in=60) for _ in range(3)]
    site.clock.pass_time(60.0)
    ours.ledger.before("commit", lambda: ENDS[end](theirs, keys[1]))
    assert ours.node.lifecycle.expire_all() == 2
    assert "key_expired" not in types(ours, keys[1])
    site.clock.pass_time(2.0)
    assert [ours.ask(key).code for key in keys] == ["expired", "revoked", "expired"]
