"""The log and its sealed head: edited, cut, reordered, forged, under running nodes and before a start.

A node either answers what it honestly should, or it closes: then every answer is `integrity_failed`, for good. The
audit trail shows the whole truth or refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, cast

import pytest

from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.audit.trail import KeyUsageEvent, Trail
from keyturn.bootstrap import Node, initialise
from keyturn.domain.entry import decode_entry
from keyturn.domain.secret import Secret
from keyturn.errors import IntegrityError
from keyturn.issuing.reading import KeyFilter
from keyturn.ports.ledger import Ledger, LogEntry, Position
from tests.security.attacker import attacker_on
from tests.security.history import MEMBERS, Narrator, by
from tests.security.log_attacks import (
    ATTACKS,
    CLOSES,
    HONEST,
    append_creation_again,
    append_forged,
    cut_off_last,
    cut_out_and_rechain,
    each_attack,
    edit_last_hash,
    entries,
    entry_of,
    rechain,
    remove_head_and_last,
    revocation,
)
from tests.security.scene import WHEN, Scene, When

before_and_after_the_start = pytest.mark.parametrize("when", WHEN)

TENANTS: Final = ("default", "other", "system")


# -- what holds


def shown(node: Node) -> list[KeyUsageEvent]:
    return node.trail.events(TENANTS, limit=1_000)


@each_attack
def test_a_node_that_starts_on_an_altered_log_answers_as_it_should_or_does_not_start(
    scene: Scene, name: str
) -> None:
    attack = ATTACKS[name]
    attack.do(scene)
    if attack.stopped == CLOSES:
        with pytest.raises(IntegrityError):
            scene.open()
    else:
        node = scene.open()
        assert scene.ask(node) == scene.honest
        if attack.trail == "refuse":
            with pytest.raises(IntegrityError):
                shown(node)
        else:
            assert len(shown(node)) == len(scene.chronicle.end.log)
    scene.attacker.put_image(scene.chronicle.end)
    assert scene.ask_one(scene.open(), "plain").valid


@each_attack
def test_a_running_node_under_which_the_log_is_altered_answers_as_it_should_or_closes_for_good(
    scene: Scene, name: str
) -> None:
    attack = ATTACKS[name]
    node = scene.node("running", lambda: attack.do(scene))
    if attack.running == HONEST:
        assert scene.ask(node) == scene.honest
        assert not node.records.log.is_broken
        return
    everything_refused = dict.fromkeys(scene.honest, "integrity_failed")
    assert scene.ask(node) == everything_refused
    assert node.records.log.is_broken
    scene.attacker.put_image(scene.chronicle.end)
    scene.clock.wait(60)
    assert scene.ask(node) == everything_refused, "until somebody has looked and started it again"
    assert {scene.status(node, label) for label in MEMBERS} == {"integrity_failed"}


@each_attack
def test_the_audit_trail_of_a_running_node_shows_the_whole_truth_or_refuses(scene: Scene, name: str) -> None:
    attack, node = ATTACKS[name], scene.open()
    truth = shown(node)
    attack.do(scene)
    if attack.trail == "refuse":
        with pytest.raises(IntegrityError):
            shown(node)
    elif attack.trail == "whole":
        assert shown(node) == truth
    else:
        try:
            assert shown(node) == truth
        except IntegrityError:
            return


@before_and_after_the_start
def test_an_entry_that_changed_no_row_and_is_appended_again_changes_nothing_but_the_trail(
    scene: Scene, when: When
) -> None:
    """docs/threat-model.md, "What escapes": the trail then has it twice, to the byte."""
    node = scene.node(when, lambda: append_creation_again(scene))
    assert scene.ask(node) == scene.honest
    *_, last = shown(node)
    twins = [event for event in shown(node) if replace(event, position=last.position) == last]
    assert len(twins) == 2


def test_the_trail_shows_all_that_happened(scene: Scene) -> None:
    node = scene.open()
    events = shown(node)
    assert [event.position for event in events] == list(range(1, len(scene.chronicle.end.log) + 1))
    about = [(event.type, event.details) for event in events if scene.key_id("revoked") in event.subjects]
    assert about == [
        ("key_created", {}),
        ("key_revoked", {"reason": "superseded", "note": "revoked has to go"}),
    ]


class _Meanwhile:
    """A ledger whose log is altered just before it is read for the first time."""

    def __init__(self, ledger: Ledger, attack: Callable[[], None]) -> None:
        self._ledger = ledger
        self._attack: Callable[[], None] | None = attack

    def read_log(self, start: Position, limit: int) -> list[LogEntry]:
        if self._attack is not None:
            self._attack()
            self._attack = None
        return self._ledger.read_log(start, limit)

    def __getattr__(self, name: str) -> object:
        return getattr(self._ledger, name)


@pytest.mark.parametrize("after", [0, 10])
def test_the_trail_refuses_a_log_that_is_exchanged_while_it_reads(scene: Scene, after: int) -> None:
    *before, _ = entries(scene)
    created = entry_of(scene, "key_created", "plain")
    node = scene.open()
    ledger = _Meanwhile(node.ledger, lambda: rechain(scene, [*before, created]))
    trail = Trail(ledger=cast(Ledger, ledger), keyring=node.records.keyring, log=node.records.log)
    with pytest.raises(IntegrityError):
        trail.events(TENANTS, after=after, limit=1_000)


def test_details_may_be_erased_while_the_log_still_holds(scene: Scene) -> None:
    running = scene.open()
    truth = shown(running)
    scene.attacker.put_log([replace(entry, details=None) for entry in entries(scene)])
    for node in (running, scene.open()):
        assert shown(node) == [replace(event, details={}) for event in truth]
        assert scene.ask(node) == scene.honest


@before_and_after_the_start
def test_entries_sealed_by_another_installation_under_the_same_kek_close_a_node(
    scene: Scene, when: When, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/other.db"
    initialise(url, LocalKeyWrapper(Secret(scene.kek)), with_first_key=True)
    foreign = attacker_on(url)
    if when == "stopped":
        rechain(scene, [*entries(scene), *foreign.log()[1:]])
        with pytest.raises(IntegrityError, match="seal"):
            scene.open()
        scene.attacker.put_image(scene.chronicle.end)
        scene.attacker.set_sealed_head(foreign.sealed_head())
        with pytest.raises(IntegrityError):
            scene.open()
        return
    node = scene.node(when, lambda: rechain(scene, [*entries(scene), *foreign.log()[1:]]))
    assert set(scene.ask(node).values()) == {"integrity_failed"}


# -- together with rows


def put_another_in_its_place(scene: Scene) -> None:
    """An entry that is sealed as well, where the revocation stood, so that every later position stays what it was."""
    created = entry_of(scene, "key_created", "plain")
    rechain(scene, [created if entry == revocation(scene) else entry for entry in entries(scene)])


@before_and_after_the_start
@pytest.mark.parametrize("head", ["keys issued", "scope narrowed", "another resumed"])
@pytest.mark.parametrize("replace_it", [cut_out_and_rechain, put_another_in_its_place])
def test_a_revocation_cannot_be_taken_out_of_the_log_whatever_sealed_head_there_is(
    scene: Scene, when: When, head: str, replace_it: Callable[[Scene], None]
) -> None:
    """Each entry's seal vouches for the log as its writer had read it, and those who wrote afterwards had read it."""
    older = scene.chronicle.moments[head].sealed_head
    assert older is not None
    assert older.position < revocation(scene).position

    def attack() -> None:
        replace_it(scene)
        scene.attacker.set_sealed_head(older)
        scene.attacker.put_rows(scene.held["revoked", 1])

    if when == "stopped":
        attack()
        with pytest.raises(IntegrityError):
            scene.open()
    else:
        assert set(scene.ask(scene.node(when, attack)).values()) == {"integrity_failed"}


