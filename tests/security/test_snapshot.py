"""The snapshot of the floor, from which a node starts that need not read the whole log."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.bootstrap import Node, initialise, open_node
from keyturn.domain.entry import chain_start
from keyturn.domain.floor import Floor
from keyturn.domain.secret import Secret
from keyturn.errors import IntegrityError
from keyturn.ports.ledger import Snapshot
from keyturn.records.log_reader import LogReader
from keyturn.records.sealed_state import load_snapshot, make_snapshot
from tests.security.history import LAST_REVISIONS
from tests.security.scene import PROBES, Scene
from tests.security.test_flipped_bytes import with_each_byte_changed

OLDER_FLOOR: Final = "suspended again"  # the moment of the older snapshot: before anything was revoked


def snapshot_of(node: Node) -> Snapshot:
    """What the node would save on a long log."""
    log = node.records.log
    made = make_snapshot(node.records.keyring, node.ledger.log_id, *log.seen, log.floor)
    assert made is not None
    return made


@pytest.fixture
def snapshot(scene: Scene) -> Snapshot:
    """A snapshot of the end, in the store."""
    taken = snapshot_of(scene.open())
    scene.close()
    scene.attacker.set_snapshot(taken)
    return taken


@pytest.fixture
def older(scene: Scene, snapshot: Snapshot) -> Snapshot:
    """A snapshot that was taken earlier, and is in the store no more."""
    end = scene.attacker.image()
    scene.attacker.put_image(scene.chronicle.moments[OLDER_FLOOR])
    taken = snapshot_of(scene.open())
    scene.close()
    scene.attacker.put_image(end)
    assert taken.position < snapshot.position
    return taken


def test_a_node_that_starts_from_a_snapshot_answers_as_ever(scene: Scene, snapshot: Snapshot) -> None:
    assert scene.ask(scene.open()) == scene.honest


def test_a_snapshot_stands_for_the_entries_before_it(scene: Scene, snapshot: Snapshot) -> None:
    """A control: the floor of the tests below is the snapshot's, not one that was read from the log."""
    scene.attacker.delete_entries(*range(1, snapshot.position))
    assert scene.ask(scene.open()) == scene.honest
    scene.close()
    scene.attacker.set_snapshot(None)
    with pytest.raises(IntegrityError):
        scene.open()


@pytest.mark.parametrize(
    ("name", "revision"), [(name, 1) for name, last in LAST_REVISIONS.items() if last > 1]
)
def test_a_snapshots_floor_refuses_older_rows(
    scene: Scene, snapshot: Snapshot, name: str, revision: int
) -> None:
    scene.attacker.delete_entries(*range(1, snapshot.position))
    scene.attacker.put_rows(scene.held[name, revision])
    refused = scene.resting_on(name)
    answers = scene.ask(scene.open(), ["plain", *refused])
    assert (
        answers.items()
        <= (
            scene.honest | {(label, probe): "integrity_failed" for label in refused for probe in PROBES}
        ).items()
    )


def test_a_snapshots_floor_misses_an_owners_row(scene: Scene, snapshot: Snapshot) -> None:
    scene.attacker.delete_entries(*range(1, snapshot.position))
    scene.attacker.delete_rows(scene.chronicle.now("owner bolt").id)
    assert scene.ask_one(scene.open(), "bolt-first").code == "integrity_failed"


def test_without_its_snapshot_a_node_reads_the_whole_log(scene: Scene, snapshot: Snapshot) -> None:
    scene.attacker.set_snapshot(None)
    scene.attacker.put_rows(scene.held["revoked", 1])
    node = scene.open()
    assert scene.ask_one(node, "revoked").code == "integrity_failed"
    assert scene.ask_one(node, "plain").valid


def test_an_older_snapshot_in_place_of_a_newer_one_gains_nothing(scene: Scene, older: Snapshot) -> None:
    scene.attacker.set_snapshot(older)
    scene.attacker.put_rows(scene.held["revoked", 1])
    node = scene.open()
    assert scene.ask_one(node, "revoked").code == "integrity_failed"
    assert scene.ask(node, ["plain", "scope", "bolt-first"]).items() <= scene.honest.items()


def packed(floor: Floor) -> bytes:
    return zlib.compress(floor.to_bytes(), 1)


