"""Loading a credential into memory while the log moves on. `tests/races` does the same on real stores."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from keyturn.errors import IntegrityError
from keyturn.verifier.decision import NO_DEMAND
from keyturn.verifier.loading import Loaded
from keyturn.verifier.verifier import Miss
from tests.fakes import Process, Site, token_of
from tests.unit.records.memory_ledger import MemoryLedger

UNKNOWN = "0" * 16


def loaded(process: Process, credential_id: str | None) -> Loaded:
    assert credential_id is not None
    return process.node.verifier.load(credential_id)


def decided(process: Process, token: str, found: Loaded) -> str:
    outcome = process.node.verifier.decide_loaded(token, found, NO_DEMAND, None)
    return outcome.name if isinstance(outcome, Miss) else outcome.code


def incidents(process: Process) -> list[str]:
    return [incident.problem for incident in process.node.records.incidents.drain()]


def rows_of(process: Process) -> dict[str, Any]:
    """The rows of a store in memory, to be written to by whoever has the database."""
    assert isinstance(process.ledger.inner, MemoryLedger)
    return process.ledger.inner._store.rows


def test_a_credential_is_read_once_and_then_known(ours: Process) -> None:
    key = ours.issue()
    assert [ours.decide(key), ours.ask(key).code, ours.decide(key)] == ["COLD", "valid", "valid"]
    assert ours.ledger.calls["read_credential"] == 1


def test_a_key_that_another_process_issued_is_found_at_once(ours: Process, theirs: Process) -> None:
    assert ours.ask(theirs.issue())


def test_what_is_unknown_is_read_each_time_and_kept_nowhere(ours: Process) -> None:
    key = ours.make()
    assert [ours.ask(key).code for _ in range(3)] == ["not_found"] * 3
    assert ours.ledger.calls["read_credential"] == 3
    ours.node.issuer.issue(key, ours.store()._principal)
    assert ours.ask(key), "an id that was unknown is not refused for having been asked for"


def test_a_row_that_is_ahead_of_the_log_makes_the_log_be_read_first(ours: Process, theirs: Process) -> None:
    key = ours.issue(permissions=("documents.read",))
    theirs.update(key, permissions=("billing.read",))
    reads = ours.ledger.calls["read_log"]
    answer = ours.ask(key)
    assert (answer.code, answer.permissions) == ("valid", ("billing.read",))
    assert ours.ledger.calls["read_log"] > reads
    assert answer.as_of == f"{ours.ledger.log_id}:3"
    assert incidents(ours) == []


def test_a_row_that_the_log_has_passed_is_read_again(ours: Process) -> None:
    key = ours.issue()
    ours.ledger.after("read_credential", lambda: ours.revoke(key))
    assert ours.ask(key).code == "revoked"
    assert incidents(ours) == []


def test_an_entry_is_not_filled_in_between_an_entry_of_the_log_and_what_it_drops(
    ours: Process, theirs: Process
) -> None:
    """The check and the fill are one step to whoever reads the log."""
    key = ours.issue()
    ours.ledger.after("read_credential", lambda: theirs.revoke(key))
    entry = loaded(ours, key.credential_id)
    assert decided(ours, token_of(key), entry) == "valid", "read before the revocation, and within the bound"
    ours.catch_up()
    assert decided(ours, token_of(key), entry) == "COLD"
    assert ours.ask(key).code == "revoked"


def test_an_older_row_is_a_finding_and_admits_nobody(ours: Process) -> None:
    key = ours.issue()
    active = rows_of(ours)[key.key_id]
    ours.revoke(key)
    rows_of(ours)[key.key_id] = active
    assert ours.ask(key).code == "integrity_failed"
    assert ours.ask(key).code == "integrity_failed"
    assert incidents(ours) == ["the row is not the one that the log names"]


@pytest.mark.parametrize("what", ["body", "seal", "tenant", "revision", "kind", "id"])
def test_a_row_of_which_anything_was_altered_admits_nobody(ours: Process, what: str) -> None:
    key = ours.issue()
    row = rows_of(ours)[key.key_id]
    altered = {
        "body": row.body.replace('"read"', '"full"'),
        "seal": bytes(37),
        "tenant": "other",
        "revision": 2,
        "kind": "owner",
        "id": f"key_{0:022}",
    }
    rows_of(ours)[key.key_id] = replace(row, **{what: altered[what]})
    assert ours.ask(key).code in ("integrity_failed", "not_found")
    assert not ours.ask(key)
    assert len(incidents(ours)) == 1


def test_rows_that_do_not_belong_together_are_a_finding(ours: Process) -> None:
    """Each row is what Keyturn wrote; the ledger joined a weak key's version with a strong key."""
    weak, strong = ours.issue(), ours.issue(permissions=("*",))
    rows = ours.ledger.inner.read_credential(str(weak.credential_id))
    assert rows is not None
    joined = replace(rows, key=rows_of(ours)[strong.key_id])
    with pytest.raises(IntegrityError):
        ours.node.verifier._loader.opened((str(weak.credential_id),), joined)
    with pytest.raises(IntegrityError):
        ours.node.verifier._loader.opened((str(strong.credential_id),), rows)
    assert incidents(ours) == ["rows do not belong together"], "of one row, so told once"


