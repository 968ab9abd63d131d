"""Expiry: computed from the time, recorded once by housekeeping, and told as what it is."""

from __future__ import annotations

import sqlite3

import pytest

from keyturn.domain.lifecycle import KeyState
from keyturn.errors import IntegrityError, StorageError
from keyturn.key_store import SecureKeyStore
from tests.contract.ledger_stores import Store
from tests.fakes import Process, Site
from tests.services.samples import events, head, on_both, types


@on_both
def test_an_expired_key_is_recorded_once_and_its_code_stays_expired(
    site: Site, ours: Process, shop: SecureKeyStore
) -> None:
    key, lasting = ours.issue(expires_in=60), ours.issue(expires_in=61)
    forever = ours.issue()
    assert shop.cleanup_expired_keys() == 0
    site.clock.pass_time(60.0)
    assert shop.authenticate(key.secret).code == "expired", "whether it was recorded or not"
    position = head(ours)
    assert shop.cleanup_expired_keys() == 1
    assert shop.cleanup_expired_keys() == 0
    (event,) = events(ours, after=position)
    assert (event.type, event.actor, event.subjects, event.details) == (
        "key_expired",
        "system",
        (key.key_id,),
        {},
    )
    assert shop.authenticate(key.secret).code == "expired"
    assert (ours.get(key).state, ours.get(key).reason) == (KeyState.DEACTIVATED, None)
    assert [shop.authenticate(other.secret).code for other in (lasting, forever)] == ["valid", "valid"]


@on_both
def test_many_expired_keys_are_recorded_in_few_commits(
    site: Site, ours: Process, shop: SecureKeyStore
) -> None:
    shop.store_keys([ours.make(expires_in=60) for _ in range(450)])
    site.clock.pass_time(60.0)
    commits = ours.ledger.calls["commit"]
    assert shop.cleanup_expired_keys() == 450
    assert ours.ledger.calls["commit"] - commits == 3
    assert types(ours).count("key_expired") == 450
    assert shop.cleanup_expired_keys() == 0


def test_an_altered_row_keeps_no_other_key_from_being_recorded(
    site: Site, ours: Process, shop: SecureKeyStore, place: Store
) -> None:
    keys = [ours.issue(expires_in=60) for _ in range(3)]
    with sqlite3.connect(place.url.removeprefix("sqlite:///")) as direct:
        direct.execute("UPDATE rows SET seal = zeroblob(37) WHERE id = ?", (keys[1].key_id,))
    direct.close()
    site.clock.pass_time(60.0)
    assert shop.cleanup_expired_keys() == 2
    assert [ours.get(key).state for key in (keys[0], keys[2])] == [KeyState.DEACTIVATED] * 2
    with pytest.raises(IntegrityError):
        ours.get(keys[1])
    assert shop.cleanup_expired_keys() == 0


def test_keys_of_every_tenant_are_recorded_each_in_its_own(
    site: Site, ours: Process, shop: SecureKeyStore
) -> None:
    other = ours.store("other")
    mine, theirs = ours.make(expires_in=60), ours.make(expires_in=60)
    shop.store_key(mine)
    other.store_key(theirs)
    site.clock.pass_time(60.0)
    assert shop.cleanup_expired_keys() == 2
    assert [event.subjects for event in shop.get_audit_log() if event.type == "key_expired"] == [
        (mine.key_id,)
    ]
    assert [event.subjects for event in other.get_audit_log() if event.type == "key_expired"] == [
        (theirs.key_id,)
    ]


def test_a_key_that_is_not_active_is_not_recorded_as_expired(
    site: Site, ours: Process, shop: SecureKeyStore
) -> None:
    suspended, revoked, destroyed = (ours.issue(expires_in=60) for _ in range(3))
    shop.suspend_key(suspended.key_id)
    shop.revoke_key(revoked.key_id)
    shop.destroy_key(destroyed.key_id)
    site.clock.pass_time(60.0)
    assert shop.cleanup_expired_keys() == 0
    codes = [shop.authenticate(key.secret).code for key in (suspended, revoked, destroyed)]
    assert codes == ["suspended", "revoked", "revoked"]


def test_a_key_whose_life_was_prolonged_in_time_is_not_recorded(
    site: Site, ours: Process, shop: SecureKeyStore
) -> None:
    key = ours.issue(expires_in=60)
    site.clock.pass_time(59.0)
    shop.update_key(key.key_id, expires_in=60)
    site.clock.pass_time(59.0)
    assert shop.cleanup_expired_keys() == 0
    assert shop.authenticate(key.secret)


def test_a_clock_that_was_set_back_brings_no_recorded_key_back(
    site: Site, ours: Process, shop: SecureKeyStore
) -> None:
    key = ours.issue(expires_in=60)
    beginning = site.clock.now()
    site.clock.pass_time(60.0)
    assert shop.cleanup_expired_keys() == 1
    site.clock.step_wall(beginning - site.clock.now())
    assert shop.authenticate(key.secret).code == "expired"


def test_when_the_store_fails_on_the_way_the_rest_is_recorded_the_next_time(
    site: Site, ours: Process, shop: SecureKeyStore
) -> None:
    shop.store_keys([ours.make(expires_in=60) for _ in range(250)])
    site.clock.pass_time(60.0)

    def fail() -> None:
        raise StorageError("gone")

    ours.ledger.before("commit", lambda: None, fail)
    with pytest.raises(StorageError):
        shop.cleanup_expired_keys()
    assert shop.cleanup_expired_keys() == 50
    assert types(ours).count("key_expired") == 250
