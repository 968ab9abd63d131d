"""The keyring's row: everything is sealed under keys that lie in it, wrapped."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pytest

from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.bootstrap import initialise
from keyturn.crypto.keyring_body import create_keyring
from keyturn.domain import canonical
from keyturn.domain.secret import Secret
from keyturn.errors import IntegrityError, SchemaError, WrongKekError
from keyturn.key_store import SecureKeyStore
from keyturn.ports.ledger import Row
from tests.security.attacker import FileAttacker, attacker_on
from tests.security.scene import Scene
from tests.security.test_flipped_bytes import with_each_byte_changed


def other_installation(scene: Scene, directory: Path, kek: bytes) -> Row:
    """The keyring's row of another installation."""
    url = f"sqlite:///{directory}/other.db"
    initialise(url, LocalKeyWrapper(Secret(kek)), with_first_key=False)
    return attacker_on(url).rows()["keyring"]


def with_members(row: Row, change: Callable[[dict[str, Any]], object]) -> Row:
    body = json.loads(row.body)
    change(body)
    return replace(row, body=canonical.encode(body))


def exchange_wrapped(body: dict[str, Any]) -> None:
    body["lookup_key"], body["deks"][0]["wrapped"] = body["deks"][0]["wrapped"], body["lookup_key"]


def add_dek(body: dict[str, Any]) -> None:
    body["deks"].append({**body["deks"][0], "version": 2})


def rename_dek(body: dict[str, Any]) -> None:
    body["deks"][0]["version"] = body["primary"] = 2


ALTERATIONS: Final[Mapping[str, Callable[[Row], Row]]] = {
    "wrapped keys exchanged": lambda row: with_members(row, exchange_wrapped),
    "a data key under another version": lambda row: with_members(row, rename_dek),
    "a data key twice": lambda row: with_members(row, add_dek),
    "no data keys": lambda row: with_members(row, lambda body: body.update(deks=[])),
    "no look-up key": lambda row: with_members(row, lambda body: body.pop("lookup_key")),
    "another primary": lambda row: with_members(row, lambda body: body.update(primary=2)),
    "another wrapper": lambda row: with_members(row, lambda body: body.update(wrapper="vault:mine")),
    "a member more": lambda row: with_members(row, lambda body: body.update(extra=True)),
    "another format": lambda row: with_members(row, lambda body: body.update(v=2)),
    "a body of another shape": lambda row: replace(row, body="[]"),
    "a body that is no JSON": lambda row: replace(row, body="{"),
    "a body that is not canonical": lambda row: replace(row, body=row.body.replace(",", ", ", 1)),
    "no seal": lambda row: replace(row, seal=b""),
    "another revision": lambda row: with_members(
        replace(row, revision=2), lambda body: body.update(revision=2)
    ),
    "another revision's column": lambda row: replace(row, revision=2),
    "another tenant's column": lambda row: replace(row, tenant="default"),
    "another kind's column": lambda row: replace(row, kind="owner"),
}


@pytest.mark.parametrize("name", ALTERATIONS)
def test_no_node_starts_on_an_altered_keyring(scene: Scene, name: str) -> None:
    row = scene.chronicle.now("keyring")
    altered = ALTERATIONS[name](row)
    assert altered != row
    scene.attacker.put_rows(altered)
    with pytest.raises(IntegrityError):
        scene.open()
    scene.attacker.put_rows(row)
    assert scene.ask(scene.open()) == scene.honest


def test_no_node_starts_without_its_keyring(scene: Scene) -> None:
    scene.attacker.delete_rows("keyring")
    with pytest.raises(IntegrityError, match="keyring is missing"):
        scene.open()
    with pytest.raises(IntegrityError, match="keyring is missing"):
        SecureKeyStore.open(scene.url, scene.kek)


@pytest.mark.parametrize("part", ["body", "seal"])
def test_no_node_starts_on_a_keyring_in_which_one_bit_differs(scene: Scene, part: str) -> None:
    row = scene.chronicle.now("keyring")
    whole = row.body.encode() if part == "body" else row.seal
    # All bytes in a file; every seventh in a server's tables, where a start takes longer and reads the same.
    every = 1 if isinstance(scene.attacker, FileAttacker) else 7
    for altered in islice(with_each_byte_changed(whole, 0x01), 0, None, every):
        if part == "body":
            scene.attacker.set_body("keyring", altered)
        else:
            scene.attacker.set_column("keyring", "seal", altered)
        with pytest.raises((IntegrityError, WrongKekError)):
            scene.open()


@pytest.mark.parametrize("is_the_same_kek", [True, False])
def test_no_node_starts_on_the_keyring_of_another_installation(
    scene: Scene, tmp_path: Path, *, is_the_same_kek: bool
) -> None:
    kek = scene.kek if is_the_same_kek else os.urandom(32)
    scene.attacker.put_rows(other_installation(scene, tmp_path, kek))
    with pytest.raises(IntegrityError if is_the_same_kek else WrongKekError):
        scene.open()


def test_no_node_starts_on_a_keyring_that_the_attacker_made_for_this_log(scene: Scene) -> None:
    wrapper = LocalKeyWrapper(Secret(os.urandom(32)))
    _, put = create_keyring(wrapper, scene.attacker.log_id())
    row = scene.chronicle.now("keyring")
    scene.attacker.put_rows(replace(row, body=canonical.encode(put.body)))
    with pytest.raises(WrongKekError):
        scene.open()


def test_no_node_starts_on_a_log_under_another_name(scene: Scene) -> None:
    with scene.attacker.another_log_id("0" * 16), pytest.raises(IntegrityError):
        scene.open()
    assert scene.ask_one(scene.open(), "plain").valid


def test_without_the_keyrings_row_a_running_node_decides_and_changes_nothing_until_it_is_back(
    scene: Scene,
) -> None:
    """Each change requires the row, so that nothing is sealed by a keyring that is no longer the store's."""
    node = scene.open()
    scene.attacker.delete_rows("keyring")
    scene.clock.wait(60)
    assert scene.ask(node) == scene.honest
    assert scene.material(node, "signing") == "integrity_failed"
    assert scene.owners_status(node, "acme") == "integrity_failed"
    scene.attacker.put_rows(scene.chronicle.now("keyring"))
    assert scene.material(node, "signing") == scene.token("signing")
    assert scene.owners_status(node, "acme") == "issued in epoch 2"
    node.recorder.flush()
    assert [finding.row for finding in scene.findings()] == ["keyring"]


def test_key_rows_without_log_and_keyring_are_worth_nothing_under_a_fresh_keyring(scene: Scene) -> None:
    end = scene.chronicle.end
    scene.attacker.put_image(replace(end, log=(), sealed_head=None, snapshot=None))
    scene.attacker.delete_rows("keyring")
    if isinstance(scene.attacker, FileAttacker):
        # A file needs no one to set it up: the library makes a keyring where there is neither one nor a log.
        with SecureKeyStore.open(scene.url, scene.kek) as store:
            assert store.authenticate(scene.token("powerful")).code == "integrity_failed"
    else:
        with pytest.raises(SchemaError):
            SecureKeyStore.open(scene.url, scene.kek)
