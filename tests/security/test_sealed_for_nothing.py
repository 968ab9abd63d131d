"""Changes that were sealed and never made: lost to another one, or reported as failed by whoever kept them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Final, cast

import pytest

from keyturn.bootstrap import Node
from keyturn.domain.bodies import key_from, key_put, owner_put, version_put
from keyturn.domain.change import ChangeSet, Event, EventType, Put, Require
from keyturn.domain.key import Owner
from keyturn.domain.lifecycle import RevocationReason
from keyturn.domain.scope import KeyScope
from keyturn.errors import ConflictError, IntegrityError, StorageFullError
from keyturn.issuing.issuer import OwnerAtIssue, created_event, rows_of
from keyturn.issuing.keys import Keys
from keyturn.issuing.lifecycle import Lifecycle
from keyturn.key_generator import SecureKeyGenerator
from keyturn.ports.ledger import Commit, Ledger, NewRow, Position, Row
from keyturn.records.records import Records
from keyturn.verifier.decision import NO_DEMAND
from tests.security.attacker import rechained
from tests.security.history import MEMBERS, TOKENS, Narrator, by
from tests.security.scene import TAMPERED, WHEN, Scene, When

before_and_after_the_start = pytest.mark.parametrize("when", WHEN)


# -- changes that lost


def event_of(scene: Scene, event_type: EventType, *puts: Put, label: str | None = None) -> Event:
    return Event(
        type=event_type,
        time=scene.clock.now(),
        tenant="default",
        actor="library",
        subjects=() if label is None else (scene.key_id(label),),
        rows=tuple(put.id for put in puts),
    )


def lost_commit(node: Node, changes: ChangeSet) -> Commit:
    """A change as a node seals and sends it, which the store refuses because it comes too late."""
    sent: list[Commit] = []
    with pytest.raises(ConflictError):
        records_over(_Watched(node.ledger, sent), node).commit(changes)
    return sent[0]


class _Watched:
    """A ledger, and somebody who keeps whatever is sent to it."""

    def __init__(self, ledger: Ledger, sent: list[Commit]) -> None:
        self._ledger = ledger
        self._sent = sent

    def commit(self, commit: Commit) -> Position:
        self._sent.append(commit)
        return self._ledger.commit(commit)

    def __getattr__(self, name: str) -> object:
        return getattr(self._ledger, name)


class _Withholding(_Watched):
    """The same, which says of each commit that it failed."""

    def commit(self, commit: Commit) -> Position:
        self._sent.append(commit)
        raise StorageFullError("nothing was written, it says")


def records_over(watched: _Watched, node: Node) -> Records:
    """What a node's services commit by, over this ledger."""
    return Records(ledger=cast(Ledger, watched), keyring=node.records.keyring, log=node.records.log)


def lost_widening(scene: Scene, label: str) -> Commit:
    """What would have made a key powerful, had another change of it not come first."""
    before = key_from(json.loads(scene.held[label, MEMBERS[label].revisions - 1].body))
    widened = key_put(
        replace(before, scope=KeyScope.FULL, permissions=("*",), allowed_ips=(), expires_at=None,
                not_before=None, revision=before.revision + 1)
    )  # fmt: skip
    event = event_of(scene, EventType.KEY_UPDATED, widened, label=label)
    return lost_commit(scene.open(), ChangeSet(puts=(widened,), events=(event,)))


def as_stored(row: NewRow, position: int) -> Row:
    return Row(
        row.id, row.kind, row.tenant, row.revision, row.body, row.seal, row.material, position, position
    )


def put_sealed(scene: Scene, commit: Commit) -> None:
    """Write what a commit would have written to the rows, and only that."""
    scene.attacker.put_rows(*(as_stored(row, len(scene.chronicle.end.log)) for row in commit.rows))


def append_sealed(scene: Scene, commit: Commit) -> None:
    """Write what a commit would have written to the log, with the hashes that belong there."""
    log = scene.attacker.log()
    positions = range(len(log) + 1, len(log) + 1 + len(commit.entries))
    new = [
        replace(log[0], position=position, entry=entry.entry, seal=entry.seal, details=entry.details)
        for position, entry in zip(positions, commit.entries, strict=True)
    ]
    scene.attacker.put_log(rechained(scene.attacker.log_id(), [*log, *new]))


CHANGED: Final = [label for label in TOKENS if MEMBERS[label].revisions > 1]


@before_and_after_the_start
@pytest.mark.parametrize("label", CHANGED)
def test_a_row_that_was_sealed_for_a_commit_that_lost_is_refused(
    scene: Scene, when: When, label: str
) -> None:
    commit = lost_widening(scene, label)
    node = scene.node(when, lambda: put_sealed(scene, commit))
    assert set(scene.ask(node, [label]).values()) == {TAMPERED}
    assert scene.ask_one(node, "plain").valid
    node.recorder.flush()
    scene.assert_told([label])


