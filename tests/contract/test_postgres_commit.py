"""`keyturn.commit` on a real server: lists of ChangeSets, isolation, durability, limits."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from keyturn.adapters.ledger.postgres import PostgresLedger, Settings, initialise, open_ledger
from keyturn.adapters.ledger.postgres.encoding import encode_commit
from keyturn.domain.change import MAX_EVENTS, MAX_PUTS, Require
from keyturn.errors import ConfigurationError, ConflictError, InvalidInputError, StorageBusyError
from keyturn.ports.ledger import Commit, NewRow, Position, RowFilter
from tests.contract.ledger_samples import (
    SEAL,
    change_of,
    checked_entries,
    entries_only,
    entry_of,
    head_at,
    key_row,
    plain_row,
    version_row,
)
from tests.contract.ledger_stores import LOG_ID
from tests.contract.postgres_server import APP_ROLE, PostgresDatabase
from tests.contract.waiting import until

COMMIT_LOCK = int.from_bytes(b"keyturn")


@pytest.fixture
def database(postgres_database: PostgresDatabase) -> PostgresDatabase:
    initialise(postgres_database.owner_url, log_id=LOG_ID, grant_to=APP_ROLE)
    return postgres_database


@pytest.fixture
def ledger(database: PostgresDatabase) -> Iterator[PostgresLedger]:
    opened = open_ledger(database.app_url)
    yield opened
    opened.close()


@pytest.fixture
def owner(database: PostgresDatabase) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        yield connection


def commit_list(connection: psycopg.Connection[Any], *commits: Commit) -> list[dict[str, Any]]:
    """The answers to one call with several ChangeSets."""
    payload = "[" + ",".join(encode_commit(commit) for commit in commits) + "]"
    found = connection.execute("SELECT keyturn.commit(%s::jsonb)", (payload,)).fetchone()
    assert found is not None
    answers: list[dict[str, Any]] = found[0]
    return answers


def test_each_change_of_a_list_is_answered_and_a_conflict_hurts_no_neighbour(
    ledger: PostgresLedger, owner: psycopg.Connection[Any]
) -> None:
    ledger.commit(change_of(plain_row("present", 1)))
    three = Commit((), (plain_row("c", 1),), (entry_of(), entry_of("c"), entry_of()))
    answers = commit_list(
        owner, change_of(plain_row("a", 1)), change_of(plain_row("present", 1)), three, change_of(plain_row("d", 2)),
        change_of(plain_row("e", 1)),
    )  # fmt: skip
    assert answers == [
        {"position": 2},
        {"conflict": "present"},
        {"position": 5},
        {"conflict": "d"},
        {"position": 6},
    ]
    assert [row and (row.created, row.position) for row in ledger.read(["a", "c", "d", "e"])] == [
        (2, 2), (4, 4), None, (6, 6),
    ]  # fmt: skip
    assert len(checked_entries(ledger)) == 6


def test_changes_of_a_list_that_meet_are_applied_one_after_the_other(
    ledger: PostgresLedger, owner: psycopg.Connection[Any]
) -> None:
    answers = commit_list(
        owner,
        change_of(plain_row("a", 1)),
        change_of(plain_row("a", 1)),
        change_of(plain_row("a", 2)),
        change_of(plain_row("b", 1), requires=(Require("a", 2),)),
        change_of(plain_row("c", 1), requires=(Require("a", 1),)),
        change_of(version_row("key_v", 1, "credential")),
        change_of(version_row("key_w", 1, "credential")),
    )
    assert answers == [
        {"position": 1}, {"conflict": "a"}, {"position": 2}, {"position": 3}, {"conflict": "a"}, {"position": 4},
        {"conflict": "key_w.1"},
    ]  # fmt: skip
    assert len(checked_entries(ledger)) == 4


def test_two_versions_of_one_change_cannot_share_a_credential(ledger: PostgresLedger) -> None:
    with pytest.raises(ConflictError):
        ledger.commit(change_of(version_row("key_v", 1, "credential"), version_row("key_v", 2, "credential")))
    assert ledger.head() == 0


def test_waiting_commits_share_a_transaction_and_each_caller_gets_its_own_result(
    ledger: PostgresLedger, owner: psycopg.Connection[Any]
) -> None:
    """While another session holds the lock, commits gather; two of three that put the same row must lose."""
    texts = [f"entry {number}".encode() for number in range(30)]

    def commit(number: int) -> Position:
        return ledger.commit(change_of(plain_row(f"row {number // 3}", 1), entry=texts[number]))

    with ThreadPoolExecutor(len(texts)) as pool:
        with owner.transaction():
            owner.execute("SELECT pg_advisory_xact_lock(%s)", (COMMIT_LOCK,))
            futures = [pool.submit(commit, number) for number in range(len(texts))]
            until(lambda: ledger.waiting_commits == len(texts) - 1)
        outcomes = [future.exception(10) or future.result() for future in futures]

    entries = checked_entries(ledger)
    for text, outcome in zip(texts, outcomes, strict=True):
        if isinstance(outcome, int):
            assert entries[outcome - 1] == text
        else:
            assert isinstance(outcome, ConflictError)
            assert text not in entries
    assert [sum(isinstance(each, int) for each in outcomes[row : row + 3]) for row in range(0, 30, 3)] == [
        1
    ] * 10
    found = owner.execute("SELECT count(DISTINCT xmin::text) FROM keyturn.entries").fetchone()
    assert found == (2,), "the first commit, and one call for all that waited"


def test_a_change_that_cannot_be_stored_hurts_none_that_travel_with_it(
    ledger: PostgresLedger, owner: psycopg.Connection[Any]
) -> None:
    unstorable = NewRow("key_x", "key", "default", 1, "no JSON", SEAL, None)
    with ThreadPoolExecutor(4) as pool:
        with owner.transaction():
            owner.execute("SELECT pg_advisory_xact_lock(%s)", (COMMIT_LOCK,))
            first = pool.submit(ledger.commit, change_of(plain_row("a", 1)))
            until(lambda: waits_for_the_lock(owner))
            bad = pool.submit(ledger.commit, change_of(unstorable))
            good = pool.submit(ledger.commit, change_of(plain_row("b", 1)))
            until(lambda: ledger.waiting_commits == 2)
        assert {first.result(10), good.result(10)} == {1, 2}
        with pytest.raises(InvalidInputError):
            bad.result(10)


def test_the_largest_change_is_applied_whole(ledger: PostgresLedger) -> None:
    rows = tuple(plain_row(f"row {number}", 1) for number in range(MAX_PUTS))
    entries = tuple(
        entry_of(*(row.id for row in rows[number::MAX_EVENTS])) for number in range(MAX_EVENTS)
    )  # fmt: skip
    assert ledger.commit(Commit((), rows, entries)) == MAX_EVENTS
    assert len(checked_entries(ledger)) == MAX_EVENTS
    found = ledger.read(["row 0", "row 999", "row 1000", "row 4095"])
    assert [row and row.position for row in found] == [1, 1_000, 1, 96]


@pytest.mark.parametrize("entries", [[], [{"entry": "", "seal": "", "rows": []}] * (MAX_EVENTS + 1)])
def test_the_function_itself_refuses_changes_of_a_wrong_size(
    owner: psycopg.Connection[Any], entries: list[object]
) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        owner.execute("SELECT keyturn.commit(%s::jsonb)", (json.dumps([{"entries": entries}]),))


def test_a_row_that_no_entry_names_is_refused(ledger: PostgresLedger) -> None:
    with pytest.raises(ValueError, match="exactly one entry"):
        ledger.commit(Commit((), (plain_row("a", 1),), (entry_of(),)))


def test_a_lock_held_for_too_long_is_busy_and_nothing_is_written(
    database: PostgresDatabase, owner: psycopg.Connection[Any]
) -> None:
    ledger = open_ledger(database.app_url, Settings(write=0.5))
    with owner.transaction():
        owner.execute("SELECT pg_advisory_xact_lock(%s)", (COMMIT_LOCK,))
        with pytest.raises(StorageBusyError):
            ledger.commit(change_of(plain_row("a", 1)))
    assert ledger.commit(change_of(plain_row("b", 1))) == 1
    assert ledger.read(["a"]) == [None]
    ledger.close()


def test_a_commit_reads_what_the_last_holder_of_the_lock_wrote(
    ledger: PostgresLedger, owner: psycopg.Connection[Any]
) -> None:
    """The statement's snapshot is older than the lock; a check made with it would let both changes through."""
    outcome: list[object] = []

    def commit() -> None:
        try:
            outcome.append(ledger.commit(change_of(plain_row("a", 1))))
        except ConflictError as error:
            outcome.append(error)

    waiting = threading.Thread(target=commit)
    with owner.transaction():
        commit_list(owner, change_of(plain_row("a", 1)))
        waiting.start()
        until(lambda: waits_for_the_lock(owner))
    waiting.join(10)
    assert isinstance(outcome[0], ConflictError)


