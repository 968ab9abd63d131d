"""A server that is frozen: connections stay open, nobody answers, and every call still ends in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from keyturn.adapters.ledger.postgres import PostgresLedger, Settings, initialise, open_ledger
from keyturn.errors import OutcomeUnknownError, StorageError
from keyturn.ports.ledger import (
    KeptState,
    Reseal,
    RotationFilter,
    Row,
    RowFilter,
    SealedHead,
    Snapshot,
    UseCount,
)
from keyturn.ports.passing import in_passing
from tests.contract.ledger_samples import SEAL, change_of, checked_entries, plain_row
from tests.contract.ledger_stores import LOG_ID
from tests.contract.postgres_server import APP_ROLE, PostgresServer

SETTINGS = Settings(query=0.5, write=1.0, connect=0.5)
GRACE = 0.5  # seconds that a busy machine may add
USE = UseCount(
    tenant="t", key_id="key_x", version=1, code="valid", minute=1, count=1, last_at=1, last_ip=None
)

ROW: Final = Row("frozen", "plain", "t", 1, "{}", SEAL, None, 1, 1)
CALLS: dict[str, tuple[float, Callable[[PostgresLedger], object]]] = {
    "read_log": (SETTINGS.read, lambda ledger: ledger.read_log(1, 100)),
    "head": (SETTINGS.read, lambda ledger: ledger.head()),
    "read_credentials": (SETTINGS.read, lambda ledger: ledger.read_credentials(["c"])),
    "has_credential_from": (SETTINGS.read, lambda ledger: ledger.has_credential_from("~")),
    "read_credential": (SETTINGS.read, lambda ledger: ledger.read_credential("c")),
    "read": (SETTINGS.query, lambda ledger: ledger.read(["row"])),
    "read_versions": (SETTINGS.query, lambda ledger: ledger.read_versions("key_x")),
    "list_keys": (SETTINGS.query, lambda ledger: ledger.list_keys(RowFilter(tenant="t"), 10)),
    "list_owned": (SETTINGS.query, lambda ledger: ledger.list_owned("t", "o", "", 10)),
    "list_due_keys": (
        SETTINGS.query,
        lambda ledger: ledger.list_due_keys("t", 1, (0, ""), 10, policy_id="p"),
    ),
    "list_due_rotations": (SETTINGS.query, lambda ledger: ledger.list_due_rotations(1, (0, ""), 10)),
    "list_rotations": (
        SETTINGS.query,
        lambda ledger: ledger.list_rotations(RotationFilter(tenant="t"), 10),
    ),
    "list_published": (SETTINGS.query, lambda ledger: ledger.list_published(("", ""), 10)),
    "list_policies": (SETTINGS.query, lambda ledger: ledger.list_policies(None, None, 10)),
    "list_endpoints": (SETTINGS.query, lambda ledger: ledger.list_endpoints(None, None, 10)),
    "read_states": (SETTINGS.query, lambda ledger: ledger.read_states(["whe_a"])),
    "keep_state": (SETTINGS.write, lambda ledger: ledger.keep_state(KeptState("whe_a", 1, b""))),
    "list_rows": (SETTINGS.query, lambda ledger: ledger.list_rows("", 10)),
    "count_rows": (SETTINGS.query, lambda ledger: ledger.count_rows()),
    "list_expired": (SETTINGS.query, lambda ledger: ledger.list_expired(1, "", 10)),
    "sealed_head": (SETTINGS.query, lambda ledger: ledger.sealed_head()),
    "snapshot": (SETTINGS.query, lambda ledger: ledger.snapshot()),
    "read_uses": (SETTINGS.query, lambda ledger: ledger.read_uses("key_x", 0, 9)),
    "last_uses": (SETTINGS.query, lambda ledger: ledger.last_uses(["key_x"])),
    "commit": (SETTINGS.write, lambda ledger: ledger.commit(change_of(plain_row("frozen", 1)))),
    "seal_head": (SETTINGS.write, lambda ledger: ledger.seal_head(SealedHead(1, bytes(32), SEAL))),
    "save_snapshot": (SETTINGS.write, lambda ledger: ledger.save_snapshot(Snapshot(1, bytes(32), b"", SEAL))),
    "reseal": (SETTINGS.write, lambda ledger: ledger.reseal([Reseal(ROW, SEAL, None)])),
    "forget_answers": (SETTINGS.write, lambda ledger: ledger.forget_answers(1, 10)),
    "record_uses": (SETTINGS.write, lambda ledger: ledger.record_uses([USE])),
}


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as started:
        yield started


@pytest.fixture
def app_url(server: PostgresServer) -> Iterator[str]:
    database = server.create_database()
    initialise(database.owner_url, log_id=LOG_ID, grant_to=APP_ROLE)
    yield database.app_url
    server.thaw()


@pytest.fixture
def ledger(app_url: str) -> Iterator[PostgresLedger]:
    opened = open_ledger(app_url, SETTINGS)
    opened.commit(change_of(plain_row("before", 1)))
    yield opened
    opened.close()


def seconds_until_error(call: Callable[[], object]) -> float:
    started = time.monotonic()
    with pytest.raises(StorageError):
        call()
    return time.monotonic() - started


@pytest.mark.parametrize("name", CALLS)
def test_every_call_ends_in_time_on_an_open_connection_and_on_a_new_one(
    server: PostgresServer, ledger: PostgresLedger, name: str
) -> None:
    limit, call = CALLS[name]
    server.freeze()
    assert seconds_until_error(lambda: call(ledger)) < limit + GRACE  # closes the connection that was open
    assert seconds_until_error(lambda: call(ledger)) < limit + GRACE


@pytest.mark.parametrize("name", ["commit", "seal_head", "save_snapshot", "record_uses"])
def test_a_write_in_passing_ends_sooner(server: PostgresServer, ledger: PostgresLedger, name: str) -> None:
    _, call = CALLS[name]
    server.freeze()
    with in_passing():
        for _ in range(2):
            assert seconds_until_error(lambda: call(ledger)) < SETTINGS.passing + GRACE < SETTINGS.write


def test_the_calls_are_all_that_the_port_offers() -> None:
    methods = {
        name for name, value in vars(PostgresLedger).items() if callable(value) and not name.startswith("_")
    }
    assert methods - CALLS.keys() == {"check", "close", "start_afresh", "wait_for_news"}


def test_a_commit_that_got_no_answer_is_of_unknown_outcome(
    server: PostgresServer, ledger: PostgresLedger
) -> None:
    server.freeze()
    with pytest.raises(OutcomeUnknownError):
        ledger.commit(change_of(plain_row("maybe", 1)))


def test_a_commit_that_found_no_connection_is_known_not_to_be(
    server: PostgresServer, ledger: PostgresLedger
) -> None:
    server.freeze()
    seconds_until_error(ledger.head)  # closes the open connection
    with pytest.raises(StorageError) as caught:
        ledger.commit(change_of(plain_row("never", 1)))
    assert not isinstance(caught.value, OutcomeUnknownError)


def test_many_callers_at_once_end_in_time(server: PostgresServer, ledger: PostgresLedger) -> None:
    """More callers than connections: whoever waits for a place waits no longer than whoever has one."""
    server.freeze()
    with ThreadPoolExecutor(30) as pool:
        reads = [pool.submit(seconds_until_error, ledger.head) for _ in range(20)]
        commits = [
            pool.submit(seconds_until_error, lambda row=row: ledger.commit(change_of(plain_row(f"{row}", 1))))  # type: ignore[misc]
            for row in range(10)
        ]
        assert max(read.result() for read in reads) < SETTINGS.read + GRACE
        assert max(commit.result() for commit in commits) < SETTINGS.write + GRACE


def test_opening_ends_in_time(server: PostgresServer, app_url: str) -> None:
    server.freeze()
    assert seconds_until_error(lambda: open_ledger(app_url, SETTINGS)) < SETTINGS.connect + GRACE


def test_waiting_for_news_ends_in_time(server: PostgresServer, ledger: PostgresLedger) -> None:
    for is_listening in (False, True):
        if is_listening:
            ledger.wait_for_news(5)  # returns once it listens
        server.freeze()
        started = time.monotonic()
        ledger.wait_for_news(0.4)
        assert 0.39 <= time.monotonic() - started < 0.4 + GRACE
        server.thaw()


def test_all_is_well_again_when_the_server_goes_on(server: PostgresServer, ledger: PostgresLedger) -> None:
    server.freeze()
    with ThreadPoolExecutor(10) as pool:
        lost = [pool.submit(ledger.commit, change_of(plain_row(f"lost {row}", 1))) for row in range(10)]
        errors = [each.exception() for each in lost]
    assert all(isinstance(error, StorageError) for error in errors)
    server.thaw()
    head = ledger.head()
    assert ledger.commit(change_of(plain_row("after", 1))) >= head + 1
    # What had been sent may have been done meanwhile; that is what "unknown" means. The log holds either way.
    assert len(checked_entries(ledger)) == ledger.head()
