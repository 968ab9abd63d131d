"""Every byte of what a decision rests on, changed one at a time: bodies, seals, sealed material.

Here the attacker has made the columns of the rows' table plain ones first. The database itself would refuse many of
these bodies, because its index columns are generated from them; whoever can write to it can change that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from keyturn.bootstrap import Node
from keyturn.errors import IntegrityError
from keyturn.records.log_reader import LogReader
from tests.security.attacker import SuperuserAttacker, rechained
from tests.security.scene import Scene

each_row = pytest.mark.parametrize(
    ("name", "label"),
    [
        ("plain", "plain"),  # at its first revision, where the seal alone decides
        ("version of plain", "plain"),
        ("resumed", "resumed"),  # changed since
        ("owner bolt", "bolt-second"),
    ],
)
each_secret = pytest.mark.parametrize("label", ["recoverable", "signing"])


def with_each_byte_changed(whole: bytes, *masks: int) -> Iterator[bytes]:
    assert whole
    for index, byte in enumerate(whole):
        for mask in masks:
            yield whole[:index] + bytes([byte ^ mask]) + whole[index + 1 :]


def reported_rows(scene: Scene, node: Node) -> list[str]:
    node.recorder.flush()
    return [finding.row for finding in scene.findings()]


@each_row
def test_a_body_in_which_one_bit_differs_is_refused(loose_scene: Scene, name: str, label: str) -> None:
    row, node = loose_scene.chronicle.now(name), loose_scene.open()
    for body in with_each_byte_changed(row.body.encode(), 0x01):
        loose_scene.attacker.set_body(row.id, body)
        assert loose_scene.ask_one(node, label).code == "integrity_failed", body
    assert loose_scene.ask_one(loose_scene.open(), label).code == "integrity_failed"
    assert reported_rows(loose_scene, node) == [row.id]
    loose_scene.attacker.set_body(row.id, row.body.encode())
    assert loose_scene.ask_one(node, label).valid, "it was the bit that was refused"


@each_row
def test_a_seal_in_which_one_byte_differs_is_refused(loose_scene: Scene, name: str, label: str) -> None:
    row, node = loose_scene.chronicle.now(name), loose_scene.open()
    for seal in (*with_each_byte_changed(row.seal, 0x01, 0x80, 0xFF), row.seal[:-1], row.seal + b"\0"):
        loose_scene.attacker.set_column(row.id, "seal", seal)
        assert loose_scene.ask_one(node, label).code == "integrity_failed", seal
    assert loose_scene.ask_one(loose_scene.open(), label).code == "integrity_failed"
    assert reported_rows(loose_scene, node) == [row.id]
    loose_scene.attacker.set_column(row.id, "seal", row.seal)
    assert loose_scene.ask_one(node, label).valid


@each_secret
def test_sealed_material_in_which_one_byte_differs_is_refused(scene: Scene, label: str) -> None:
    row, node = scene.chronicle.now(f"version of {label}"), scene.open()
    assert row.material is not None
    cut = (row.material[:-1], row.material + b"\0", row.material[:40], b"")
    for material in (*with_each_byte_changed(row.material, 0x01, 0x80), *cut):
        scene.attacker.set_column(row.id, "material", material)
        assert scene.material(node, label) == "integrity_failed", material
    scene.attacker.set_column(row.id, "material", row.material)
    assert scene.material(node, label) == scene.token(label)


@each_secret
def test_missing_material_is_told_from_material_that_never_was(scene: Scene, label: str) -> None:
    node = scene.open()
    scene.attacker.set_column(scene.chronicle.now(f"version of {label}").id, "material", None)
    assert scene.material(node, label) == "integrity_failed"


@each_secret
def test_altered_material_is_reported(scene: Scene, label: str) -> None:
    node = scene.open()
    scene.attacker.set_column(scene.chronicle.now(f"version of {label}").id, "material", bytes(100))
    assert scene.material(node, label) == "integrity_failed"
    assert reported_rows(scene, node) == [scene.chronicle.now(f"version of {label}").id]


@pytest.mark.parametrize("part", ["entry", "entry, chained anew", "seal", "hash"])
def test_an_entry_in_which_one_bit_differs_is_refused_by_readers_and_by_the_trail(
    scene: Scene, part: str
) -> None:
    node = scene.open()
    last, older = scene.chronicle.end.log[-1], scene.chronicle.moments["keys issued"].sealed_head
    scene.attacker.set_sealed_head(older)  # so that the entry's own seal has to hold

    def read() -> LogReader:
        return LogReader(ledger=node.ledger, keyring=node.records.keyring, clock=scene.clock)

    assert read().position == last.position
    for altered in with_each_byte_changed(getattr(last, part.partition(",")[0]), 0x01):
        changes: dict[str, Any] = {part.partition(",")[0]: altered}
        *before, entry = (*scene.chronicle.end.log[:-1], replace(last, **changes))
        log = rechained(scene.attacker.log_id(), [*before, entry]) if "anew" in part else [*before, entry]
        scene.attacker.put_entries(log[-1])
        with pytest.raises(IntegrityError):
            read()
    with pytest.raises(IntegrityError):
        node.trail.events(["default"])
    scene.attacker.put_entries(last)
    assert read().position == last.position


@each_row
def test_a_body_that_is_no_utf_8_gains_nothing(loose_scene: Scene, name: str, label: str) -> None:
    row, node = loose_scene.chronicle.now(name), loose_scene.open()
    for body in with_each_byte_changed(row.body.encode(), 0x80):
        if isinstance(loose_scene.attacker, SuperuserAttacker):
            with pytest.raises(psycopg.DataError):  # PostgreSQL keeps no such text, whoever asks
                loose_scene.attacker.set_body(row.id, body)
        else:
            loose_scene.attacker.set_body(row.id, body)
            assert not loose_scene.ask_one(node, label)
            assert loose_scene.status(node, label) != "active" or name != label
    loose_scene.attacker.set_body(row.id, row.body.encode())
    assert loose_scene.ask_one(node, label).valid


def test_a_body_that_is_no_utf_8_is_found_and_reported(loose_scene: Scene) -> None:
    row, node = loose_scene.chronicle.now("plain"), loose_scene.open()
    body = b"\xff" + row.body.encode()[1:]
    if isinstance(loose_scene.attacker, SuperuserAttacker):
        with pytest.raises(psycopg.DataError):
            loose_scene.attacker.set_body(row.id, body)
        return
    loose_scene.attacker.set_body(row.id, body)
    assert loose_scene.ask_one(node, "plain").code == "integrity_failed"
    assert loose_scene.status(node, "plain") == "integrity_failed"
    # Which row it was cannot be read; which token was asked about can.
    assert reported_rows(loose_scene, node) == [
        f"credential {loose_scene.chronicle.keys['plain'].credential_id}"
    ]