def test_a_key_whose_owners_row_has_vanished_admits_nobody(ours: Process) -> None:
    """Without the row the owner would seem never to have been revoked."""
    ours.revoke_owner("acme")
    key = ours.issue(owner="acme")
    owner_row = next(row_id for row_id in rows_of(ours) if row_id.startswith("own_"))
    del rows_of(ours)[owner_row]
    assert ours.ask(key).code == "integrity_failed"


def test_a_load_of_what_is_unknown_is_no_finding(ours: Process) -> None:
    assert loaded(ours, UNKNOWN).entry is None
    assert incidents(ours) == []


def test_a_loaded_entry_is_not_used_for_another_token(ours: Process) -> None:
    key, other = ours.issue(), ours.issue()
    entry = loaded(ours, key.credential_id)
    assert decided(ours, token_of(other), entry) == "not_found"
    assert decided(ours, token_of(key), loaded(ours, UNKNOWN)) == "not_found"


def test_a_loaded_entry_is_not_used_by_a_node_that_has_become_stale(site: Site, ours: Process) -> None:
    key = ours.issue()
    entry, nothing = loaded(ours, key.credential_id), loaded(ours, UNKNOWN)
    site.clock.pass_time(2.0)
    assert decided(ours, token_of(key), entry) == "STALE"
    assert decided(ours, token_of(key), nothing) == "STALE", "nor is it said that there is no such key"


def test_a_credential_that_changes_each_time_it_is_loaded_is_stale_in_the_end(
    ours: Process, theirs: Process
) -> None:
    key = ours.issue()
    numbers = iter(range(100))

    def change() -> None:
        theirs.update(key, name=f"name {next(numbers)}")
        ours.catch_up()

    ours.ledger.after("read_credential", *[change] * 50)
    assert ours.ask(key).code == "stale"
    assert incidents(ours) == []
    assert 3 < next(numbers) < 50


def test_a_valid_key_that_two_ask_for_at_once_is_found_by_both(site: Site, ours: Process) -> None:
    key = ours.issue()
    site.clock.at_next("steady", lambda: loaded(ours, key.credential_id))  # once `decide` has found it cold
    assert ours.ask(key).code == "valid"


def test_an_entry_that_was_loaded_twice_at_once_is_outdated_by_a_revocation_both_times(
    ours: Process, theirs: Process
) -> None:
    key = ours.issue()
    first, second = loaded(ours, key.credential_id), loaded(ours, key.credential_id)
    theirs.revoke(key)
    ours.catch_up()
    assert [decided(ours, token_of(key), entry) for entry in (second, first)] == ["COLD", "COLD"]


def test_an_entry_that_was_pushed_out_of_the_cache_is_outdated_by_a_revocation(
    site: Site, theirs: Process
) -> None:
    ours = site.process(capacity=2)
    key = ours.issue()
    entry = loaded(ours, key.credential_id)
    for _ in range(3):
        loaded(ours, ours.issue().credential_id)
    theirs.revoke(key)
    ours.catch_up()
    assert decided(ours, token_of(key), entry) == "COLD"


def test_a_key_that_is_changed_whenever_it_is_read_is_not_reported_as_tampered_with(ours: Process) -> None:
    key = ours.issue()
    changes = [lambda number=number: ours.update(key, name=f"name {number}") for number in range(3)]
    ours.ledger.after("read_credential", *changes)
    ours.ask(key)
    assert incidents(ours) == []