@pytest.mark.parametrize("label", ["scope", "suspended", "revoked"])
def test_a_commit_that_lost_closes_a_running_node_when_it_is_appended_to_the_log(
    scene: Scene, label: str
) -> None:
    commit = lost_widening(scene, label)

    def attack() -> None:
        put_sealed(scene, commit)
        append_sealed(scene, commit)

    node = scene.node("running", attack)
    assert set(scene.ask(node).values()) == {TAMPERED}
    scene.close()
    with pytest.raises(IntegrityError, match="names revision"):
        scene.open()


@before_and_after_the_start
def test_an_owners_row_that_was_sealed_for_a_commit_that_lost_is_refused(scene: Scene, when: When) -> None:
    node = scene.open()
    owner = owner_put(
        Owner(
            row_id=Keys(node.records).owner_row_id("default", "calm"),
            tenant="default",
            id="calm",
            epoch=1,
            revoked_at=scene.clock.now(),
            reason=RevocationReason.UNSPECIFIED,
        )
    )
    moved = Require(scene.key_id("plain"), 7)
    commit = lost_commit(
        node,
        ChangeSet(
            requires=(moved,), puts=(owner,), events=(event_of(scene, EventType.OWNER_REVOKED, owner),)
        ),
    )
    node = scene.node(when, lambda: put_sealed(scene, commit))
    assert scene.ask(node) == scene.told({"calm": TAMPERED})
    assert scene.owners_status(node, "calm") == TAMPERED


@before_and_after_the_start
def test_a_key_that_lost_against_the_revocation_of_its_owner_is_revoked_when_its_rows_turn_up(
    scene: Scene, when: When
) -> None:
    node = scene.open()
    generated = SecureKeyGenerator(clock=scene.clock).generate_api_key(owner="bolt")
    not_yet_revoked = Require(Keys(node.records).owner_row_id("default", "bolt"), 0)
    key, version = rows_of(
        generated, "default", node.records.keyring, OwnerAtIssue(epoch=0, require=not_yet_revoked)
    )
    commit = lost_commit(
        node,
        ChangeSet(
            requires=(not_yet_revoked,),
            puts=(key_put(key), version_put(version)),
            events=(created_event(key, version, "library", scene.clock.now()),),
        ),
    )
    node = scene.node(when, lambda: put_sealed(scene, commit))
    assert node.verifier.authenticate(generated.secret.reveal(), NO_DEMAND).code == "revoked"


def test_a_creation_that_failed_escapes_as_the_threat_model_says_with_a_secret_that_nobody_was_given(
    scene: Scene,
) -> None:
    node = scene.open()
    generated = SecureKeyGenerator(clock=scene.clock).generate_api_key()
    key, version = rows_of(generated, "default", node.records.keyring, OwnerAtIssue())
    commit = lost_commit(
        node,
        ChangeSet(
            requires=(Require(scene.key_id("plain"), 7),),
            puts=(key_put(key), version_put(version)),
            events=(created_event(key, version, "library", scene.clock.now()),),
        ),
    )
    put_sealed(scene, commit)
    assert node.verifier.authenticate(generated.secret.reveal(), NO_DEMAND).valid


# -- changes held back


def withheld(scene: Scene, node: Node, label: str) -> Commit:
    """The resumption of a key, as a node sealed it before it was told that nothing was written."""
    sent: list[Commit] = []
    watched = _Withholding(node.ledger, sent)
    records = records_over(watched, node)
    lifecycle = Lifecycle(
        ledger=cast(Ledger, watched), records=records, keys=Keys(records), clock=scene.clock
    )
    with pytest.raises(StorageFullError):
        lifecycle.resume(scene.key_id(label), by())
    return sent[0]


@before_and_after_the_start
def test_a_change_that_failed_has_no_effect_when_its_rows_alone_turn_up(scene: Scene, when: When) -> None:
    change = withheld(scene, scene.open(), "suspended")
    scene.close()
    node = scene.node(when, lambda: put_sealed(scene, change))
    assert scene.ask_one(node, "suspended").code == TAMPERED


def test_a_change_that_failed_closes_a_node_when_it_turns_up_after_another(scene: Scene) -> None:
    change = withheld(scene, scene.open(), "suspended")
    it = Narrator(scene.open(), scene.clock)
    it.keys = dict(scene.chronicle.keys)
    it.update("suspended", name="renamed")
    append_sealed(scene, change)
    put_sealed(scene, change)
    scene.clock.wait(60)
    assert scene.ask_one(it.node, "suspended").code == TAMPERED
    assert it.node.records.log.is_broken
    with pytest.raises(IntegrityError, match="names revision"):
        scene.open()


@before_and_after_the_start
def test_a_change_that_was_reported_as_failed_can_be_written_later_by_whoever_kept_it(
    scene: Scene, when: When
) -> None:
    """docs/threat-model.md, "What escapes": as long as the rows that it relies on have not moved."""
    change = withheld(scene, scene.open(), "suspended")
    scene.close()

    def attack() -> None:
        scene.clock.wait(86_400)
        append_sealed(scene, change)
        put_sealed(scene, change)

    node = scene.node(when, attack)
    assert scene.ask_one(node, "suspended")
