"""Revoking every key of an owner at once, by one row, however many there are."""

from __future__ import annotations

from typing import Any, cast

import pytest

from keyturn.domain.key import KeyType
from keyturn.domain.lifecycle import KeyState, RevocationReason
from keyturn.domain.scope import KeyScope
from keyturn.errors import InvalidInputError, KeyturnError, StorageError
from keyturn.key_store import SecureKeyStore
from keyturn.ports.ledger import Ledger, Row, RowFilter
from tests.fakes import Process, Site
from tests.services.samples import events, head, on_both, types


@on_both
def test_a_thousand_keys_are_revoked_at_once_by_one_row(site: Site, ours: Process, theirs: Process) -> None:
    here, there = ours.store(), theirs.store()
    keys = [ours.make(owner="acme") for _ in range(1_000)]
    others = [ours.issue(owner="acme.two"), ours.issue()]
    here.store_keys(keys)
    asking = keys[::10]
    assert all(store.authenticate(key.secret) for key in asking for store in (here, there))
    position, seen = head(ours), []

    def all_refused_before_any_key_row_changed() -> None:
        seen.append(types(ours, after=position))
        assert {here.authenticate(key.secret).code for key in asking} == {"revoked"}
        site.clock.pass_time(1.5)
        assert {there.authenticate(key.secret).code for key in asking} == {"revoked"}
        assert ours.get(keys[0]).state is KeyState.ACTIVE

    ours.ledger.before("list_owned", all_refused_before_any_key_row_changed)
    commits = ours.ledger.calls["commit"]
    assert here.revoke_owner("acme", RevocationReason.PRIVILEGE_WITHDRAWN) == 1_000
    assert seen == [["owner_revoked"]]
    assert ours.ledger.calls["commit"] - commits == 1 + 1_000 // 200, "the key rows follow in batches"

    assert types(ours, after=position) == ["owner_revoked"] + ["key_revoked"] * 1_000
    followed = [ours.get(key) for key in keys[::100]]
    assert {(key.state, key.reason) for key in followed} == {
        (KeyState.DEACTIVATED, RevocationReason.PRIVILEGE_WITHDRAWN)
    }
    assert {here.authenticate(key.secret).code for key in keys[::50]} == {"revoked"}
    assert all(here.authenticate(other.secret) for other in others)


@on_both
def test_keys_issued_afterwards_are_valid_until_the_next_time(ours: Process, shop: SecureKeyStore) -> None:
    generations = []
    for _ in range(3):
        generations.append(ours.issue(owner="acme"))
        assert [bool(shop.authenticate(key.secret)) for key in generations] == [False] * (
            len(generations) - 1
        ) + [True]
        assert shop.revoke_owner("acme") == 1
        assert not any(shop.authenticate(key.secret) for key in generations)
    assert [ours.get(key).owner_epoch for key in generations] == [0, 1, 2]


def test_an_owner_without_keys_can_be_revoked(ours: Process, shop: SecureKeyStore) -> None:
    """Somebody may be issuing one at this moment."""
    made_before = ours.make(owner="acme")
    assert shop.revoke_owner("acme") == 0
    assert types(ours)[-1] == "owner_revoked"
    shop.store_key(made_before)
    assert shop.authenticate(made_before.secret), "it was issued afterwards, whenever it was made"


def test_owners_are_compared_as_written(ours: Process, shop: SecureKeyStore) -> None:
    names = ["acme", "Acme", "acme2", "ácme", "acme|default"]
    keys = {name: ours.issue(owner=name) for name in names}
    assert shop.revoke_owner("acme") == 1
    assert {name for name, key in keys.items() if not shop.authenticate(key.secret)} == {"acme"}


@pytest.mark.parametrize("owner", ["", " acme", "..", "a\nb", "x" * 257])
def test_what_is_no_owner_is_refused(ours: Process, shop: SecureKeyStore, owner: str) -> None:
    position = head(ours)
    with pytest.raises(InvalidInputError) as caught:
        shop.revoke_owner(owner)
    assert caught.value.field == "owner"
    assert head(ours) == position


def test_keys_that_had_ended_keep_their_end(ours: Process, shop: SecureKeyStore) -> None:
    suspended, revoked, compromised, destroyed = (ours.issue(owner="acme") for _ in range(4))
    shop.suspend_key(suspended.key_id)
    shop.revoke_key(revoked.key_id, RevocationReason.SUPERSEDED)
    shop.revoke_key(compromised.key_id, RevocationReason.KEY_COMPROMISE)
    shop.destroy_key(destroyed.key_id)
    assert shop.revoke_owner("acme", RevocationReason.AFFILIATION_CHANGED) == 1
    assert [
        (ours.get(key).state.value, ours.get(key).reason) for key in (suspended, revoked, compromised)
    ] == [
        ("deactivated", RevocationReason.AFFILIATION_CHANGED),
        ("deactivated", RevocationReason.SUPERSEDED),
        ("compromised", RevocationReason.KEY_COMPROMISE),
    ]
    assert ours.get(destroyed).state is KeyState.DESTROYED


def test_a_suspended_key_of_a_revoked_owner_cannot_come_back(ours: Process, shop: SecureKeyStore) -> None:
    key = ours.issue(owner="acme")
    shop.suspend_key(key.key_id)
    ours.ledger.fail(StorageError("gone"), "list_owned")
    with pytest.raises(StorageError):
        shop.revoke_owner("acme")
    ours.ledger.work_again()
    shop.resume_key(key.key_id)  # its own row had not followed
    assert shop.authenticate(key.secret).code == "revoked"


