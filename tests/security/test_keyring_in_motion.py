"""The keyring's row once it has changed: older ones put back, those of changes that lost; seals that name no key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import pytest

from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.bootstrap import Node, open_log
from keyturn.crypto.keyring import KEYRING_ROW
from keyturn.custody.changing import KeyringChanges
from keyturn.domain.secret import Secret
from keyturn.errors import ConflictError, IntegrityError
from keyturn.ports.ledger import Commit, Ledger, Row
from tests.security.attacker import rechained
from tests.security.history import by
from tests.security.scene import TAMPERED, WHEN, Scene, When
from tests.security.test_resealing import reseal, retire
from tests.security.test_sealed_for_nothing import _Watched, as_stored, records_over

UNKNOWN = (77).to_bytes(4, "big")


def test_an_older_keyring_that_is_put_back_opens_no_node_and_lets_a_running_one_change_nothing(
    scene: Scene,
) -> None:
    older = scene.chronicle.now("keyring")
    running = scene.open()
    running.keyring_changes.add_data_key(by())
    reseal(running)
    scene.attacker.put_rows(older)
    with pytest.raises(IntegrityError):
        scene.open()
    scene.clock.wait(60)
    assert scene.ask(running) == scene.honest
    assert scene.owners_status(running, "acme") == TAMPERED
    with pytest.raises(IntegrityError):
        running.keyring_changes.add_data_key(by())


def test_a_node_that_reads_of_a_keyring_which_is_not_there_closes(scene: Scene) -> None:
    older, slow, running = scene.chronicle.now("keyring"), scene.open(), scene.open()
    running.keyring_changes.add_data_key(by())
    scene.attacker.put_rows(older)
    scene.clock.wait(60)
    assert set(scene.ask(slow, ["plain", "powerful"]).values()) == {TAMPERED}


def test_a_store_that_went_back_between_the_entry_and_the_row_does_not(scene: Scene) -> None:
    """A failover that lost the change of the keyring: the log is read anew, and nothing is taken for tampering."""
    slow, running = scene.open(), scene.open()
    before = scene.attacker.image()
    running.keyring_changes.add_data_key(by())
    inner = slow.ledger.read
    went_back: list[bool] = []

    def read(ids: Sequence[str]) -> list[Row | None]:
        if not went_back and list(ids) == [KEYRING_ROW]:
            went_back.append(True)
            scene.attacker.put_image(before)
        return inner(ids)

    slow.ledger.read = read  # type: ignore[method-assign]
    scene.clock.wait(60)
    assert scene.ask_one(slow, "plain").valid
    assert went_back
    assert not slow.records.log.is_broken
    assert scene.ask(slow) == scene.honest


def losing_change(scene: Scene, node: Node) -> Commit:
    """A change of the keyring as a node seals and sends it, which the store refuses because it comes too late."""
    sent: list[Commit] = []
    watched = cast(Ledger, _Overtaken(node, sent))
    changes = KeyringChanges(
        ledger=watched,
        records=records_over(cast(_Watched, watched), node),
        wrapper=LocalKeyWrapper(Secret(scene.kek)),
        clock=scene.clock,
    )
    with pytest.raises(ConflictError):
        changes.add_data_key(by())
    return sent[0]


class _Overtaken(_Watched):
    """A ledger on which somebody else changes the keyring first."""

    def __init__(self, node: Node, sent: list[Commit]) -> None:
        super().__init__(node.ledger, sent)
        self._node = node

    def commit(self, commit: Commit) -> int:
        if not self._sent:
            self._sent.append(commit)
            self._node.keyring_changes.add_data_key(by())
        return self._ledger.commit(commit)


def test_the_keyring_of_a_change_that_lost_is_none(scene: Scene) -> None:
    """Its seal holds and its keys unwrap: only the log says that it never was."""
    slow, node = scene.open(), scene.open()
    commit = losing_change(scene, node)
    right = scene.attacker.rows()[KEYRING_ROW]
    (row,) = commit.rows
    scene.attacker.put_rows(as_stored(row, right.position))
    with pytest.raises(IntegrityError):
        scene.open()
    scene.clock.wait(60)
    assert scene.ask_one(slow, "plain").code == TAMPERED, "it has to read the row, and finds another one"
    scene.attacker.put_rows(right)
    assert scene.ask(scene.open()) == scene.honest


def test_a_keyring_ahead_of_the_log_is_none(scene: Scene) -> None:
    node = scene.open()
    commit = losing_change(scene, node)
    (row,) = commit.rows
    scene.attacker.put_image(scene.chronicle.end)
    scene.attacker.put_rows(as_stored(row, len(scene.chronicle.end.log)))
    with pytest.raises(IntegrityError):
        scene.open()


@pytest.mark.parametrize("when", WHEN)
def test_a_row_under_a_data_key_that_nobody_has_is_tampered_with_and_not_too_new(
    scene: Scene, when: When
) -> None:
    """A data key that is only too new for this process is in the keyring's row, and the log says so."""
    row = scene.chronicle.now("plain")
    forged = replace(row, seal=row.seal[:1] + UNKNOWN + row.seal[5:])
    node = scene.node(when, lambda: scene.attacker.put_rows(forged))
    for _ in range(3):
        assert scene.ask_one(node, "plain").code == TAMPERED
    assert scene.ask_one(node, "powerful").valid
    node.recorder.flush()
    scene.assert_told(["plain"])


@pytest.mark.parametrize("when", WHEN)
def test_an_entry_under_a_data_key_that_nobody_has_closes_the_log(scene: Scene, when: When) -> None:
    log = list(scene.chronicle.end.log)
    last = log[-1]
    forged = replace(last, seal=last.seal[:1] + UNKNOWN + last.seal[5:])

    def attack() -> None:
        scene.attacker.put_log(rechained(scene.attacker.log_id(), [*log, forged]))

    if when == "stopped":
        attack()
        with pytest.raises(IntegrityError):
            scene.open()
    else:
        assert scene.ask_one(scene.node(when, attack), "plain").code == TAMPERED


def test_a_rollback_of_a_change_of_the_keyring_closes_a_running_node(scene: Scene) -> None:
    node = scene.open()
    node.keyring_changes.add_data_key(by())
    reseal(node)
    retire(node)
    scene.attacker.put_image(scene.chronicle.end)
    scene.clock.wait(60)
    assert set(scene.ask(node).values()) == {TAMPERED}


class _Changing:
    """A ledger on which the keyring changes as soon as somebody has read its row."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.has_changed = False

    def read(self, ids: Sequence[str]) -> list[Row | None]:
        found = self._node.ledger.read(ids)
        if not self.has_changed:
            self.has_changed = True
            self._node.keyring_changes.add_data_key(by())
            self._node.records.log.save_snapshot()
            reseal(self._node)
        return found

    def __getattr__(self, name: str) -> object:
        return getattr(self._node.ledger, name)


def test_a_node_starts_in_the_middle_of_changes(scene: Scene) -> None:
    """The keyring's row is read before the log: what the log then names may be newer."""
    node = scene.open()
    for _ in range(3):
        ledger = _Changing(node)
        keyring, log = open_log(cast(Ledger, ledger), LocalKeyWrapper(Secret(scene.kek)), scene.clock)
        assert ledger.has_changed
        assert keyring.primary == node.records.keyring.primary
        assert log.position == node.ledger.head()
