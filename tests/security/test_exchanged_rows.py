"""Rows in each other's places, missing rows, and columns that say other than the sealed body."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.bootstrap import initialise, open_node
from keyturn.domain.lifecycle import KeyState
from keyturn.domain.scope import KeyScope
from keyturn.domain.secret import Secret
from keyturn.errors import ConflictError, IntegrityError, NotFoundError
from keyturn.issuing.reading import KeyFilter
from keyturn.key_generator import SecureKeyGenerator
from keyturn.verifier.decision import NO_DEMAND
from tests.security.attacker import attacker_on
from tests.security.history import MEMBERS, HandClock, by
from tests.security.scene import GONE, TAMPERED, WHEN, Scene, When

before_and_after_the_start = pytest.mark.parametrize("when", WHEN)


# -- exchanged


def exchange(scene: Scene, first: str, second: str, *columns: str) -> None:
    """Let two rows have each other's columns."""
    one, other = scene.chronicle.now(first), scene.chronicle.now(second)
    scene.attacker.put_rows(
        replace(one, **{column: getattr(other, column) for column in columns}),
        replace(other, **{column: getattr(one, column) for column in columns}),
    )


def hand_over(scene: Scene, giver: str, receiver: str) -> None:
    """Put one row in another's place, under its id; the one that gives it is gone."""
    given, place = scene.chronicle.now(giver), scene.chronicle.now(receiver)
    scene.attacker.delete_rows(given.id)
    scene.attacker.put_rows(replace(given, id=place.id))


SEALED: Final = ("body", "seal")
OWNED: Final = ("acme-first", "acme-second", "acme-third", "bolt-first", "bolt-second")

EXCHANGES: Final[Mapping[str, tuple[Callable[[Scene], None], Mapping[str, str]]]] = {
    "bodies and seals of two keys": (
        lambda scene: exchange(scene, "plain", "powerful", *SEALED),
        {"plain": TAMPERED, "powerful": TAMPERED},
    ),
    "bodies and seals of two versions": (
        lambda scene: exchange(scene, "version of plain", "version of powerful", *SEALED),
        {"plain": TAMPERED, "powerful": TAMPERED},
    ),
    "seals of two keys": (
        lambda scene: exchange(scene, "plain", "powerful", "seal"),
        {"plain": TAMPERED, "powerful": TAMPERED},
    ),
    "ids of two keys": (
        lambda scene: exchange(scene, "plain", "powerful", "id"),
        {"plain": TAMPERED, "powerful": TAMPERED},
    ),
    "ids of two versions": (
        lambda scene: exchange(scene, "version of plain", "version of powerful", "id"),
        {"plain": TAMPERED, "powerful": TAMPERED},
    ),
    "rows of two tenants' keys": (
        lambda scene: exchange(scene, "plain", "foreign", "tenant", *SEALED),
        {"plain": TAMPERED, "foreign": TAMPERED},
    ),
    "rows of two owners": (
        lambda scene: exchange(scene, "owner acme", "owner bolt", "id"),
        dict.fromkeys(OWNED, TAMPERED),
    ),
    "a strong version in place of a weak one": (
        lambda scene: hand_over(scene, "version of powerful", "version of plain"),
        {"plain": GONE, "powerful": TAMPERED},
    ),
    "a strong key in place of a weak one": (
        lambda scene: hand_over(scene, "powerful", "plain"),
        {"plain": TAMPERED, "powerful": GONE},
    ),
    "an active version in place of a destroyed one": (
        lambda scene: hand_over(scene, "version of plain", "version of destroyed"),
        {"plain": TAMPERED, "destroyed": GONE},
    ),
    "an active key in place of a revoked one": (
        lambda scene: hand_over(scene, "plain", "revoked"),
        {"plain": GONE, "revoked": TAMPERED},
    ),
    "a key in place of an owner": (
        lambda scene: hand_over(scene, "plain", "owner bolt"),
        {"plain": GONE, "bolt-first": TAMPERED, "bolt-second": TAMPERED},
    ),
    "another owner in place of an owner": (
        lambda scene: hand_over(scene, "owner acme", "owner bolt"),
        dict.fromkeys(OWNED, TAMPERED),
    ),
    "the keyring in place of a key": (
        lambda scene: scene.attacker.put_rows(
            replace(scene.chronicle.now("keyring"), id=scene.key_id("revoked"), kind="key")
        ),
        {"revoked": TAMPERED},
    ),
}