def test_an_entry_can_be_cut_out_only_while_nobody_who_has_read_it_has_written(scene: Scene) -> None:
    """What two nodes write at once neither entry's seal vouches for. It also takes a sealed head from before both."""
    first, second = scene.open(), scene.open()
    revoking, issuing = Narrator(first, scene.clock), Narrator(second, scene.clock)
    revoking.keys = dict(scene.chronicle.keys)
    revoking.revoke("plain")
    issuing.issue("powerful")  # by a node that has not read of the revocation
    rows = scene.attacker.rows()

    def cut_out_revocation() -> None:
        *before, revoked, issued = scene.attacker.log()[: len(entries(scene)) + 2]
        later = scene.attacker.log()[len(entries(scene)) + 2 :]
        assert decode_entry(revoked.entry).type == "key_revoked"
        rechain(scene, [*before, issued, *later])
        scene.attacker.set_sealed_head(scene.chronicle.end.sealed_head)
        scene.attacker.put_rows(scene.chronicle.now("plain"))

    whole = scene.attacker.image()
    cut_out_revocation()
    assert scene.ask_one(scene.open(), "plain").valid
    scene.attacker.set_sealed_head(whole.sealed_head)
    with pytest.raises(IntegrityError):
        scene.open()
    scene.attacker.put_image(whole)
    assert scene.attacker.rows() == rows
    issuing.issue("acme-third")  # by a node that has, for it reads what it has written
    cut_out_revocation()
    with pytest.raises(IntegrityError):
        scene.open()


