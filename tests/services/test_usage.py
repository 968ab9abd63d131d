"""How often a key was used, when last, and why it was refused."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta

import psycopg
import pytest

from keyturn.domain.scope import KeyScope
from keyturn.errors import InvalidInputError, NotFoundError, StorageError
from keyturn.key_store import SecureKeyStore
from tests.contract.ledger_stores import Store
from tests.fakes import BEGINNING, Process, Site
from tests.services.samples import on_both, types

MINUTE = timedelta(minutes=1)


@on_both
def test_statistics_have_uses_by_minute_and_refusals_by_code(
    site: Site, ours: Process, shop: SecureKeyStore
) -> None:
    key, other = ours.issue(allowed_ips=("10.0.0.0/8",)), ours.issue()
    for minute, times in ((0, 3), (1, 2), (3, 1)):
        site.clock.set_wall(int((BEGINNING + minute * MINUTE).timestamp()) * 10**9)
        ours.catch_up()
        for _ in range(times):
            assert shop.authenticate(key.secret, ip=f"10.0.0.{minute}")
        assert shop.authenticate(key.secret, ip="192.0.2.1").code == "ip_denied"
        assert shop.authenticate(key.secret, ip="10.0.0.9", scope=KeyScope.WRITE).code == "insufficient_scope"
        assert shop.authenticate(other.secret)
        ours.node.recorder.flush()
    statistics = shop.get_usage_statistics(key.key_id)
    assert (statistics.key_id, statistics.total) == (key.key_id, 6)
    assert statistics.by_minute == {BEGINNING: 3, BEGINNING + MINUTE: 2, BEGINNING + 3 * MINUTE: 1}
    assert statistics.refused == {"ip_denied": 3, "insufficient_scope": 3}
    assert (statistics.last_used_at, statistics.last_ip) == (BEGINNING + 3 * MINUTE, "10.0.0.3")
    assert statistics.last_used_by_version == {1: BEGINNING + 3 * MINUTE}
    assert (statistics.since, statistics.until) == (site.clock.now() - timedelta(days=30), site.clock.now())


def test_what_this_process_has_just_counted_is_included(ours: Process, shop: SecureKeyStore) -> None:
    key = ours.issue()
    for expected in (1, 2, 3):
        assert shop.authenticate(key.secret)
        assert shop.get_usage_statistics(key.key_id).total == expected


@on_both
def test_uses_of_all_processes_add_up(ours: Process, theirs: Process) -> None:
    key = ours.issue()
    here, there = ours.store(), theirs.store()
    for store, times in ((here, 3), (there, 4)):
        for _ in range(times):
            assert store.authenticate(key.secret)
        store.get_usage_statistics(key.key_id)
    assert here.get_usage_statistics(key.key_id).total == 7


def test_a_key_that_was_never_used_has_no_last_use(ours: Process, shop: SecureKeyStore) -> None:
    statistics = shop.get_usage_statistics(ours.issue().key_id)
    assert (statistics.total, statistics.by_minute, statistics.refused) == (0, {}, {})
    assert (statistics.last_used_at, statistics.last_ip, statistics.last_used_by_version) == (None, None, {})


def test_a_window_leaves_out_what_was_before_and_the_last_use_is_the_last_ever(
    site: Site, ours: Process, shop: SecureKeyStore
) -> None:
    key = ours.issue()
    assert shop.authenticate(key.secret, ip="203.0.113.9")
    shop.get_usage_statistics(key.key_id)
    site.clock.pass_time(86_400.0)
    recent = shop.get_usage_statistics(key.key_id, since=site.clock.now() - timedelta(hours=1))
    assert (recent.total, recent.last_used_at, recent.last_ip) == (0, BEGINNING, "203.0.113.9")
    assert shop.get_usage_statistics(key.key_id, since=BEGINNING).total == 1
    site.clock.pass_time(30 * 86_400.0)
    assert shop.get_usage_statistics(key.key_id).total == 0
    assert shop.get_usage_statistics(key.key_id, since=site.clock.now() - timedelta(days=400)).total == 1


@pytest.mark.parametrize("before", [timedelta(seconds=-1), timedelta(days=400, microseconds=1)])
def test_a_window_begins_in_the_past_and_not_too_far(
    site: Site, ours: Process, shop: SecureKeyStore, before: timedelta
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        shop.get_usage_statistics(ours.issue().key_id, since=site.clock.now() - before)
    assert caught.value.field == "since"


def test_uses_of_an_ended_key_stay(ours: Process, shop: SecureKeyStore) -> None:
    key = ours.issue()
    assert shop.authenticate(key.secret)
    shop.destroy_key(key.key_id)
    assert shop.authenticate(key.secret).code == "revoked"
    statistics = shop.get_usage_statistics(key.key_id)
    assert (statistics.total, statistics.refused) == (1, {"revoked": 1})


def test_statistics_of_another_tenants_key_are_not_shown(ours: Process) -> None:
    key = ours.issue()
    with pytest.raises(NotFoundError):
        ours.store("other").get_usage_statistics(key.key_id)


def test_an_outage_loses_no_use(site: Site, ours: Process, shop: SecureKeyStore) -> None:
    key = ours.issue()
    assert shop.authenticate(key.secret)
    ours.ledger.fail(StorageError("gone"), "record_uses")
    for _ in range(20):
        site.clock.pass_time(3.0)
        assert shop.authenticate(key.secret)
    ours.ledger.work_again()
    assert shop.get_usage_statistics(key.key_id).total == 21


@on_both
def test_closing_writes_what_was_counted_and_tells_the_log(
    site: Site, ours: Process, theirs: Process
) -> None:
    key = ours.issue()
    with ours.store() as store:
        for _ in range(5):
            assert store.authenticate(key.secret)
    assert theirs.store().get_usage_statistics(key.key_id).total == 5
    assert types(theirs)[-1] == "key_used"


@pytest.mark.parametrize(
    "ip", ["x", "::1%eth0", "a\nb", "日本", "\x00", "\ud800", "203.0.113.0/24", "0" * 16_000, ""]
)
def test_what_is_no_address_is_refused_and_kept_nowhere(shop: SecureKeyStore, ours: Process, ip: str) -> None:
    key = ours.issue()
    with pytest.raises(InvalidInputError, match="not an address") as refused:
        shop.authenticate(key.secret, ip=ip)
    assert refused.value.field == "ip"
    assert shop.get_usage_statistics(key.key_id).last_ip is None


@on_both
def test_counts_that_the_store_refuses_do_not_keep_others_from_being_written(
    site: Site, ours: Process, shop: SecureKeyStore, adapter: str
) -> None:
    key, other = ours.issue(), ours.issue()
    ours.ask(key, ip="\x00" if adapter == "postgres" else "\ud800")
    ours.node.recorder.flush()
    assert shop.authenticate(other.secret, ip="203.0.113.9")
    ours.node.records.incidents.note("keyring", "system", "a finding")
    for _ in range(3):
        site.clock.pass_time(100.0)
        ours.node.recorder.tick()
    assert ours.node.usage.of(other.key_id, site.clock.now()).total == 1
    assert ours.node.verifier._uses.dropped == 1
    assert "integrity_failed" in types(ours)


def test_a_finding_is_told_although_uses_cannot_be_written(
    site: Site, ours: Process, shop: SecureKeyStore
) -> None:
    assert shop.authenticate(ours.issue().secret)
    ours.node.records.incidents.note("keyring", "system", "a finding")
    ours.ledger.fail(StorageError("that table alone is locked"), "record_uses")
    for _ in range(2):  # one attempt each, so that nobody who verifies waits for more
        site.clock.pass_time(2.0)
        ours.node.recorder.tick()
    assert types(ours)[-1] == "integrity_failed"


def as_owner(place: Store, statement: str) -> None:
    """What whoever looks after the store does to it."""
    if place.adapter == "postgres":
        with psycopg.connect(place.owner_url) as owner:
            owner.execute(statement.format(role=place.role))
    else:
        with closing(sqlite3.connect(place.url.removeprefix("sqlite:///"))) as owners, owners:
            owners.execute(statement)


TAKEN_AWAY = {
    "sqlite": ("ALTER TABLE usage RENAME TO elsewhere", "ALTER TABLE elsewhere RENAME TO usage"),
    "postgres": (
        "REVOKE EXECUTE ON FUNCTION keyturn.record_uses(jsonb) FROM {role}",
        "GRANT EXECUTE ON FUNCTION keyturn.record_uses(jsonb) TO {role}",
    ),
}


@on_both
def test_counts_wait_until_a_missing_table_or_right_is_given_back(
    site: Site, ours: Process, shop: SecureKeyStore, place: Store
) -> None:
    key = ours.issue()
    take_away, give_back = TAKEN_AWAY[place.adapter]
    as_owner(place, take_away)
    for _ in range(3):
        assert shop.authenticate(key.secret)
        assert shop.authenticate(key.secret, scope=KeyScope.WRITE).code == "insufficient_scope"
        site.clock.pass_time(60.0)
        ours.node.recorder.tick()
    as_owner(place, give_back)
    statistics = shop.get_usage_statistics(key.key_id)
    assert (statistics.total, statistics.refused) == (3, {"insufficient_scope": 3})
    assert ours.node.verifier._uses.dropped == 0
