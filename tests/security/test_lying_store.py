"""A store that is changed itself: columns that hold anything, triggers that swallow what is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import pytest

from keyturn.errors import KeyturnError
from tests.security.history import Narrator
from tests.security.scene import TAMPERED, Scene

# -- columns that hold anything


def handle(scene: Scene, label: str) -> str:
    credential_id = scene.chronicle.keys[label].credential_id
    assert credential_id is not None
    return credential_id


@dataclass(frozen=True, slots=True)
class Misdirection:
    """An index column that leads a look-up of the token of `plain` to other rows."""

    do: Callable[[Scene], None]
    code: str


def point_handle_at(scene: Scene, row_id: str, key_id: str | None = None) -> None:
    """Let the handle of `plain` lead to this row instead of its own."""
    scene.attacker.set_column(scene.chronicle.now("version of plain").id, "credential_id", None)
    scene.attacker.set_column(row_id, "credential_id", handle(scene, "plain"))
    if key_id is not None:
        scene.attacker.set_column(row_id, "key_id", key_id)


def point(scene: Scene, name: str, column: str, value: str | None) -> None:
    scene.attacker.set_column(scene.chronicle.now(name).id, column, value)


MISDIRECTIONS: Final[Mapping[str, Misdirection]] = {
    "the handle at another key's version": Misdirection(
        lambda scene: point_handle_at(scene, scene.chronicle.now("version of powerful").id), TAMPERED
    ),
    "the handle at a version without a token": Misdirection(
        lambda scene: point_handle_at(scene, scene.chronicle.now("version of signing").id), TAMPERED
    ),
    "the handle at a key": Misdirection(
        lambda scene: point_handle_at(scene, scene.key_id("plain"), scene.key_id("plain")), TAMPERED
    ),
    "the handle at an owner": Misdirection(
        lambda scene: point_handle_at(scene, scene.chronicle.now("owner bolt").id, scene.key_id("plain")),
        TAMPERED,
    ),
    "the version at another key": Misdirection(
        lambda scene: point(scene, "version of plain", "key_id", scene.key_id("powerful")), TAMPERED
    ),
    "the version at itself": Misdirection(
        lambda scene: point(scene, "version of plain", "key_id", scene.chronicle.now("version of plain").id),
        TAMPERED,
    ),
    "the version at an owner": Misdirection(
        lambda scene: point(scene, "version of plain", "key_id", scene.chronicle.now("owner bolt").id),
        TAMPERED,
    ),
    "the version at nothing": Misdirection(
        lambda scene: point(scene, "version of plain", "key_id", None), "not_found"
    ),
    "a key without an owner at one": Misdirection(
        lambda scene: point(scene, "plain", "owner_row", scene.chronicle.now("owner bolt").id), TAMPERED
    ),
    "a key without an owner at a key": Misdirection(
        lambda scene: point(scene, "plain", "owner_row", scene.key_id("powerful")), TAMPERED
    ),
    "no seal": Misdirection(lambda scene: point(scene, "plain", "seal", None), TAMPERED),
    "no body": Misdirection(lambda scene: point(scene, "plain", "body", None), TAMPERED),
    "no tenant": Misdirection(lambda scene: point(scene, "plain", "tenant", None), TAMPERED),
    "no kind": Misdirection(lambda scene: point(scene, "plain", "kind", None), TAMPERED),
    "no revision": Misdirection(lambda scene: point(scene, "plain", "revision", None), TAMPERED),
    "no place": Misdirection(lambda scene: point(scene, "plain", "created", None), "valid"),
    "a body that is no JSON": Misdirection(lambda scene: point(scene, "plain", "body", "{"), TAMPERED),
    "an empty body": Misdirection(lambda scene: point(scene, "plain", "body", ""), TAMPERED),
}


@pytest.mark.parametrize("name", MISDIRECTIONS)
def test_a_look_up_that_is_led_astray_finds_nothing_or_tampering(loose_scene: Scene, name: str) -> None:
    attack, running = MISDIRECTIONS[name], loose_scene.open()
    attack.do(loose_scene)
    for node in (running, loose_scene.open()):
        assert loose_scene.ask_one(node, "plain").code == attack.code
        assert loose_scene.ask_one(node, "calm").valid


@pytest.mark.parametrize("label", ["bolt-first", "acme-first"])
def test_a_key_whose_column_names_no_owner_or_another_is_still_its_owners(
    loose_scene: Scene, label: str
) -> None:
    own = f"owner {label.partition('-')[0]}"
    (wrong,) = {"owner acme", "owner bolt"} - {own}
    running = loose_scene.open()
    for name, code in ((None, TAMPERED), (wrong, TAMPERED), (own, "revoked")):
        owner_row = None if name is None else loose_scene.chronicle.now(name).id
        point(loose_scene, label, "owner_row", owner_row)
        for node in (running, loose_scene.open()):
            assert loose_scene.ask_one(node, label).code == code


@pytest.mark.parametrize(
    "column",
    ["seal", "body", "revision", "tenant", "kind"],
)
def test_management_refuses_a_row_in_which_a_column_is_empty(loose_scene: Scene, column: str) -> None:
    node = loose_scene.open()
    loose_scene.attacker.set_column(loose_scene.key_id("plain"), column, None)
    assert loose_scene.status(node, "plain") == TAMPERED


# -- writes that vanish


@pytest.mark.parametrize("act", ["revoke", "suspend", "destroy", "narrow", "revoke the owner"])
def test_an_act_that_the_store_swallows_is_not_reported_as_done(scene: Scene, act: str) -> None:
    node = scene.open()
    it = Narrator(node, scene.clock)
    it.keys = dict(scene.chronicle.keys)
    label = "acme-third" if act == "revoke the owner" else "powerful"
    assert scene.ask_one(node, label).valid
    acts: Mapping[str, Callable[[], None]] = {
        "revoke": lambda: it.revoke(label),
        "suspend": lambda: it.suspend(label),
        "destroy": lambda: it.destroy(label),
        "narrow": lambda: it.update(label, permissions=("documents.read",)),
        "revoke the owner": lambda: it.revoke_owner("acme"),
    }
    with scene.attacker.swallowing(), pytest.raises(KeyturnError):
        acts[act]()