@before_and_after_the_start
@pytest.mark.parametrize("name", EXCHANGES)
def test_rows_in_each_others_places_gain_nothing_and_are_reported(
    scene: Scene, when: When, name: str
) -> None:
    attack, codes = EXCHANGES[name]
    node = scene.node(when, lambda: attack(scene))
    assert scene.ask(node) == scene.told(codes)
    node.recorder.flush()
    findings = scene.findings()
    assert len(findings) == len({finding.row for finding in findings}) >= 1
    assert {finding.tenant for finding in findings} == {"system"}
    # Whatever the columns say: management shows no key under the name of another.
    for label in ("plain", "powerful", "revoked"):
        if label in codes:
            assert scene.status(node, label) in (TAMPERED, GONE, KeyState.ACTIVE.value)
            with pytest.raises((IntegrityError, NotFoundError)):
                node.reader.parts(scene.key_id(label), by())


def test_material_opens_only_in_its_own_place(scene: Scene) -> None:
    signing, recoverable = (scene.chronicle.now(f"version of {name}") for name in ("signing", "recoverable"))
    node = scene.open()
    assert scene.material(node, "signing") == scene.token("signing")
    assert scene.material(node, "recoverable") == scene.token("recoverable")
    scene.attacker.put_rows(
        replace(signing, material=recoverable.material), replace(recoverable, material=signing.material)
    )
    assert scene.material(node, "signing") == scene.material(node, "recoverable") == TAMPERED
    assert scene.ask(node) == scene.honest, "tokens are checked against their digest, which the seal is over"


def test_rows_of_another_installation_under_the_same_kek_mean_nothing_here(
    scene: Scene, tmp_path: Path
) -> None:
    url, clock = f"sqlite:///{tmp_path}/other.db", HandClock(scene.chronicle.ended_at)
    wrapper = LocalKeyWrapper(Secret(scene.kek))
    initialise(url, wrapper, with_first_key=False, clock=clock)
    other = open_node(url, wrapper, clock=clock)
    stranger = SecureKeyGenerator(clock=clock).generate_api_key(key_scope=KeyScope.FULL, permissions=("*",))
    other.issuer.issue(stranger, by())
    assert other.verifier.authenticate(stranger.secret.reveal(), NO_DEMAND).valid
    other.close()
    node = scene.open()
    rows = attacker_on(url).rows()
    scene.attacker.put_rows(rows[stranger.key_id], rows[f"{stranger.key_id}.1"])
    assert node.verifier.authenticate(stranger.secret.reveal(), NO_DEMAND).code == TAMPERED


# -- missing


@before_and_after_the_start
@pytest.mark.parametrize("name", ["plain", "version of plain", "revoked", "version of revoked"])
def test_a_token_without_its_rows_is_like_an_unknown_one(scene: Scene, when: When, name: str) -> None:
    label = name.removeprefix("version of ")
    node = scene.node(when, lambda: scene.attacker.delete_rows(scene.chronicle.now(name).id))
    assert scene.ask(node) == scene.told({label: GONE})


@before_and_after_the_start
@pytest.mark.parametrize("name", ["revoked", "version of revoked", "version of destroyed"])
def test_management_misses_a_deleted_row_that_the_log_or_its_key_knows(
    scene: Scene, when: When, name: str
) -> None:
    node = scene.node(when, lambda: scene.attacker.delete_rows(scene.chronicle.now(name).id))
    key_id = scene.key_id(name.removeprefix("version of "))
    with pytest.raises(IntegrityError, match="missing"):
        node.reader.parts(key_id, by())
    node.recorder.flush()
    assert [finding.row for finding in scene.findings()] == [scene.chronicle.now(name).id]


