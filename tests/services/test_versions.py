"""The versions of a key, newest first, each in the state that counts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from keyturn.crypto.randomness import random_base62
from keyturn.domain.bodies import key_put, version_put
from keyturn.domain.change import ChangeSet, Event, EventType, Put
from keyturn.domain.key import Key, Version
from keyturn.domain.lifecycle import Act, KeyState, RevocationReason
from keyturn.domain.spec import GeneratedKey
from keyturn.errors import IntegrityError, InvalidInputError, NotFoundError
from keyturn.issuing.versions import ListedVersion
from tests.fakes import BEGINNING, BY, Process, Site
from tests.services.samples import on_both


def commit(process: Process, *puts: Put) -> None:
    """Rows as a rotation would leave them."""
    event = Event(
        type=EventType.KEY_UPDATED,
        time=process.clock.now(),
        tenant="default",
        actor="local",
        subjects=(),
        rows=tuple(put.id for put in puts),
    )
    process.node.records.commit(ChangeSet(puts=puts, events=(event,)))


def stored(process: Process, generated: GeneratedKey) -> tuple[Key, Version]:
    key, version, _ = process.node.reader.parts(generated.key_id, BY)
    return key, version


def with_versions(process: Process, count: int) -> GeneratedKey:
    """A key that has been rotated: its row names the last of so many versions."""
    generated = process.issue()
    key, first = stored(process, generated)
    more = [replace(first, number=number, credential_id=random_base62(16)) for number in range(2, count + 1)]
    commit(process, key_put(replace(key, version=count, revision=2)), *map(version_put, more))
    return generated


def listed(process: Process, key: GeneratedKey, limit: int = 100) -> list[ListedVersion]:
    return list(process.node.versions.list(key.key_id, BY, limit=limit).items)


def test_a_new_key_has_one_version(ours: Process) -> None:
    key = ours.issue()
    (only,) = listed(ours, key)
    assert (only.version.number, only.state, only.is_current, only.last_used_at) == (
        1,
        KeyState.ACTIVE,
        True,
        None,
    )
    assert only.version.credential_id == key.credential_id


@on_both
def test_versions_come_newest_first_and_the_last_one_serves(ours: Process) -> None:
    key = with_versions(ours, 12)
    found = listed(ours, key)
    assert [each.version.number for each in found] == list(range(12, 0, -1))
    assert [each.version.number for each in found if each.is_current] == [12]


@pytest.mark.parametrize("limit", [1, 5, 6, 11, 12, 13, 1_000])
def test_pages_of_any_size_give_each_version_once(ours: Process, limit: int) -> None:
    key = with_versions(ours, 12)
    numbers: list[int] = []
    cursor, pages = None, 0
    while True:
        page = ours.node.versions.list(key.key_id, BY, limit=limit, cursor=cursor)
        numbers += [each.version.number for each in page.items]
        pages += 1
        cursor = page.next_cursor
        if cursor is None:
            break
    assert numbers == list(range(12, 0, -1))
    assert pages == -(-12 // limit)


def test_versions_that_come_between_two_pages_are_not_on_the_second(ours: Process) -> None:
    key = with_versions(ours, 4)
    first = ours.node.versions.list(key.key_id, BY, limit=2)
    row, last = stored(ours, key)
    newest = replace(last, number=5, credential_id=random_base62(16))
    commit(ours, key_put(replace(row, version=5, revision=3)), version_put(newest))
    second = ours.node.versions.list(key.key_id, BY, limit=2, cursor=first.next_cursor)
    assert [each.version.number for each in (*first.items, *second.items)] == [4, 3, 2, 1]


def test_a_cursor_is_for_the_versions_of_one_key(ours: Process) -> None:
    key, other = with_versions(ours, 3), with_versions(ours, 3)
    cursor = ours.node.versions.list(key.key_id, BY, limit=1).next_cursor
    assert cursor is not None
    for key_id, wrong in ((other.key_id, cursor), (key.key_id, cursor[:-1]), (key.key_id, "")):
        with pytest.raises(InvalidInputError, match="cursor"):
            ours.node.versions.list(key_id, BY, cursor=wrong)
    with pytest.raises(NotFoundError):
        ours.node.versions.list(key.key_id, replace(BY, tenant="elsewhere"), cursor=cursor)


@pytest.mark.parametrize("limit", [0, -1, 1_001, True, 1.0])
def test_a_page_has_from_one_to_a_thousand(ours: Process, limit: int) -> None:
    with pytest.raises(InvalidInputError, match="limit"):
        ours.node.versions.list(ours.issue().key_id, BY, limit=limit)


def test_the_stricter_state_counts_with_the_time_of_its_own(site: Site, ours: Process) -> None:
    """Whoever revokes a key revokes all its versions, though their rows say nothing of it."""
    key = ours.issue()
    site.clock.pass_time(60.0)
    revoked = ours.node.lifecycle.revoke(key.key_id, BY, reason=RevocationReason.KEY_COMPROMISE)
    (only,) = listed(ours, key)
    assert (only.version.state, only.state) == (KeyState.ACTIVE, KeyState.COMPROMISED)
    assert only.state_changed_at == revoked.state_changed_at == BEGINNING + timedelta(seconds=60)
    site.clock.pass_time(60.0)
    ours.node.lifecycle.destroy(key.key_id, BY)
    (only,) = listed(ours, key)
    assert (only.version.state, only.state) == (KeyState.DESTROYED, KeyState.DESTROYED)
    assert only.state_changed_at == BEGINNING + timedelta(seconds=120)


def test_the_last_use_is_each_versions_own(ours: Process) -> None:
    key = with_versions(ours, 2)
    assert ours.ask(key).code == "valid"
    ours.node.recorder.flush()
    assert [each.last_used_at is not None for each in listed(ours, key)] == [False, True]


def test_a_version_that_has_vanished_is_a_finding(ours: Process) -> None:
    """The key's row says how many there are."""
    key = ours.issue()
    row, _ = stored(ours, key)
    commit(ours, key_put(replace(row, version=2, revision=2)))
    with pytest.raises(IntegrityError, match="version of the key is missing"):
        listed(ours, key)


def test_an_act_on_a_version_is_seen(ours: Process) -> None:
    key = with_versions(ours, 2)
    first = listed(ours, key)[1].version
    commit(ours, version_put(first.after(Act.DEACTIVATE, ours.clock.now())))
    assert [each.state for each in listed(ours, key)] == [KeyState.ACTIVE, KeyState.DEACTIVATED]
