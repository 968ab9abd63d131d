"""Sealing rows anew blesses nothing: what was altered, put back or exchanged is reported, and stays refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import pytest

from keyturn.bootstrap import Node
from keyturn.custody.resealing import Progress
from keyturn.errors import ConflictError, IntegrityError
from keyturn.ports.ledger import Reseal, Row
from tests.security.history import LAST_REVISIONS, by
from tests.security.scene import TAMPERED, Scene
from tests.security.test_older_rows import OLDER
from tests.security.test_sealed_for_nothing import lost_widening, put_sealed

LABELLED: Final = [(name, revision) for name, revision in OLDER if name != "keyring"]


def rotated(scene: Scene) -> Node:
    """A node on the store, to which a data key was just added: every row is under an older one."""
    node = scene.open()
    node.keyring_changes.add_data_key(by())
    return node


def reseal(node: Node) -> Progress:
    return list(node.resealer.run(by()))[-1]


def retire(node: Node) -> None:
    for _ in node.keyring_changes.retire(by()):
        pass


def stored(scene: Scene, row_id: str) -> Row:
    return scene.attacker.rows()[row_id]


def assert_left_alone(scene: Scene, node: Node, planted: Row, *, seal: bytes | None = None) -> None:
    """A run refuses this row, seals all others anew, tells the log, and nothing can be retired over it."""
    done = reseal(node)
    assert done.named == (planted.id,)
    assert (done.refused, done.resealed) == (1, done.rows - 1)
    assert stored(scene, planted.id) == planted
    node.recorder.flush()
    after = len(scene.chronicle.end.log)
    assert planted.id in [finding.row for finding in scene.findings(after=after)]
    with pytest.raises(ConflictError, match="1 rows"):
        retire(node)


@pytest.mark.parametrize(("name", "revision"), LABELLED)
def test_an_older_row_is_not_sealed_anew(scene: Scene, name: str, revision: int) -> None:
    older, refused = scene.held[name, revision], scene.resting_on(name)
    node = rotated(scene)
    scene.attacker.put_rows(older)
    assert_left_alone(scene, node, older)
    for asked in (node, scene.open()):
        assert {code for (label, _), code in scene.ask(asked, refused).items() if label in refused} <= {
            TAMPERED
        }
        assert scene.ask_one(asked, "plain").valid


def edited(row: Row) -> Row:
    return replace(row, body=row.body.replace('"read"', '"full"', 1))


ALTERATIONS: Final[Mapping[str, Callable[[Scene], Row]]] = {
    "an edited body": lambda scene: edited(scene.chronicle.now("plain")),
    "another tenant": lambda scene: replace(scene.chronicle.now("plain"), tenant="other"),
    "another revision": lambda scene: replace(scene.chronicle.now("scope"), revision=7),
    "no seal": lambda scene: replace(scene.chronicle.now("plain"), seal=b""),
    "a seal of another row": lambda scene: replace(
        scene.chronicle.now("plain"), seal=scene.chronicle.now("powerful").seal
    ),
    "another key's row under this id": lambda scene: replace(
        scene.chronicle.now("powerful"), id=scene.key_id("plain")
    ),
    "another's secret": lambda scene: replace(
        scene.chronicle.now("version of signing"),
        material=scene.chronicle.now("version of recoverable").material,
    ),
    "a secret cut short": lambda scene: replace(
        scene.chronicle.now("version of signing"),
        material=(scene.chronicle.now("version of signing").material or b"")[:-1],
    ),
    "no bytes for a secret": lambda scene: replace(scene.chronicle.now("version of signing"), material=b""),
}


@pytest.mark.parametrize("name", ALTERATIONS)
def test_a_row_that_was_altered_is_not_sealed_anew(scene: Scene, name: str) -> None:
    node, altered = rotated(scene), ALTERATIONS[name](scene)
    assert altered != stored(scene, altered.id)
    scene.attacker.put_rows(altered)
    assert_left_alone(scene, node, altered)
    assert scene.ask_one(node, "network").valid


@pytest.mark.parametrize("label", ["scope", "revoked", "suspended"])
def test_a_row_of_a_change_that_lost_is_not_sealed_anew(scene: Scene, label: str) -> None:
    commit = lost_widening(scene, label)
    node = rotated(scene)
    put_sealed(scene, commit)
    assert_left_alone(scene, node, stored(scene, scene.key_id(label)))
    assert scene.ask_one(scene.open(), label).code == TAMPERED


def test_a_row_that_is_exchanged_after_it_was_checked_is_sealed_for_nobody(scene: Scene) -> None:
    """The new seal is over the body that was checked, and goes only beside the seal that was checked."""
    node, today = rotated(scene), scene.chronicle.now("scope")
    wide = scene.held["scope", 1]
    calls: list[int] = []
    inner = node.ledger.reseal

    def exchange_first(reseals: Sequence[Reseal]) -> int:
        if not calls:
            # The seal and the revision that are compared stay; the body is that of before.
            scene.attacker.put_rows(replace(today, body=wide.body))
        calls.append(len(reseals))
        return inner(reseals)

    node.ledger.reseal = exchange_first  # type: ignore[method-assign]
    reseal(node)
    assert calls
    assert scene.ask_one(scene.open(), "scope").code == TAMPERED
    assert scene.ask_one(scene.open(), "scope", "full scope").code == TAMPERED


def test_destroyed_secrets_that_are_put_back_stay_out_of_reach(scene: Scene) -> None:
    material = scene.held["version of retired", 1].material
    node, row_id = rotated(scene), scene.chronicle.now("version of retired").id
    assert material is not None
    scene.attacker.set_column(row_id, "material", material)
    reseal(node)
    retire(node)
    assert stored(scene, row_id).material == material, "not sealed anew"
    for asked in (node, scene.open()):
        assert scene.status(asked, "retired") == "destroyed"
        assert scene.material(asked, "retired") in (TAMPERED, "illegal_transition")


def test_rows_that_were_swallowed_by_the_store_are_missed_when_data_keys_are_retired(scene: Scene) -> None:
    node = rotated(scene)
    with scene.attacker.swallowing():
        reseal(node)
    with pytest.raises(ConflictError, match="still sealed under older"):
        retire(node)
    assert scene.ask(node) == scene.honest


def test_on_an_altered_log_nothing_is_sealed_anew(scene: Scene) -> None:
    node = rotated(scene)
    last = scene.attacker.log()[-1]
    scene.attacker.put_entries(replace(last, position=last.position + 1, hash=bytes(32)))
    before = scene.attacker.rows()
    with pytest.raises(IntegrityError):
        reseal(node)
    assert scene.attacker.rows() == before


def test_the_whole_history_is_answered_as_before(scene: Scene) -> None:
    node, beside = rotated(scene), scene.open()
    done = reseal(node)
    assert (done.rows, done.resealed, done.refused) == (len(LAST_REVISIONS), len(LAST_REVISIONS), 0)
    retire(node)
    for asked in (node, beside, scene.open()):
        assert scene.ask(asked) == scene.honest
        assert scene.material(asked, "signing") == scene.token("signing")
        assert scene.owners_status(asked, "acme") == "issued in epoch 2"
    assert scene.findings() == []