@before_and_after_the_start
@pytest.mark.parametrize("owner", ["acme", "bolt"])
def test_an_owner_without_its_row_is_not_taken_for_one_who_was_never_revoked(
    scene: Scene, when: When, owner: str
) -> None:
    refused = scene.resting_on(f"owner {owner}")
    node = scene.node(when, lambda: scene.attacker.delete_rows(scene.chronicle.now(f"owner {owner}").id))
    assert scene.ask(node) == scene.told(dict.fromkeys(refused, TAMPERED))
    node.recorder.flush()
    scene.assert_told(refused)
    assert scene.owners_status(node, owner) == TAMPERED
    for label in refused:
        with pytest.raises(IntegrityError):
            node.reader.parts(scene.key_id(label), by())


@before_and_after_the_start
def test_a_revoked_key_whose_rows_were_deleted_cannot_be_stored_again(scene: Scene, when: When) -> None:
    rows = [scene.chronicle.now(name).id for name in ("revoked", "version of revoked")]
    node = scene.node(when, lambda: scene.attacker.delete_rows(*rows))
    with pytest.raises(ConflictError):
        node.issuer.issue(scene.chronicle.keys["revoked"], by())
    assert scene.ask(node) == scene.told({"revoked": GONE})


# -- columns


COLUMNS: Final[Mapping[tuple[str, str], tuple[object, Mapping[str, str]]]] = {
    ("plain", "tenant"): ("other", {"plain": TAMPERED}),
    ("plain", "kind"): ("owner", {"plain": TAMPERED}),
    ("plain", "revision"): (2, {"plain": TAMPERED}),
    ("plain", "id"): ("key_0000000000000000000000", {"plain": GONE}),
    ("revoked", "revision"): (1, {"revoked": TAMPERED}),
    ("revoked", "tenant"): ("other", {"revoked": TAMPERED}),
    ("foreign", "tenant"): ("default", {"foreign": TAMPERED}),
    ("version of plain", "tenant"): ("other", {"plain": TAMPERED}),
    ("version of plain", "kind"): ("key", {"plain": GONE}),
    ("version of plain", "revision"): (2, {"plain": TAMPERED}),
    ("version of plain", "id"): ("key_0000000000000000000000.1", {"plain": TAMPERED}),
    ("owner bolt", "tenant"): ("other", {"bolt-first": TAMPERED, "bolt-second": TAMPERED}),
    ("owner bolt", "kind"): ("key", {"bolt-first": TAMPERED, "bolt-second": TAMPERED}),
    ("owner bolt", "revision"): (2, {"bolt-first": TAMPERED, "bolt-second": TAMPERED}),
    ("owner bolt", "id"): ("own_0000000000000000000000", {"bolt-first": TAMPERED, "bolt-second": TAMPERED}),
    # Where a row stands in lists is no policy and is not sealed.
    ("plain", "created"): (1, {}),
    ("plain", "position"): (1, {}),
    ("version of plain", "created"): (10_000, {}),
    ("owner bolt", "created"): (1, {}),
}


@before_and_after_the_start
@pytest.mark.parametrize(("name", "column"), COLUMNS)
def test_a_column_that_says_other_than_the_sealed_body_gains_nothing(
    scene: Scene, when: When, name: str, column: str
) -> None:
    value, codes = COLUMNS[name, column]
    row = scene.chronicle.now(name)
    assert getattr(row, column) != value
    node = scene.node(when, lambda: scene.attacker.set_column(row.id, column, value))
    asking = ["calm", *scene.resting_on(name)]
    assert scene.ask(node, asking).items() <= scene.told(codes).items()


@before_and_after_the_start
@pytest.mark.parametrize(("label", "tenant"), [("plain", "other"), ("foreign", "default")])
def test_no_column_moves_a_key_into_another_tenants_list(
    scene: Scene, when: When, label: str, tenant: str
) -> None:
    node = scene.node(when, lambda: scene.attacker.set_column(scene.key_id(label), "tenant", tenant))
    for caller in (tenant, MEMBERS[label].tenant):
        with pytest.raises(IntegrityError):
            node.reader.get(scene.key_id(label), by(caller))
    with pytest.raises(IntegrityError):
        node.reader.list(by(tenant), KeyFilter())