def waits_for_the_lock(connection: psycopg.Connection[Any]) -> bool:
    """Whether another session waits for an advisory lock."""
    query = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    return connection.execute(query).fetchone() is not None


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_isolation_levels_that_would_read_the_past_are_refused(
    database: PostgresDatabase, owner: psycopg.Connection[Any], level: str
) -> None:
    owner.execute(f"ALTER DATABASE {database.name} SET default_transaction_isolation = '{level}'".encode())
    ledger = open_ledger(database.app_url)
    with pytest.raises(ConfigurationError, match="read committed"):
        ledger.commit(change_of(plain_row("a", 1)))
    ledger.close()


def test_a_commit_is_durable_where_the_database_would_not_wait_for_the_disk(
    owner: psycopg.Connection[Any],
) -> None:
    owner.execute("SET synchronous_commit = off")
    with owner.transaction():
        commit_list(owner, change_of(plain_row("a", 1)))
        assert owner.execute("SHOW synchronous_commit").fetchone() == ("on",)


def test_a_nul_in_a_body_is_kept_as_written(ledger: PostgresLedger) -> None:
    """JSON may hold a NUL, PostgreSQL's text may not: a name with one must neither fail nor be changed."""
    row = key_row("key_x", name="a\0b", owner="o\\u0000")
    assert "\\u0000" in row.body
    ledger.commit(change_of(row))
    found = ledger.list_keys(RowFilter(tenant="default", owner="o\\u0000"), 10)
    assert [each.body for each in found] == [row.body]


def test_a_search_for_a_nul_is_refused_as_input(ledger: PostgresLedger) -> None:
    with pytest.raises(InvalidInputError):
        ledger.list_keys(RowFilter(tenant="default", q="a\0b"), 10)


def test_the_furthest_sealed_head_of_a_list_is_kept_and_a_refused_change_brings_none(
    ledger: PostgresLedger, owner: psycopg.Connection[Any]
) -> None:
    def sealed(position: int, *rows: str) -> Commit:
        plain = change_of(*(plain_row(row, 1) for row in rows))
        return Commit((), plain.rows, plain.entries, head_at(ledger, position))

    ledger.commit(change_of(plain_row("present", 1)))
    ledger.commit(entries_only(8))
    answers = commit_list(owner, sealed(3, "a"), sealed(5, "b"), sealed(4, "c"), sealed(9, "present"))
    assert [list(answer) for answer in answers] == [["position"], ["position"], ["position"], ["conflict"]]
    assert ledger.sealed_head() == head_at(ledger, 5)
