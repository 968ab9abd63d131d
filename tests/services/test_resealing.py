"""Sealing rows anew: beside changes, stopped anywhere, and without anybody's noticing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from keyturn.crypto.keyring import sealed_under
from keyturn.custody.resealing import Progress
from keyturn.custody.tallying import BATCH, data_key_of
from keyturn.domain.key import KeyType
from keyturn.errors import StorageError
from keyturn.ports.ledger import Reseal, Row
from tests.fakes import BY, Process, Site
from tests.services.samples import events, head, on_both, types
from tests.services.test_keyring_changes import add_data_key, data_keys, reseal, retire, secret_of

MANY: int = BATCH + 50  # keys, each of two rows: three batches


def rows_of(process: Process) -> dict[str, Row]:
    return {row.id: row for row in process.ledger.inner.list_rows("", 1_000)}


def last(process: Process) -> Progress:
    return list(process.node.resealer.run(BY))[-1]


def issue_many(process: Process, count: int = MANY) -> list[Any]:
    keys = [process.make() for _ in range(count)]
    process.node.issuer.issue_all(keys, BY)
    return keys


@on_both
def test_seals_and_secrets_change_and_nothing_else_does(ours: Process) -> None:
    for spec in ({}, {"recoverable": True}, {"key_type": KeyType.HMAC}, {"owner": "acme"}):
        ours.issue(**spec)
    ours.revoke_owner("acme")
    add_data_key(ours)
    before = rows_of(ours)
    assert reseal(ours) == len(before)
    after = rows_of(ours)
    for row_id, row in before.items():
        now = after[row_id]
        assert replace(now, seal=row.seal, material=row.material) == row
        assert now.seal != row.seal
        assert (now.material is None) is (row.material is None)
        assert row.material is None or now.material != row.material
    assert {data_key_of(row) for row in after.values()} == {2}
    assert reseal(ours) == 0


@on_both
def test_nobody_s_memory_is_disturbed(ours: Process, theirs: Process) -> None:
    """Cached credentials go on being answered from memory, and counted."""
    keys = issue_many(ours, 5)
    add_data_key(ours)
    theirs.catch_up()
    for key in keys:
        theirs.ask(key)
    reads = theirs.ledger.calls["read_credential"]
    reseal(ours)
    theirs.catch_up()
    assert [theirs.decide(key) for key in keys] == ["valid"] * 5
    assert theirs.ledger.calls["read_credential"] == reads


@on_both
def test_stopped_anywhere_it_is_resumed_by_the_next_run(ours: Process, theirs: Process) -> None:
    issue_many(ours)
    add_data_key(ours)
    stopped = ours.node.resealer.run(BY)
    assert [next(stopped).resealed for _ in range(3)] == [0, BATCH, 2 * BATCH]
    stopped.close()
    assert data_keys(ours) == {1: 2 * MANY + 1 - 2 * BATCH, 2: 2 * BATCH}
    assert last(theirs) == Progress(rows=2 * MANY + 1, resealed=2 * MANY + 1 - 2 * BATCH)
    assert data_keys(ours) == {2: 2 * MANY + 1}
    assert types(ours).count("keyring_resealed") == 1, "by the run that came to its end"


def test_a_run_with_nothing_to_do_leaves_no_entry(ours: Process) -> None:
    ours.issue()
    before = head(ours)
    assert last(ours) == Progress(rows=3)
    assert head(ours) == before


def test_it_reads_some_rows_at_a_time(ours: Process) -> None:
    """Memory is bounded by a batch, however many rows there are."""
    issue_many(ours)
    add_data_key(ours)
    reads, writes = ours.ledger.calls["list_rows"], ours.ledger.calls["reseal"]
    reseal(ours)
    batches = -(-(2 * MANY + 1) // BATCH)
    assert ours.ledger.calls["list_rows"] - reads == batches + 1
    assert ours.ledger.calls["reseal"] - writes == batches


@on_both
def test_a_row_that_is_changed_meanwhile_keeps_its_change(ours: Process, theirs: Process) -> None:
    revoked, updated, destroyed = ours.issue(), ours.issue(), ours.issue(key_type=KeyType.HMAC)
    add_data_key(ours)

    def change() -> None:
        theirs.revoke(revoked)
        theirs.update(updated, name="changed")
        theirs.node.lifecycle.destroy(destroyed.key_id, BY)

    ours.ledger.before("reseal", change)
    # The keyring's row and the versions of those two; the key's and what was destroyed are under it by their change.
    assert last(ours).resealed == 3
    assert data_keys(ours) == {2: 7}
    assert ours.get(revoked).state.value == "deactivated"
    assert ours.get(updated).name == "changed"
    assert rows_of(ours)[f"{destroyed.key_id}.1"].material is None
    assert ours.ask(revoked).code == "revoked"
    assert "integrity_failed" not in types(ours)


def test_a_row_that_is_changed_between_reading_and_checking_it_is_read_again(
    ours: Process, theirs: Process
) -> None:
    key = ours.issue()
    add_data_key(ours)
    ours.ledger.after("list_rows", lambda: theirs.revoke(key))
    assert last(ours).refused == 0
    assert data_keys(ours) == {2: 3}
    assert theirs.ask(key).code == "revoked"


@on_both
def test_two_runs_at_once_do_it_once(ours: Process, theirs: Process) -> None:
    issue_many(ours)
    add_data_key(ours)
    runs = [ours.node.resealer.run(BY), theirs.node.resealer.run(BY)]
    done = [0, 0]
    left = [0, 1]
    while left:
        for number in list(left):
            progress = next(runs[number], None)
            if progress is None:
                left.remove(number)
            else:
                done[number] = progress.resealed
    assert sum(done) == 2 * MANY + 1
    assert data_keys(ours) == {2: 2 * MANY + 1}


def test_another_data_key_that_comes_meanwhile_is_taken_from_then_on(ours: Process, theirs: Process) -> None:
    issue_many(ours)
    add_data_key(ours)
    run = ours.node.resealer.run(BY)
    next(run), next(run)
    add_data_key(theirs)
    ours.issue()
    for _ in run:
        pass
    assert data_keys(ours).keys() == {2, 3}
    reseal(theirs)
    assert data_keys(ours).keys() == {3}


def test_a_store_that_fails_on_the_way_loses_nothing(ours: Process) -> None:
    keys = issue_many(ours)
    add_data_key(ours)

    def fail() -> None:
        raise StorageError("gone")

    ours.ledger.before("reseal", lambda: None, fail)
    with pytest.raises(StorageError):
        reseal(ours)
    assert data_keys(ours)[2] == BATCH
    assert [ours.ask(key).code for key in (keys[0], keys[-1])] == ["valid", "valid"]
    reseal(ours)
    assert data_keys(ours).keys() == {2}


@on_both
def test_a_secret_under_an_older_data_key_than_its_row_is_found(ours: Process, site: Site) -> None:
    """As a run leaves it that is older than this one, or a row that was put together."""
    key = ours.issue(key_type=KeyType.HMAC)
    before = rows_of(ours)[f"{key.key_id}.1"]
    add_data_key(ours)
    reseal(ours)
    row = rows_of(ours)[before.id]
    assert ours.ledger.inner.reseal([Reseal(row, row.seal, before.material)]) == 1
    assert data_keys(ours) == {1: 1, 2: 2}
    assert last(ours).resealed == 1
    material = rows_of(ours)[before.id].material
    assert material is not None
    assert sealed_under(material) == 2
    retire(ours)
    assert secret_of(site.process(), key) == key.secret.reveal()


def test_one_entry_tells_how_much_was_done(ours: Process) -> None:
    issue_many(ours, 3)
    add_data_key(ours)
    reseal(ours)
    event = events(ours)[-1]
    assert (event.type, event.tenant, event.actor) == ("keyring_resealed", "system", "library")
    assert event.details == {"primary": 2, "resealed": 7, "refused": 0}
