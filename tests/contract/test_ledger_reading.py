"""What reading a ledger promises, on every adapter."""

from __future__ import annotations

import pytest

from keyturn.errors import SchemaError
from keyturn.ports.ledger import Ledger, Snapshot
from tests.contract.ledger_samples import (
    SEAL,
    change_of,
    checked_entries,
    entries_only,
    head_at,
    ids_of,
    key_row,
    plain_row,
    version_row,
)
from tests.contract.ledger_stores import LOG_ID, Store


def test_the_log_keeps_the_first_id_it_was_given(store: Store, ledger: Ledger) -> None:
    assert ledger.log_id == LOG_ID
    ledger.close()
    store.initialise(log_id="zzzzzzzzzzzzzzzz")
    again = store.open()
    assert again.log_id == LOG_ID
    again.close()


@pytest.mark.parametrize("log_id", ["", "short", "0123456789ABCDE-", "0123456789ABCDEF0", "0123456789ABCDÉF"])
def test_a_log_id_is_sixteen_base62_characters(empty_store: Store, log_id: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  InvalidInputError is one
        empty_store.initialise(log_id)


def test_initialising_again_keeps_everything(store: Store, ledger: Ledger) -> None:
    ledger.commit(change_of(plain_row("row")))
    store.initialise()
    assert ledger.commit(change_of(plain_row("row", 2))) == 2


def test_a_store_that_was_never_initialised_is_refused_by_the_command_that_helps(empty_store: Store) -> None:
    with pytest.raises(SchemaError, match="keyturn init"):
        empty_store.open()


def test_rows_come_in_the_order_of_their_ids_and_none_for_the_absent(ledger: Ledger) -> None:
    ledger.commit(change_of(plain_row("a"), plain_row("b"), plain_row("c")))
    found = ledger.read(["c", "none", "a", "c", "A"])
    assert [row and row.id for row in found] == ["c", None, "a", "c", None]
    assert ledger.read([]) == []


def test_a_thousand_ids_are_read_at_once_and_no_more(ledger: Ledger) -> None:
    ledger.commit(change_of(plain_row("7")))
    found = ledger.read([str(number) for number in range(1_000)])
    assert [row.id for row in found if row] == ["7"]
    with pytest.raises(ValueError, match="at most"):
        ledger.read([str(number) for number in range(1_001)])


def test_a_credential_brings_its_version_its_key_and_its_owner(ledger: Ledger) -> None:
    ledger.commit(
        change_of(
            key_row("key_a", owner="ann"),
            version_row("key_a", 1, "cred_a1"),
            version_row("key_a", 2, "cred_a2", material=b"sealed"),
            key_row("key_b", owner="bob"),
            version_row("key_b", 1, "cred_b1"),
            plain_row("own_bob"),
        )
    )
    found = ledger.read_credential("cred_a2")
    assert found is not None
    assert [found.version, found.key, found.owner] == ledger.read(["key_a.2", "key_a", "own_ann"])
    assert found.owner is None
    found = ledger.read_credential("cred_b1")
    assert found is not None
    assert [found.version, found.key, found.owner] == ledger.read(["key_b.1", "key_b", "own_bob"])


def test_a_key_without_owner_has_no_owner_row(ledger: Ledger) -> None:
    ledger.commit(change_of(key_row("key_a"), version_row("key_a", 1, "cred")))
    found = ledger.read_credential("cred")
    assert found is not None
    assert found.owner is None


def test_an_unknown_credential_is_none(ledger: Ledger) -> None:
    ledger.commit(change_of(key_row("key_a"), version_row("key_a", 1, "cred"), version_row("key_a", 2, None)))
    for unknown in ("CRED", "cre", "cred ", "", "key_a", "%", "c\u0301"):
        assert ledger.read_credential(unknown) is None


def test_several_credentials_are_read_at_once(ledger: Ledger) -> None:
    ledger.commit(
        change_of(
            key_row("key_a", owner="ann"),
            version_row("key_a", 1, "~handle0"),
            version_row("key_a", 2, "cred"),
            key_row("key_b", owner="bob"),
            version_row("key_b", 1, "~handle1"),
            plain_row("own_bob"),
        )
    )
    found = ledger.read_credentials(["~handle1", "~handle2", "~HANDLE0", "~handle0", "~", ""])
    assert sorted(found, key=lambda rows: rows.key.id) == [
        ledger.read_credential("~handle0"),
        ledger.read_credential("~handle1"),
    ]
    assert ledger.read_credentials(["~handle2"]) == ledger.read_credentials([]) == []
    with pytest.raises(ValueError, match="at most"):
        ledger.read_credentials(["cred"] * 1_001)


def test_a_glance_tells_whether_there_is_a_credential_from_there_on(ledger: Ledger) -> None:
    assert not ledger.has_credential_from("~")
    ledger.commit(change_of(key_row("key_a"), version_row("key_a", 1, "zzzz"), version_row("key_a", 2, None)))
    assert not ledger.has_credential_from("~")
    assert ledger.has_credential_from("zzzz")
    assert not ledger.has_credential_from("zzzz0")
    ledger.commit(change_of(key_row("~key_b"), plain_row("~row"), version_row("key_a", 3, "~0")))
    assert ledger.has_credential_from("~")
    assert not ledger.has_credential_from("~1")


def test_a_credential_shows_the_latest_commit(ledger: Ledger) -> None:
    ledger.commit(change_of(key_row("key_a", owner="ann"), version_row("key_a", 1, "cred")))
    ledger.commit(change_of(key_row("key_a", 2, owner="ann", state="suspended")))
    ledger.commit(change_of(plain_row("own_ann")))
    found = ledger.read_credential("cred")
    assert found is not None
    assert found.owner is not None
    assert (found.version.revision, found.key.revision, found.owner.revision) == (1, 2, 1)


def test_versions_come_oldest_first(ledger: Ledger) -> None:
    ledger.commit(change_of(key_row("key_a"), *(version_row("key_a", n, f"c{n}") for n in (2, 1))))
    ledger.commit(change_of(key_row("key_b"), version_row("key_b", 1, "other")))
    for number in range(3, 13):
        ledger.commit(change_of(version_row("key_a", number, f"c{number}")))
    ledger.commit(change_of(version_row("key_a", 1, "c1", 2)))
    assert ids_of(ledger.read_versions("key_a")) == [f"key_a.{number}" for number in range(1, 13)]
    assert ledger.read_versions("key_none") == []


def test_the_log_is_read_from_a_position_on_itself_included(ledger: Ledger) -> None:
    ledger.commit(entries_only(10))
    assert [entry.position for entry in ledger.read_log(4, 3)] == [4, 5, 6]
    assert [entry.position for entry in ledger.read_log(9, 100)] == [9, 10]
    assert [entry.position for entry in ledger.read_log(1, 1)] == [1]
    assert ledger.read_log(11, 10) == []


def test_two_logs_with_the_same_entries_have_different_chains(ledger: Ledger) -> None:
    ledger.commit(entries_only(3))
    assert len(checked_entries(ledger)) == 3  # which begins at this log's id


def test_the_sealed_head_only_moves_forward(ledger: Ledger) -> None:
    assert ledger.sealed_head() is None
    ledger.commit(entries_only(10))
    for position, kept in [(3, 3), (2, 3), (3, 3), (10, 10)]:
        ledger.seal_head(head_at(ledger, position, bytes([position, kept])))
        assert ledger.sealed_head() == head_at(ledger, kept, bytes([kept, kept]))


def test_a_snapshot_takes_the_place_of_an_older_one(ledger: Ledger) -> None:
    assert ledger.snapshot() is None
    ledger.commit(entries_only(9))
    fifth, ninth = (head_at(ledger, position).hash for position in (5, 9))
    first = Snapshot(5, fifth, bytes(3_000_000), SEAL)
    ledger.save_snapshot(first)
    assert ledger.snapshot() == first
    second = Snapshot(9, ninth, b"", SEAL[::-1])
    ledger.save_snapshot(second)
    assert ledger.snapshot() == second
    ledger.save_snapshot(first)
    assert ledger.snapshot() == second


def test_closing_twice_is_harmless(ledger: Ledger) -> None:
    ledger.commit(entries_only(1))
    ledger.close()
    ledger.close()
