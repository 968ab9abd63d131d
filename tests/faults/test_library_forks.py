"""Programs that fork with a store open: what the parent has counted and found is the parent's to write."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable

import pytest

from keyturn import KeyRotator, SecureKeyGenerator
from keyturn.key_store import SecureKeyStore
from tests.contract.ledger_stores import Store, postgres_store
from tests.contract.postgres_server import PostgresDatabase
from tests.fakes import Process, Site
from tests.faults.test_sqlite_forks import fork, status_of


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> Store:
    if request.param == "sqlite":
        created: Store = request.getfixturevalue("sqlite")
        return created
    database: PostgresDatabase = request.getfixturevalue("postgres_database")
    created = postgres_store(database)
    created.initialise()
    return created


@pytest.fixture
def site(place: Store) -> Site:
    return Site.on(place)


@pytest.fixture
def ours(site: Site) -> Process:
    return site.process()


@pytest.fixture
def shop(ours: Process) -> SecureKeyStore:
    return ours.store()


def in_child(act: Callable[[], None]) -> None:
    def act_in_time() -> None:
        signal.alarm(30)  # a child that hangs must not outlive the test
        act()

    assert status_of(fork(act_in_time)) == 0


def test_uses_are_counted_once_and_each_process_counts_its_own(
    site: Site, ours: Process, shop: SecureKeyStore
) -> None:
    key = ours.issue(allowed_ips=("10.0.0.0/8",))

    def use(times: int) -> None:
        for _ in range(times):
            assert shop.authenticate(key.secret, ip="10.0.0.1")
            assert shop.authenticate(key.secret, ip="192.0.2.1").code == "ip_denied"

    def use_and_close() -> None:
        use(2)
        shop.close()

    use(5)
    in_child(shop.close)
    in_child(use_and_close)
    statistics = shop.get_usage_statistics(key.key_id)
    assert (statistics.total, statistics.refused) == (7, {"ip_denied": 7})
    site.close()


def test_summaries_and_findings_are_told_once(site: Site, ours: Process, shop: SecureKeyStore) -> None:
    key = ours.issue()
    for _ in range(5):
        assert shop.authenticate(key.secret)
    ours.node.recorder.flush()  # the store has the counts, and the log not yet their sum
    ours.node.records.incidents.note("keyring", "system", "a finding")
    in_child(shop.close)
    shop.close()
    theirs = site.process()
    events = theirs.node.trail.events({"default", "system"}, limit=1_000)
    assert [event.type for event in events].count("integrity_failed") == 1
    assert [event.details["total"] for event in events if event.type == "key_used"] == [5]
    site.close()


def test_a_fork_while_another_thread_writes_counts_neither_too_much_nor_too_little(
    site: Site, ours: Process, shop: SecureKeyStore
) -> None:
    """That thread does not exist in the child, and what it was about to write is not the child's."""
    key = ours.issue()
    for _ in range(5):
        assert shop.authenticate(key.secret)
    is_writing, may_end = threading.Event(), threading.Event()

    def wait() -> None:
        is_writing.set()
        assert may_end.wait(20)

    def use_and_close() -> None:
        for _ in range(2):
            assert shop.authenticate(key.secret)
        shop.close()

    ours.ledger.before("record_uses", wait)
    writing = threading.Thread(target=ours.node.recorder.flush)
    writing.start()
    assert is_writing.wait(20)
    in_child(use_and_close)
    may_end.set()
    writing.join(20)
    assert shop.get_usage_statistics(key.key_id).total == 7
    site.close()


def test_a_child_takes_codes_though_another_thread_was_looking_one_up(
    site: Site, ours: Process, shop: SecureKeyStore
) -> None:
    rotator = KeyRotator(SecureKeyGenerator(clock=site.clock), shop)
    rotation = rotator.rotate_key(ours.issue().key_id, keep_secret=True).rotation
    code = rotator.offer_pick_up(rotation.rotation_id).code

    def redeem() -> None:
        assert rotator.redeem_pick_up(code, ip="203.0.113.9").secret

    with ours.node.rotation.pick_ups._throttle._lock:  # as a thread holds it while others are throttled
        in_child(redeem)
    site.close()


def test_a_child_reads_the_log_though_another_thread_was_reading_it(
    site: Site, ours: Process, shop: SecureKeyStore
) -> None:
    key = ours.issue()
    is_reading, may_end = threading.Event(), threading.Event()

    def wait() -> None:
        is_reading.set()
        assert may_end.wait(20)

    def verify() -> None:
        assert shop.authenticate(key.secret)

    ours.ledger.after("read_log", wait)
    reading = threading.Thread(target=ours.catch_up)
    reading.start()
    assert is_reading.wait(20)
    site.clock.pass_time(2.0)
    in_child(verify)
    may_end.set()
    reading.join(20)
    site.close()


def test_a_child_finds_nothing_half_taken_in(site: Site, ours: Process, shop: SecureKeyStore) -> None:
    """A change that were taken in once in the parent and again in the child would look like one that is told twice."""
    theirs, key = site.process(), ours.issue()
    is_taking_in = threading.Event()

    def take_long(_: object) -> None:
        is_taking_in.set()
        time.sleep(0.3)

    ours.node.records.log.listen(take_long)
    theirs.update(key, name="other")
    reading = threading.Thread(target=ours.catch_up)
    reading.start()
    assert is_taking_in.wait(20)

    def verify() -> None:
        ours.catch_up()
        assert shop.authenticate(key.secret)

    in_child(verify)
    reading.join(20)
    ours.catch_up()
    site.close()
