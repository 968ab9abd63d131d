"""Keys that are issued, or end, while their owner is being revoked: never a live key of the old epoch."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from keyturn.domain.lifecycle import KeyState, RevocationReason
from keyturn.domain.spec import GeneratedKey
from keyturn.errors import ConflictError
from tests.fakes import BY, Process, Site

REASON = RevocationReason.PRIVILEGE_WITHDRAWN


def codes(site: Site, keys: list[GeneratedKey], *processes: Process) -> set[str]:
    """What everybody is told of these keys once every bound has passed."""
    site.clock.pass_time(2.0)
    return {process.ask(key).code for process in processes for key in keys}


@pytest.fixture(params=["never revoked", "revoked before"])
def owner(request: pytest.FixtureRequest, ours: Process) -> str:
    if request.param == "revoked before":
        ours.revoke_owner("acme")
    return "acme"


@pytest.mark.parametrize(
    "when", ["this process, before the commit", "another, before the commit", "another, after the read"]
)
def test_a_key_whose_owner_is_revoked_while_it_is_issued_is_not_stored(
    site: Site, ours: Process, theirs: Process, owner: str, when: str
) -> None:
    """Not tried again either: it must not be handed out to an owner who was revoked meanwhile."""
    by, keys = (ours if when.startswith("this") else theirs), [ours.make(owner=owner) for _ in range(3)]
    if when.endswith("read"):
        ours.ledger.after("read", lambda: by.revoke_owner(owner))
    else:
        ours.ledger.before("commit", lambda: by.revoke_owner(owner))
    with pytest.raises(ConflictError) as caught:
        ours.node.issuer.issue_all(keys, BY)
    assert caught.value.fix
    assert ours.ledger.inner.read([key.key_id for key in keys]) == [None] * 3
    assert codes(site, keys, ours, theirs) == {"not_found"}


def test_a_key_whose_issue_has_seen_the_revocation_of_its_owner_belongs_to_the_new_epoch(
    site: Site, ours: Process, theirs: Process, owner: str
) -> None:
    """The row was read before, and this process knew of the revocation before it used what it had read."""
    key = ours.make(owner=owner)
    ours.ledger.after("read", lambda: ours.revoke_owner(owner))
    ours.node.issuer.issue(key, BY)
    assert codes(site, [key], ours, theirs) == {"valid"}
    ours.revoke_owner(owner)
    assert codes(site, [key], ours, theirs) == {"revoked"}


@pytest.mark.parametrize("by", ["this process", "another"])
def test_a_key_that_is_issued_while_its_owner_is_being_revoked_is_revoked(
    site: Site, ours: Process, theirs: Process, owner: str, by: str
) -> None:
    issuer = ours if by == "this process" else theirs
    issued: list[GeneratedKey] = []
    ours.ledger.before("commit", lambda: issued.append(issuer.issue(owner=owner)))
    assert ours.revoke_owner(owner) == 1
    assert codes(site, issued, ours, theirs) == {"revoked"}
    assert ours.get(issued[0]).state is KeyState.DEACTIVATED


def test_a_key_that_is_issued_after_the_epoch_and_before_the_rows_follow_is_valid(
    site: Site, ours: Process, theirs: Process, owner: str
) -> None:
    old = ours.issue(owner=owner)
    new: list[GeneratedKey] = []
    ours.ledger.before("list_owned", lambda: new.append(theirs.issue(owner=owner)))
    assert ours.revoke_owner(owner) == 1
    assert codes(site, [old], ours, theirs) == {"revoked"}
    assert codes(site, new, ours, theirs) == {"valid"}
    assert theirs.get(new[0]).state is KeyState.ACTIVE


def test_two_who_revoke_an_owner_at_once_both_do(
    site: Site, ours: Process, theirs: Process, owner: str
) -> None:
    old = ours.issue(owner=owner)
    epoch = ours.get(old).owner_epoch
    between: list[GeneratedKey] = []

    def be_first() -> None:
        theirs.revoke_owner(owner)
        between.append(theirs.issue(owner=owner))

    ours.ledger.before("commit", be_first)
    ours.revoke_owner(owner)
    assert codes(site, [old, *between], ours, theirs) == {"revoked"}
    after = ours.issue(owner=owner)
    assert ours.get(after).owner_epoch == epoch + 2
    assert codes(site, [after], ours, theirs) == {"valid"}


MEANWHILE: dict[str, tuple[Callable[[Process, GeneratedKey], object], KeyState, RevocationReason | None]] = {
    "revoked": (lambda p, k: p.revoke(k), KeyState.DEACTIVATED, RevocationReason.UNSPECIFIED),
    "compromised": (
        lambda p, k: p.node.lifecycle.revoke(k.key_id, BY, reason=RevocationReason.KEY_COMPROMISE),
        KeyState.COMPROMISED,
        RevocationReason.KEY_COMPROMISE,
    ),
    "destroyed": (lambda p, k: p.node.lifecycle.destroy(k.key_id, BY), KeyState.DESTROYED, None),
    "suspended": (lambda p, k: p.node.lifecycle.suspend(k.key_id, BY), KeyState.DEACTIVATED, REASON),
    "updated": (lambda p, k: p.update(k, name="other"), KeyState.DEACTIVATED, REASON),
}


@pytest.mark.parametrize("what", MEANWHILE)
def test_a_key_that_changes_while_the_rows_follow_keeps_what_happened_to_it_and_holds_up_no_other(
    site: Site, ours: Process, theirs: Process, what: str
) -> None:
    act, state, reason = MEANWHILE[what]
    keys = [ours.issue(owner="acme") for _ in range(5)]
    changed = keys[2]
    ours.ledger.before("commit", lambda: None, lambda: act(theirs, changed))
    ours.node.lifecycle.revoke_owner("acme", BY, reason=REASON)
    assert (ours.get(changed).state, ours.get(changed).reason) == (state, reason)
    others = {(ours.get(key).state, ours.get(key).reason) for key in keys if key is not changed}
    assert others == {(KeyState.DEACTIVATED, REASON)}
    assert codes(site, keys, ours, theirs) == {"revoked"}
    told = [
        event.subjects[0]
        for event in ours.node.trail.events({"default"}, limit=1_000)
        if event.type == "key_revoked"
    ]
    assert sorted(told) == sorted(
        {key.key_id for key in keys} - ({changed.key_id} if what == "destroyed" else set())
    )
