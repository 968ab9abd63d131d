"""Changing a key's policy: what is named changes, what is not stays, None clears; nobody hands on what they lack."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from keyturn.domain.instants import rfc3339
from keyturn.domain.key import KeyType
from keyturn.domain.lifecycle import KeyState
from keyturn.domain.principal import Principal
from keyturn.domain.requirement import Requirement
from keyturn.domain.scope import KeyScope
from keyturn.errors import ForbiddenError, IllegalTransitionError, InvalidInputError
from keyturn.key_store import SecureKeyStore
from tests.fakes import BEGINNING, Process, Site
from tests.services.samples import MANAGING, events, head, on_both

LATER = BEGINNING + timedelta(days=1)
FULL: dict[str, Any] = {
    "name": "a key", "key_scope": KeyScope.READ, "permissions": ("a.b", "c.*"), "allowed_ips": ("10.0.0.0/8",),
    "metadata": {"n": 1}, "tags": ("red",), "owner": "acme", "not_before": BEGINNING, "expires_at": LATER,
}  # fmt: skip
CHANGES: dict[str, tuple[Any, Any]] = {
    "name": ("another", "another"),
    "scope": (KeyScope.READ_WRITE, KeyScope.READ_WRITE),
    "permissions": (["d.e"], ("d.e",)),
    "allowed_ips": (["192.0.2.1", "::ffff:198.51.100.0/120"], ("192.0.2.1", "198.51.100.0/24")),
    "metadata": ({"m": [1, {"x": None}]}, {"m": [1, {"x": None}]}),
    "tags": (["blue", "green"], ("blue", "green")),
    "not_before": (BEGINNING + timedelta(hours=1), BEGINNING + timedelta(hours=1)),
    "expires_at": (BEGINNING + timedelta(days=9), BEGINNING + timedelta(days=9)),
}
CLEARED: dict[str, Any] = {
    "name": None, "permissions": (), "allowed_ips": (), "metadata": {}, "tags": (), "not_before": None,
    "expires_at": None,
}  # fmt: skip


def changed_fields(before: Any, after: Any) -> set[str]:
    fields = set(before.__dataclass_fields__) - {"revision", "updated_at"}
    return {name for name in fields if getattr(before, name) != getattr(after, name)}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_named_changes_and_nothing_else(
    site: Site, ours: Process, shop: SecureKeyStore, name: str
) -> None:
    key = ours.issue(**FULL)
    before = ours.get(key)
    site.clock.pass_time(60.0)
    given, expected = CHANGES[name]
    after = shop.update_key(key.key_id, **{name: given})
    assert getattr(after, name) == expected
    assert changed_fields(before, after) == {name}
    assert (after.revision, after.updated_at) == (2, site.clock.now())
    assert ours.get(key) == after


@pytest.mark.parametrize("name", CLEARED)
def test_none_clears(ours: Process, shop: SecureKeyStore, name: str) -> None:
    key = ours.issue(**FULL)
    before = ours.get(key)
    after = shop.update_key(key.key_id, **{name: None})
    assert getattr(after, name) == CLEARED[name]
    assert changed_fields(before, after) == {name}


@on_both
def test_many_fields_change_in_one_commit_and_one_entry(ours: Process, shop: SecureKeyStore) -> None:
    key = ours.issue(**FULL)
    position = head(ours)
    shop.update_key(key.key_id, name=None, scope=KeyScope.FULL, permissions=["x.y"], expires_in=60, tags=None)
    (event,) = events(ours, after=position)
    assert (event.type, event.actor, event.subjects) == ("key_updated", "library", (key.key_id,))
    assert event.details == {
        "changed": {
            "name": None, "scope": "full", "permissions": ["x.y"], "tags": [],
            "expires_in": rfc3339(BEGINNING + timedelta(seconds=60)),
        }
    }  # fmt: skip


def test_an_update_holds_here_when_the_call_returns(ours: Process, shop: SecureKeyStore) -> None:
    key = ours.issue(permissions=("documents.read",))
    assert shop.authenticate(key.secret, permissions="documents.read")
    shop.update_key(key.key_id, permissions=["billing.read"])
    assert shop.authenticate(key.secret, permissions="documents.read").code == "insufficient_permissions"
    shop.update_key(key.key_id, allowed_ips=["10.0.0.0/8"])
    assert shop.authenticate(key.secret, permissions="billing.read").code == "ip_denied"
    shop.update_key(key.key_id, not_before=LATER)
    assert shop.authenticate(key.secret).code == "not_yet_valid"


def test_a_profile_is_changed_whole_and_the_log_says_to_what(ours: Process, shop: SecureKeyStore) -> None:
    key = ours.issue(key_type=KeyType.PROVISIONING, profile={"scope": "read", "permissions": "a.b"})
    after = shop.update_key(key.key_id, profile={"scope": KeyScope.WRITE})
    assert after.profile == ours.get(key).profile == Requirement(scope=KeyScope.WRITE)
    assert events(ours)[-1].details == {"changed": {"profile": {"scope": "write"}}}
    assert shop.update_key(key.key_id, profile=None).profile is None
    assert events(ours)[-1].details == {"changed": {"profile": None}}


def test_only_a_gateways_key_gets_a_profile(ours: Process, shop: SecureKeyStore) -> None:
    for kind in (KeyType.API_TOKEN, KeyType.HMAC):
        with pytest.raises(InvalidInputError) as caught:
            shop.update_key(ours.issue(key_type=kind).key_id, profile={"scope": "read"})
        assert caught.value.field == "profile"


def test_a_lifetime_counts_from_the_update(site: Site, ours: Process, shop: SecureKeyStore) -> None:
    key = ours.issue(expires_in=3_600)
    site.clock.pass_time(1_800.0)
    assert shop.update_key(key.key_id, expires_in=3_600).expires_at == site.clock.now() + timedelta(hours=1)
    assert shop.update_key(key.key_id, expires_in=None).expires_at is None


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"owner": "other"}, "owner"),
        ({"state": "active"}, "state"),
        ({"type": KeyType.PROVISIONING}, "type"),
        ({"tenant": "other"}, "tenant"),
        ({"prefix": "x"}, "prefix"),
        ({"recoverable": True}, "recoverable"),
        ({"revision": 7}, "revision"),
        ({"nmae": "typo"}, "nmae"),
        ({"name": "good", "owner_epoch": 9}, "owner_epoch"),
        ({"name": ""}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"scope": None}, "scope"),
        ({"scope": "full"}, "scope"),
        ({"permissions": "documents.read"}, "permissions"),
        ({"permissions": ["OR"]}, "permissions"),
        ({"permissions": ["a.b", "a.b"]}, "permissions"),
        ({"allowed_ips": ["10.0.0.1/8"]}, "allowed_ips"),
        ({"metadata": {"ratio": 0.5}}, "metadata"),
        ({"metadata": {"x": "y" * 20_000}}, "metadata"),
        ({"tags": ["x"] * 2}, "tags"),
        ({"expires_in": 60, "expires_at": LATER}, "expires_in"),
        ({"expires_in": 0}, "expires_in"),
        ({"expires_in": 1.5}, "expires_in"),
        ({"expires_in": True}, "expires_in"),
        ({"expires_at": BEGINNING}, "expires_at"),
        ({"expires_at": BEGINNING - timedelta(days=1)}, "expires_at"),
        ({"expires_at": datetime(2030, 1, 1)}, "expires_at"),
        ({"expires_at": BEGINNING + timedelta(days=40_000)}, "expires_at"),
        ({"not_before": datetime(2026, 3, 1)}, "not_before"),
        ({"not_before": LATER}, "expires_at"),
        ({"not_before": LATER + timedelta(days=1)}, "expires_at"),
    ],
)
def test_what_makes_no_sense_is_refused_by_field_and_changes_nothing(
    ours: Process, shop: SecureKeyStore, changes: dict[str, Any], field: str
) -> None:
    key = ours.issue(**FULL)
    before, position = ours.get(key), head(ours)
    with pytest.raises(InvalidInputError) as caught:
        shop.update_key(key.key_id, **changes)
    assert caught.value.field == field
    assert (ours.get(key), head(ours)) == (before, position)


@pytest.mark.parametrize("name", ["expires_at", "not_before"])
def test_a_time_that_is_text_is_refused_by_field(ours: Process, shop: SecureKeyStore, name: str) -> None:
    with pytest.raises(InvalidInputError):
        shop.update_key(ours.issue().key_id, **{name: "2030-01-01T00:00:00Z"})


@pytest.mark.parametrize("act", ["revoke", "destroy"])
def test_an_ended_key_is_not_changed(ours: Process, shop: SecureKeyStore, act: str) -> None:
    key = ours.issue()
    MANAGING[act](shop, key.key_id)
    with pytest.raises(IllegalTransitionError):
        shop.update_key(key.key_id, name="other")


@pytest.mark.parametrize("is_recorded", [False, True])
def test_an_expired_key_is_not_changed_whether_housekeeping_was_there_or_not(
    site: Site, ours: Process, shop: SecureKeyStore, is_recorded: bool
) -> None:
    """Otherwise it could be brought back, or not, by chance."""
    key = ours.issue(expires_in=60)
    site.clock.pass_time(60.0)
    if is_recorded:
        assert shop.cleanup_expired_keys() == 1
    for changes in ({"expires_in": 3_600}, {"expires_at": None}, {"name": "other"}):
        with pytest.raises(IllegalTransitionError):
            shop.update_key(key.key_id, **changes)
    assert shop.authenticate(key.secret).code == "expired"


def test_a_suspended_key_can_be_changed_and_stays_suspended(ours: Process, shop: SecureKeyStore) -> None:
    key = ours.issue()
    shop.suspend_key(key.key_id)
    assert shop.update_key(key.key_id, permissions=["a.b"]).state is KeyState.SUSPENDED
    assert shop.authenticate(key.secret).code == "suspended"


# Who may


LIMITED = Principal(actor="key:key_limited", permissions=("keys.*", "documents.*"), scope=KeyScope.READ_WRITE)


@pytest.mark.parametrize(
    "changes",
    [
        {"permissions": ["billing.read"]},
        {"permissions": ["*"]},
        {"permissions": ["documents.read", "billing.*"]},
        {"scope": KeyScope.ADMIN},
        {"scope": KeyScope.FULL},
    ],
)
def test_nobody_hands_on_what_they_lack(ours: Process, changes: dict[str, Any]) -> None:
    key = ours.issue()
    position = head(ours)
    with pytest.raises(ForbiddenError):
        ours.node.updater.update(key.key_id, LIMITED, changes)
    assert head(ours) == position


def test_whoever_could_not_issue_a_gateways_key_does_not_change_what_it_requires(ours: Process) -> None:
    """A gateway that requires less lets others in."""
    for mightier in ({"permissions": ("keys.verify", "billing.read")}, {"key_scope": KeyScope.FULL}):
        key = ours.issue(key_type=KeyType.PROVISIONING, profile={"scope": "admin"}, **mightier)
        for profile in (None, {"scope": "read"}):
            with pytest.raises(ForbiddenError):
                ours.node.updater.update(key.key_id, LIMITED, {"profile": profile})
        assert ours.get(key).profile == Requirement(scope=KeyScope.ADMIN)
    equal = ours.issue(
        key_type=KeyType.PROVISIONING, permissions=("keys.verify",), profile={"scope": "admin"}
    )
    assert ours.node.updater.update(equal.key_id, LIMITED, {"profile": None}).profile is None


def test_what_one_holds_may_be_handed_on_and_the_log_says_by_whom(ours: Process) -> None:
    key = ours.issue()
    changes = {"permissions": ["documents.read"], "scope": KeyScope.WRITE}
    ours.node.updater.update(key.key_id, LIMITED, changes)
    assert events(ours)[-1].actor == "key:key_limited"


@pytest.mark.parametrize(
    "changes",
    [{"allowed_ips": None}, {"expires_at": None}, {"expires_in": 60}, {"not_before": None}, {"metadata": {"a": 1}},
     {"permissions": []}, {"allowed_ips": None, "name": "x"}],
    ids=str,
)  # fmt: skip
def test_nobody_loosens_or_ends_a_key_that_holds_more_than_they_do(
    ours: Process, changes: dict[str, Any]
) -> None:
    """Otherwise a key that may only update would free the first key from its network, and use it."""
    first = ours.issue(
        key_type=KeyType.PROVISIONING, key_scope=KeyScope.FULL, permissions=("*",), allowed_ips=("192.0.2.1",),
        expires_in=3_600,
    )  # fmt: skip
    with pytest.raises(ForbiddenError):
        ours.node.updater.update(first.key_id, LIMITED, changes)
    for harmless in ({"name": "first"}, {"tags": ["a"]}):
        ours.node.updater.update(first.key_id, LIMITED, harmless)


@pytest.mark.parametrize("changes", [{"expires_at": None}, {"allowed_ips": None}, {"metadata": {}}], ids=str)
def test_no_key_moves_its_own_bounds(ours: Process, changes: dict[str, Any]) -> None:
    key = ours.issue(key_type=KeyType.PROVISIONING, permissions=("keys.update",), expires_in=3_600)
    itself = Principal(actor=f"key:{key.key_id}", permissions=("*",))
    with pytest.raises(ForbiddenError, match="its own policy"):
        ours.node.updater.update(key.key_id, itself, changes)
    ours.node.updater.update(key.key_id, itself, {"name": "mine"})


def test_nobody_resumes_a_key_that_holds_more_than_they_do(ours: Process, shop: SecureKeyStore) -> None:
    """Anybody with the permission may suspend and revoke it: that takes away and gives nothing."""
    first = ours.issue(permissions=("*",), key_scope=KeyScope.FULL)
    ours.node.lifecycle.suspend(first.key_id, LIMITED)
    with pytest.raises(ForbiddenError):
        ours.node.lifecycle.resume(first.key_id, LIMITED)
    assert shop.authenticate(first.secret).code == "suspended"
    shop.resume_key(first.key_id)
    assert shop.authenticate(first.secret)


def test_a_change_of_nothing_is_no_entry(ours: Process, shop: SecureKeyStore) -> None:
    key = ours.issue()
    position = head(ours)
    with pytest.raises(InvalidInputError, match="nothing to change"):
        shop.update_key(key.key_id)
    assert head(ours) == position


def test_whoever_narrows_the_scope_of_a_key_must_still_hold_what_it_grants(ours: Process) -> None:
    """The result would be theirs to hand on."""
    key = ours.issue(permissions=("billing.read",))
    with pytest.raises(ForbiddenError):
        ours.node.updater.update(key.key_id, LIMITED, {"scope": KeyScope.READ})
    assert ours.node.updater.update(key.key_id, LIMITED, {"name": "other"}).name == "other"