@pytest.mark.parametrize("attack", [cut_off_last, remove_head_and_last, edit_last_hash, append_forged])
@pytest.mark.parametrize("row", ["revoked", "scope", "owner acme"])
def test_an_older_row_together_with_an_altered_log_gains_nothing(
    scene: Scene, attack: Callable[[Scene], None], row: str
) -> None:
    def both() -> None:
        attack(scene)
        scene.attacker.put_rows(scene.held[row, 1])

    node = scene.node("running", both)
    assert set(scene.ask(node).values()) == {"integrity_failed"}
    scene.close()
    with pytest.raises(IntegrityError):
        scene.open()


# -- closed


def closed_node(scene: Scene) -> Node:
    node = scene.node("running", lambda: cut_off_last(scene))
    assert not scene.ask_one(node, "plain")
    assert node.records.log.is_broken
    return node


def test_a_closed_node_manages_nothing_that_it_would_have_to_read(scene: Scene) -> None:
    node = closed_node(scene)
    it = Narrator(node, scene.clock)
    it.keys = dict(scene.chronicle.keys)
    acts: Sequence[Callable[[], object]] = (
        lambda: it.revoke("plain"),
        lambda: it.suspend("plain"),
        lambda: it.resume("suspended"),
        lambda: it.destroy("plain"),
        lambda: it.update("plain", name="other"),
        lambda: it.revoke_owner("acme"),
        lambda: it.issue("calm"),
        lambda: node.reader.list(by(), KeyFilter()),
        lambda: node.reader.material(scene.key_id("signing"), by()),
    )
    for act in acts:
        with pytest.raises(IntegrityError):
            act()


def test_a_closed_node_issues_nothing(scene: Scene) -> None:
    node = closed_node(scene)
    with pytest.raises(IntegrityError):
        Narrator(node, scene.clock).issue("plain")


def test_a_closed_node_adds_nothing_to_a_log_that_does_not_hold(scene: Scene) -> None:
    node = scene.open()
    scene.attacker.put_rows(scene.held["revoked", 1])
    assert scene.ask_one(node, "revoked").code == "integrity_failed"
    cut_off_last(scene)
    scene.clock.wait(60)
    assert scene.ask_one(node, "plain").code == "integrity_failed"
    node.close()
    assert len(scene.attacker.log()) == len(entries(scene)) - 1


def test_a_closed_node_shows_no_audit_trail(scene: Scene) -> None:
    node = closed_node(scene)
    with pytest.raises(IntegrityError):
        shown(node)
