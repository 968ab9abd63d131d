"""Suspending, resuming, revoking, destroying: what each does, from which states, and what it leaves behind."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from keyturn.domain.lifecycle import KeyState, RevocationReason
from keyturn.errors import IllegalTransitionError, InvalidInputError
from keyturn.key_store import SecureKeyStore
from tests.fakes import BEGINNING, Process, Site
from tests.services.samples import MANAGING, Act, events, head, on_both

COMPROMISE = RevocationReason.KEY_COMPROMISE

# How a key comes into each state, and what each act makes of it there: the state after it, or None where it is illegal.
WAYS: dict[KeyState, tuple[str, ...]] = {
    KeyState.ACTIVE: (),
    KeyState.SUSPENDED: ("suspend",),
    KeyState.DEACTIVATED: ("revoke",),
    KeyState.COMPROMISED: ("compromise",),
    KeyState.DESTROYED: ("destroy",),
}
ACTS: dict[str, Act] = {
    "suspend": MANAGING["suspend"],
    "resume": MANAGING["resume"],
    "revoke": MANAGING["revoke"],
    "compromise": lambda store, key_id: store.revoke_key(key_id, COMPROMISE),
    "destroy": MANAGING["destroy"],
}
A, S, D, C, X = WAYS
OUTCOMES: dict[KeyState, dict[str, KeyState | None]] = {
    A: {"suspend": S, "resume": None, "revoke": D, "compromise": C, "destroy": X},
    S: {"suspend": None, "resume": A, "revoke": D, "compromise": C, "destroy": X},
    D: {"suspend": None, "resume": None, "revoke": D, "compromise": C, "destroy": X},
    C: {"suspend": None, "resume": None, "revoke": C, "compromise": C, "destroy": X},
    X: {"suspend": None, "resume": None, "revoke": X, "compromise": X, "destroy": None},
}
CODES = {A: "valid", S: "suspended", D: "revoked", C: "revoked", X: "revoked"}


@pytest.mark.parametrize(("state", "act"), list(product(WAYS, ACTS)), ids=str)
def test_an_act_leads_from_each_state_where_the_table_says_and_is_refused_elsewhere(
    ours: Process, shop: SecureKeyStore, state: KeyState, act: str
) -> None:
    key = ours.issue()
    for way in WAYS[state]:
        ACTS[way](shop, key.key_id)
    before, position, expected = ours.get(key), head(ours), OUTCOMES[state][act]
    if expected is None:
        with pytest.raises(IllegalTransitionError):
            ACTS[act](shop, key.key_id)
        assert (ours.get(key), head(ours)) == (before, position), "nothing was written"
        return
    changed = ACTS[act](shop, key.key_id)
    assert changed.state is expected
    assert ours.get(key) == changed
    assert head(ours) == position + (changed != before)
    assert shop.authenticate(key.secret).code == CODES[expected]


@on_both
@pytest.mark.parametrize("act", ["suspend", "revoke", "compromise", "destroy"])
def test_a_refusal_holds_here_when_the_call_returns_and_elsewhere_within_the_bound(
    site: Site, ours: Process, theirs: Process, act: str
) -> None:
    key = ours.issue()
    here, there = ours.store(), theirs.store()
    assert here.authenticate(key.secret)
    assert there.authenticate(key.secret)
    ACTS[act](here, key.key_id)
    ours.ledger.fail(AssertionError("from memory"), "read_log")
    refused = "suspended" if act == "suspend" else "revoked"
    assert here.authenticate(key.secret).code == refused
    site.clock.pass_time(1.0)
    assert there.authenticate(key.secret).code == refused


@on_both
def test_a_resumed_key_is_accepted_at_once(ours: Process, shop: SecureKeyStore) -> None:
    key = ours.issue()
    shop.suspend_key(key.key_id)
    assert not shop.authenticate(key.secret)
    shop.resume_key(key.key_id)
    assert shop.authenticate(key.secret)


def test_an_act_changes_the_state_its_time_and_nothing_else(
    site: Site, ours: Process, shop: SecureKeyStore
) -> None:
    key = ours.issue(owner="acme", permissions=("a.b",), metadata={"n": 1}, tags=("red",), expires_in=3_600)
    before = ours.get(key)
    site.clock.pass_time(60.0)
    after = shop.revoke_key(key.key_id, RevocationReason.SUPERSEDED)
    now = site.clock.now()
    assert (after.state, after.reason, after.revision) == (D, RevocationReason.SUPERSEDED, 2)
    assert (after.state_changed_at, after.updated_at, after.created_at) == (now, now, BEGINNING)
    same = {name for name in before.__dataclass_fields__ if getattr(before, name) == getattr(after, name)}
    assert set(before.__dataclass_fields__) - same == {
        "state",
        "reason",
        "revision",
        "state_changed_at",
        "updated_at",
    }


@pytest.mark.parametrize("reason", RevocationReason)
def test_only_a_compromise_of_the_key_compromises_it(
    ours: Process, shop: SecureKeyStore, reason: RevocationReason
) -> None:
    revoked = shop.revoke_key(ours.issue().key_id, reason)
    assert revoked.state is (C if reason is COMPROMISE else D)
    assert revoked.reason is reason


def test_revoking_again_keeps_the_first_reason_and_writes_nothing(
    ours: Process, shop: SecureKeyStore
) -> None:
    key = ours.issue()
    first = shop.revoke_key(key.key_id, RevocationReason.SUPERSEDED, note="replaced")
    position = head(ours)
    assert shop.revoke_key(key.key_id, RevocationReason.UNSPECIFIED) == first
    assert head(ours) == position


def test_a_compromise_that_comes_to_light_later_is_recorded(ours: Process, shop: SecureKeyStore) -> None:
    key = ours.issue()
    shop.revoke_key(key.key_id, RevocationReason.SUPERSEDED)
    assert shop.revoke_key(key.key_id, COMPROMISE).state is C
    assert shop.revoke_key(key.key_id, RevocationReason.SUPERSEDED).reason is COMPROMISE, "and not taken back"
    told = [(event.type, event.details.get("reason")) for event in shop.get_audit_log(key_id=key.key_id)]
    assert told == [("key_created", None), ("key_revoked", "superseded"), ("key_revoked", "keyCompromise")]


def test_an_expired_key_can_still_be_revoked_and_destroyed(
    site: Site, ours: Process, shop: SecureKeyStore
) -> None:
    key, recorded = ours.issue(expires_in=10), ours.issue(expires_in=20)
    site.clock.pass_time(10.0)
    assert shop.revoke_key(key.key_id).state is D
    assert shop.authenticate(key.secret).code == "revoked"
    site.clock.pass_time(10.0)
    assert shop.cleanup_expired_keys() == 1
    assert shop.revoke_key(recorded.key_id, COMPROMISE).state is C
    assert shop.destroy_key(recorded.key_id).state is X
    assert shop.authenticate(recorded.secret).code == "revoked"


@pytest.mark.parametrize("act", ["suspend_key", "resume_key", "revoke_key", "destroy_key"])
def test_a_note_goes_into_the_log(ours: Process, shop: SecureKeyStore, act: str) -> None:
    key = ours.issue()
    if act == "resume_key":
        shop.suspend_key(key.key_id)
    position = head(ours)
    getattr(shop, act)(key.key_id, note="left the company")
    (event,) = events(ours, after=position)
    assert event.details["note"] == "left the company"


@pytest.mark.parametrize("note", ["", " ", "two\nlines", "x" * 1_025, "bell\x07"])
def test_a_note_that_would_spoil_the_log_is_refused_and_nothing_happens(
    ours: Process, shop: SecureKeyStore, note: str
) -> None:
    key = ours.issue(owner="acme")
    position = head(ours)
    calls: list[Any] = [shop.suspend_key, shop.resume_key, shop.revoke_key, shop.destroy_key]
    for call in calls:
        with pytest.raises(InvalidInputError) as caught:
            call(key.key_id, note=note)
        assert caught.value.field == "note"
    with pytest.raises(InvalidInputError):
        shop.revoke_owner("acme", note=note)
    assert head(ours) == position
    assert shop.authenticate(key.secret)


def test_a_destroyed_token_is_told_from_a_strangers(ours: Process, shop: SecureKeyStore) -> None:
    """Its holder learns that it is over, and the log which key it was."""
    key = ours.issue()
    shop.destroy_key(key.key_id)
    answer = shop.authenticate(key.secret)
    assert (answer.code, answer.key_id) == ("revoked", key.key_id)