FORGERIES: Final[Mapping[str, Callable[[Snapshot, Snapshot], Snapshot]]] = {
    "an empty floor": lambda now, then: replace(now, body=packed(Floor())),
    "an older floor": lambda now, then: replace(now, body=then.body),
    "an older floor and its seal": lambda now, then: replace(now, body=then.body, seal=then.seal),
    "an older floor at today's position": lambda now, then: replace(
        then, position=now.position, hash=now.hash
    ),
    "an older position": lambda now, then: replace(now, position=then.position, hash=then.hash),
    "a position more": lambda now, then: replace(now, position=now.position + 1),
    "a position less": lambda now, then: replace(now, position=now.position - 1),
    "no position": lambda now, then: replace(now, position=0),
    "another hash": lambda now, then: replace(now, hash=then.hash),
    "no seal": lambda now, then: replace(now, seal=b""),
    "an older seal": lambda now, then: replace(now, seal=then.seal),
    "no body": lambda now, then: replace(now, body=b""),
    "a body that does not unpack": lambda now, then: replace(now, body=b"\xff" * 100),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_no_node_starts_from_a_forged_snapshot(
    scene: Scene, snapshot: Snapshot, older: Snapshot, name: str
) -> None:
    forged = FORGERIES[name](snapshot, older)
    assert forged != snapshot
    scene.attacker.set_snapshot(forged)
    scene.attacker.put_rows(scene.held["revoked", 1])
    with pytest.raises(IntegrityError):
        scene.open()


@pytest.mark.parametrize("part", ["body", "hash", "seal"])
def test_a_snapshot_in_which_one_bit_differs_is_refused(scene: Scene, snapshot: Snapshot, part: str) -> None:
    node = scene.open()

    def read_from_the_snapshot() -> LogReader:
        return LogReader(ledger=node.ledger, keyring=node.records.keyring, clock=scene.clock)

    for altered in with_each_byte_changed(getattr(snapshot, part), 0x01):
        changes: dict[str, Any] = {part: altered}
        scene.attacker.set_snapshot(replace(snapshot, **changes))
        with pytest.raises(IntegrityError):
            read_from_the_snapshot()
    with pytest.raises(IntegrityError):
        scene.open()
    scene.attacker.set_snapshot(snapshot)
    assert read_from_the_snapshot().position == snapshot.position


def test_no_node_starts_from_the_snapshot_of_another_installation(
    scene: Scene, snapshot: Snapshot, tmp_path: Path
) -> None:
    url, wrapper = f"sqlite:///{tmp_path}/other.db", LocalKeyWrapper(Secret(scene.kek))
    initialise(url, wrapper, with_first_key=False)
    other = open_node(url, wrapper)
    scene.attacker.set_snapshot(snapshot_of(other))
    other.close()
    with pytest.raises(IntegrityError):
        scene.open()


def test_no_node_starts_from_a_snapshot_on_a_log_that_ends_before_it(
    scene: Scene, snapshot: Snapshot
) -> None:
    then = scene.chronicle.moments[OLDER_FLOOR]
    scene.attacker.put_image(replace(then, snapshot=snapshot))
    with pytest.raises(IntegrityError, match="vouched for"):
        scene.open()


def test_no_node_starts_from_a_snapshot_on_a_log_that_was_chained_anew_under_it(
    scene: Scene, snapshot: Snapshot
) -> None:
    last = scene.chronicle.end.log[-1]
    scene.attacker.put_entries(replace(last, hash=chain_start(scene.attacker.log_id())))
    with pytest.raises(IntegrityError):
        scene.open()


def test_a_running_node_needs_no_snapshot_and_trusts_none_that_was_altered(
    scene: Scene, snapshot: Snapshot
) -> None:
    node = scene.open()
    scene.attacker.set_snapshot(replace(snapshot, body=packed(Floor())))
    scene.clock.wait(60)
    assert scene.ask(node) == scene.honest
    last = scene.chronicle.end.log[-1]
    scene.attacker.delete_entries(last.position)  # which makes the node read everything anew
    scene.clock.wait(60)
    assert set(scene.ask(node).values()) == {"integrity_failed"}


def test_a_snapshot_says_what_the_log_said(scene: Scene, snapshot: Snapshot) -> None:
    node = scene.open()
    loaded = load_snapshot(node.records.keyring, node.ledger.log_id, snapshot)
    scene.attacker.set_snapshot(None)
    read = LogReader(ledger=node.ledger, keyring=node.records.keyring, clock=scene.clock)
    assert loaded is not None
    assert loaded.floor.to_bytes() == read.floor.to_bytes()
