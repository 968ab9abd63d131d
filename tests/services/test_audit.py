"""The log for people: what each act leaves in it, who sees which part, and page by page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from keyturn.domain.principal import Principal
from keyturn.domain.scope import KeyScope
from keyturn.errors import IntegrityError, InvalidInputError
from keyturn.key_store import RevocationReason, SecureKeyStore
from tests.fakes import BEGINNING, Process, Site, token_of
from tests.services.samples import events, head, on_both, types
from tests.unit.records.memory_ledger import MemoryLedger

Arrange = Callable[[SecureKeyStore, str], Any]
Act = Callable[[SecureKeyStore, str], Any]
NOTHING: Arrange = lambda _, __: None  # noqa: E731

ACTS: dict[str, tuple[Arrange, Act, str, dict[str, Any]]] = {
    "suspend": (NOTHING, lambda s, k: s.suspend_key(k, note="why"), "key_suspended", {"note": "why"}),
    "suspend for a reason": (
        NOTHING,
        lambda s, k: s.suspend_key(k, "affiliationChanged"),
        "key_suspended",
        {"reason": "affiliationChanged"},
    ),
    "resume for a reason": (
        lambda s, k: s.suspend_key(k),
        lambda s, k: s.resume_key(k, RevocationReason.SUPERSEDED, note="why"),
        "key_resumed",
        {"reason": "superseded", "note": "why"},
    ),
    "resume": (lambda s, k: s.suspend_key(k), lambda s, k: s.resume_key(k), "key_resumed", {}),
    "revoke": (
        NOTHING,
        lambda s, k: s.revoke_key(k, RevocationReason.SUPERSEDED, note="why"),
        "key_revoked",
        {"reason": "superseded", "note": "why"},
    ),
    "revoke without a word": (
        NOTHING,
        lambda s, k: s.revoke_key(k),
        "key_revoked",
        {"reason": "unspecified"},
    ),
    "compromise": (
        lambda s, k: s.revoke_key(k),
        lambda s, k: s.revoke_key(k, RevocationReason.KEY_COMPROMISE),
        "key_revoked",
        {"reason": "keyCompromise"},
    ),
    "destroy": (NOTHING, lambda s, k: s.destroy_key(k, note="why"), "key_destroyed", {"note": "why"}),
    "retrieve": (NOTHING, lambda s, k: s.retrieve_key(k), "key_retrieved", {}),
    "update": (
        NOTHING,
        lambda s, k: s.update_key(k, name="other", scope=KeyScope.FULL, tags=["red"], expires_at=None),
        "key_updated",
        {"changed": {"name": "other", "scope": "full", "tags": ["red"], "expires_at": None}},
    ),
}


@on_both
@pytest.mark.parametrize("what", ACTS)
def test_an_act_leaves_one_entry_that_says_what_who_and_about_whom(
    site: Site, ours: Process, shop: SecureKeyStore, what: str
) -> None:
    arrange, act, event_type, details = ACTS[what]
    key = ours.issue(recoverable=True, owner="acme")
    arrange(shop, key.key_id)
    site.clock.pass_time(60.0)
    position = head(ours)
    act(shop, key.key_id)
    (event,) = shop.get_audit_log(after=position)
    assert (event.position, event.type, event.time) == (position + 1, event_type, site.clock.now())
    assert (event.tenant, event.actor, event.subjects) == ("default", "library", (key.key_id,))
    assert event.details == details


def test_issuing_leaves_one_entry_for_each_key(ours: Process, shop: SecureKeyStore) -> None:
    keys = [ours.make() for _ in range(3)]
    position = head(ours)
    shop.store_keys(keys)
    found = shop.get_audit_log(after=position)
    assert [(event.type, event.actor, event.subjects, event.details) for event in found] == [
        ("key_created", "library", (key.key_id,), {}) for key in keys
    ]


def test_an_act_that_changes_nothing_leaves_no_entry(ours: Process, shop: SecureKeyStore) -> None:
    key = ours.issue()
    shop.revoke_key(key.key_id)
    position = head(ours)
    shop.revoke_key(key.key_id)
    shop.verify_key(key.key_id)
    shop.retrieve_key(key.key_id)
    shop.list_keys()
    shop.get_usage_statistics(key.key_id)
    assert types(ours, after=position) == []


def test_the_log_names_whoever_acted(ours: Process) -> None:
    caller = Principal(actor="key:key_0123456789ABCDEFGHIJKL", permissions=("*",))
    key = ours.issue(by=caller)
    ours.node.lifecycle.revoke(key.key_id, caller)
    assert {event.actor for event in events(ours) if event.subjects == (key.key_id,)} == {caller.actor}


def test_no_secret_is_in_the_log(ours: Process, shop: SecureKeyStore) -> None:
    key = ours.issue(recoverable=True)
    for act in (shop.retrieve_key, shop.suspend_key, shop.destroy_key):
        act(key.key_id)
    shop.authenticate(key.secret)
    ours.node.recorder.close()
    for stored in ours.ledger.inner.read_log(1, 100):
        assert token_of(key)[3:].encode() not in stored.entry + (stored.details or "").encode()
        assert token_of(key)[-49:-6].encode() not in stored.entry + (stored.details or "").encode()


# Who sees what


def test_the_operator_sees_findings_and_the_beginning_of_the_installation(
    site: Site, ours: Process, shop: SecureKeyStore
) -> None:
    ours.node.records.incidents.note("keyring", "system", "a problem")
    site.clock.pass_time(2.0)
    ours.node.recorder.tick()
    found = [(event.type, event.tenant) for event in shop.get_audit_log()]
    assert found == [("keyring_created", "system"), ("integrity_failed", "system")]


def test_a_tenant_sees_its_own_events_and_no_other_tenants(ours: Process, shop: SecureKeyStore) -> None:
    other = ours.store("other")
    mine, theirs = ours.make(), ours.make()
    shop.store_key(mine)
    other.store_key(theirs)
    assert [event.subjects for event in shop.get_audit_log(after=1)] == [(mine.key_id,)]
    assert [event.subjects for event in other.get_audit_log(after=1)] == [(theirs.key_id,)]
    assert shop.get_audit_log(key_id=theirs.key_id) == []


# Page by page


def test_events_of_one_key_are_found_among_all_others(ours: Process, shop: SecureKeyStore) -> None:
    key = ours.issue()
    for _ in range(5):
        ours.issue()
    shop.suspend_key(key.key_id)
    ours.issue()
    shop.resume_key(key.key_id)
    found = [event.type for event in shop.get_audit_log(key_id=key.key_id)]
    assert found == ["key_created", "key_suspended", "key_resumed"]
    assert shop.get_audit_log(key_id=ours.make().key_id) == []


@on_both
def test_pages_follow_one_another_oldest_first(ours: Process, shop: SecureKeyStore) -> None:
    shop.store_keys([ours.make() for _ in range(25)])
    whole = shop.get_audit_log(limit=1_000)
    assert [event.position for event in whole] == list(range(1, 27))
    paged, after = [], 0
    while page := shop.get_audit_log(after=after, limit=10):
        assert len(page) <= 10
        paged += page
        after = page[-1].position
    assert paged == whole
    assert shop.get_audit_log(after=26) == []


def test_a_page_reaches_over_many_entries_of_others(ours: Process, shop: SecureKeyStore) -> None:
    other = ours.store("other")
    for _ in range(2):
        other.store_keys([ours.make() for _ in range(700)])
    key = ours.issue()
    (event,) = shop.get_audit_log(after=1)
    assert (event.position, event.subjects) == (1_402, (key.key_id,))


@pytest.mark.parametrize("limit", [0, -1, 1_001])
def test_a_page_has_one_to_a_thousand_events(shop: SecureKeyStore, limit: int) -> None:
    with pytest.raises(InvalidInputError) as caught:
        shop.get_audit_log(limit=limit)
    assert caught.value.field == "limit"


# What was altered or erased


@pytest.fixture
def told() -> Process:
    """A process on a store in memory, in which an owner was revoked with a note."""
    process = Site.in_memory().process()
    process.store().revoke_owner("acme", note="left")
    return process


def last_entry(process: Process, **changes: Any) -> None:
    assert isinstance(process.ledger.inner, MemoryLedger)
    log = process.ledger.inner._store.log
    log[-1] = replace(log[-1], **changes)


def test_details_that_were_erased_leave_the_event(told: Process) -> None:
    last_entry(told, details=None)
    event = told.store().get_audit_log()[-1]
    assert (event.type, event.details) == ("owner_revoked", {})


@pytest.mark.parametrize("details", ['{"owner":"bolt","salt":"AAAAAAAAAAAAAAAAAAAAAA"}', "{}", ""])
def test_details_that_were_altered_are_refused(told: Process, details: str) -> None:
    last_entry(told, details=details)
    with pytest.raises(IntegrityError):
        told.store().get_audit_log()


def test_an_entry_that_was_altered_is_refused(told: Process) -> None:
    entry = told.ledger.inner.read_log(2, 1)[0].entry
    last_entry(told, entry=entry.replace(b'"library"', b'"nobody!"'))
    with pytest.raises(IntegrityError):
        told.store().get_audit_log()


def test_a_revocation_that_was_overwritten_at_the_end_of_a_page_is_missed(told: Process) -> None:
    """The page ends where a batch does, and what vouches for its last entry stands behind it."""
    shop = told.store()
    keys = [told.make(recoverable=True) for _ in range(996)]
    shop.store_keys(keys)
    shop.retrieve_key(keys[0].key_id)
    shop.revoke_key(keys[0].key_id)
    shop.retrieve_key(keys[1].key_id)
    assert isinstance(told.ledger.inner, MemoryLedger)
    log = told.ledger.inner._store.log
    assert [event.position for event in shop.get_audit_log(limit=1_000)][-1] == 1_000
    previous, revoked = log[998], log[999]
    log[999] = replace(
        previous, position=revoked.position, hash=sha256(previous.hash + previous.entry).digest()
    )
    with pytest.raises(IntegrityError):
        shop.get_audit_log(limit=1_000)


def test_the_salt_is_nobodys_business(told: Process) -> None:
    assert set(told.store().get_audit_log()[-1].details) == {"owner", "reason", "note"}


def test_a_store_that_is_opened_anew_tells_the_same(site: Site, ours: Process, theirs: Process) -> None:
    key = ours.issue()
    ours.revoke(key)
    assert theirs.store().get_audit_log() == ours.store().get_audit_log()
    assert ours.store().get_audit_log()[-1].time == BEGINNING