@on_both
@pytest.mark.parametrize("commit", [2, 3])
def test_when_the_store_fails_on_the_way_every_key_is_refused_all_the_same(
    site: Site, ours: Process, theirs: Process, commit: int
) -> None:
    """When the call fails after the first commit, no key issued to the owner before verifies any more."""
    shop = ours.store()
    keys = [ours.make(owner="acme") for _ in range(210)]
    shop.store_keys(keys)
    assert all(theirs.ask(key) for key in keys[::10])

    def fail() -> None:
        raise StorageError("gone")

    ours.ledger.before("commit", *[lambda: None] * (commit - 1), fail)
    with pytest.raises(StorageError):
        shop.revoke_owner("acme")
    assert {shop.authenticate(key.secret).code for key in keys[::10]} == {"revoked"}
    site.clock.pass_time(2.0)
    assert {theirs.ask(key).code for key in keys[::10]} == {"revoked"}
    states = [ours.get(key).state for key in keys]
    assert states.count(KeyState.ACTIVE) == 210 - 200 * (commit - 2)
    assert shop.revoke_owner("acme") == states.count(KeyState.ACTIVE), (
        "called again, it brings the rest after"
    )
    assert KeyState.ACTIVE not in {ours.get(key).state for key in keys}


def test_what_a_compromise_that_was_cut_off_left_behind_is_compromised_whatever_the_next_reason(
    ours: Process, shop: SecureKeyStore
) -> None:
    """Deactivated, it would verify again what somebody else signs with it."""
    before = ours.issue(owner="acme", key_type=KeyType.ECDSA, key_scope=KeyScope.READ_WRITE)
    signature = shop.sign(before.key_id, b"data").value
    ours.ledger.fail(StorageError("gone"), "list_owned")
    with pytest.raises(StorageError):
        shop.revoke_owner("acme", RevocationReason.KEY_COMPROMISE)
    ours.ledger.work_again()
    assert shop.verify_signature(before.key_id, b"data", signature).code.value == "revoked"
    since = ours.issue(owner="acme")
    assert shop.revoke_owner("acme", RevocationReason.SUPERSEDED) == 2
    assert [ours.get(key).state for key in (before, since)] == [KeyState.COMPROMISED, KeyState.DEACTIVATED]
    assert shop.verify_signature(before.key_id, b"data", signature).code.value == "revoked"


def test_when_nothing_was_written_nothing_is_revoked(ours: Process, shop: SecureKeyStore) -> None:
    key = ours.issue(owner="acme")
    ours.ledger.fail(StorageError("gone"), "commit")
    with pytest.raises(StorageError):
        shop.revoke_owner("acme")
    ours.ledger.work_again()
    assert shop.authenticate(key.secret)


def test_the_log_names_an_owner_by_pseudonym_and_by_name_only_in_what_can_be_erased(
    ours: Process, shop: SecureKeyStore
) -> None:
    ours.issue(owner="ann@example.org")
    position = head(ours)
    shop.revoke_owner("ann@example.org", RevocationReason.AFFILIATION_CHANGED, note="left")
    entries = ours.ledger.inner.read_log(1, 100)
    assert not any(b"ann@example.org" in stored.entry for stored in entries)
    event = events(ours, after=position)[0]
    assert event.details == {"owner": "ann@example.org", "reason": "affiliationChanged", "note": "left"}
    (subject,) = event.subjects
    assert subject.startswith("own_")
    assert ours.ledger.inner.read([subject])[0] is not None


def test_the_pseudonym_of_an_owner_is_the_tenants_own(ours: Process) -> None:
    """So that nobody learns from the log that two tenants have the same customer."""
    for tenant in ("default", "other"):
        ours.store(tenant).revoke_owner("acme")
    mine, theirs = (events(ours, tenants=(tenant,))[-1].subjects for tenant in ("default", "other"))
    assert mine != theirs


def test_a_revocation_of_an_owner_that_was_cut_off_does_not_stop_others(
    ours: Process, shop: SecureKeyStore
) -> None:
    key = ours.issue(owner="acme")
    ours.ledger.fail(KeyturnError("the process ends here"), "list_owned")
    with pytest.raises(KeyturnError):
        shop.revoke_owner("acme")
    ours.ledger.work_again()
    assert shop.update_key(key.key_id, name="still there").name == "still there"
    assert shop.authenticate(key.secret).code == "revoked", "an update does not bring it into the new epoch"


def test_a_key_that_only_the_index_calls_the_owners_is_left_alone(
    ours: Process, shop: SecureKeyStore
) -> None:
    """Who writes to the database may bend its indexes: what a key says of its owner stands under its seal."""
    theirs, foreign = ours.issue(owner="acme"), ours.issue(owner="bolt")
    ours.ledger.inner = cast(Ledger, BentIndex(ours.ledger.inner, foreign.key_id))
    assert shop.revoke_owner("acme") == 1
    assert shop.authenticate(foreign.secret)
    assert not shop.authenticate(theirs.secret)
    assert [key.key_id for key in shop.list_keys(owner="acme").items] == [theirs.key_id]


class BentIndex:
    """A ledger whose index finds one more key under every owner."""

    def __init__(self, inner: Ledger, key_id: str) -> None:
        self._inner = inner
        self._key_id = key_id

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def list_owned(self, tenant: str, owner: str, after: str, limit: int) -> list[Row]:
        found = self._inner.list_owned(tenant, owner, after, limit)
        return found and self._one_more() + found

    def list_keys(self, matching: RowFilter, limit: int) -> list[Row]:
        return self._one_more() + self._inner.list_keys(matching, limit)

    def _one_more(self) -> list[Row]:
        return [row for row in self._inner.read((self._key_id,)) if row is not None]
