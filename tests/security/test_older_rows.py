"""Putting back rows that once were true, with the seals that they had: what sealing alone would let through."""

from __future__ import annotations

import pytest

from keyturn.errors import IntegrityError
from keyturn.issuing.reading import KeyFilter
from keyturn.key_store import SecureKeyStore
from tests.security.history import HISTORY, LAST_REVISIONS, MEMBERS, OWNER_REVISIONS, TOKENS, by
from tests.security.scene import FEW, PROBES, WHEN, Scene, When

OLDER = [(name, revision) for name, last in LAST_REVISIONS.items() for revision in range(1, last)]

each_older_row = pytest.mark.parametrize(("name", "revision"), OLDER)
before_and_after_the_start = pytest.mark.parametrize("when", WHEN)


@before_and_after_the_start
@each_older_row
def test_an_older_row_gains_nothing_and_is_reported_once(
    scene: Scene, when: When, name: str, revision: int
) -> None:
    older, refused = scene.held[name, revision], scene.resting_on(name)
    node = scene.node(when, lambda: scene.attacker.put_rows(older))
    everything_asked_in_vain = {(label, probe): "integrity_failed" for label in refused for probe in PROBES}

    assert scene.ask(node) == scene.honest | everything_asked_in_vain
    scene.clock.wait(2)
    node.recorder.tick()
    scene.assert_told(refused)
    told = scene.findings()

    assert scene.ask(node, refused) == everything_asked_in_vain
    node.recorder.flush()
    assert scene.findings() == told, "found again, and told once"


@before_and_after_the_start
@pytest.mark.parametrize(("name", "revision"), [row for row in OLDER if row[0] in MEMBERS])
def test_an_older_row_of_a_key_shows_no_older_state_and_gives_back_no_secret(
    scene: Scene, when: When, name: str, revision: int
) -> None:
    older = scene.held[name, revision]
    node = scene.node(when, lambda: scene.attacker.put_rows(older))
    assert scene.status(node, name) == scene.material(node, name) == "integrity_failed"
    with pytest.raises(IntegrityError):
        node.reader.list(by(), KeyFilter())


@before_and_after_the_start
@pytest.mark.parametrize("label", [label for label in MEMBERS if (f"version of {label}", 1) in OLDER])
def test_destroyed_material_that_is_put_back_stays_out_of_reach(scene: Scene, when: When, label: str) -> None:
    key, version = scene.held[label, 1], scene.held[f"version of {label}", 1]
    assert version.material is not None
    node = scene.node(when, lambda: scene.attacker.put_rows(version))
    assert scene.status(node, label) == "destroyed"
    assert scene.material(node, label) in ("integrity_failed", "illegal_transition")
    scene.attacker.put_rows(scene.chronicle.now(f"version of {label}"))
    scene.attacker.set_column(version.id, "material", version.material)
    assert (scene.status(node, label), scene.material(node, label)) == ("destroyed", "illegal_transition")
    scene.attacker.put_rows(key, version)
    assert (scene.status(node, label), scene.material(node, label)) == (
        "integrity_failed",
        "integrity_failed",
    )


@before_and_after_the_start
@pytest.mark.parametrize("owner", [owner for owner, last in OWNER_REVISIONS.items() if last > 1])
def test_no_key_is_issued_in_an_older_epoch_of_its_owner(scene: Scene, when: When, owner: str) -> None:
    older = scene.held[f"owner {owner}", 1]
    node = scene.node(when, lambda: scene.attacker.put_rows(older))
    assert scene.owners_status(node, owner) == "integrity_failed"


@pytest.mark.parametrize(
    ("when", "moment"),
    [*(("running", moment) for moment in HISTORY), *(("stopped", moment) for moment in list(HISTORY)[::6])],
)
def test_all_rows_of_an_earlier_moment_together_gain_nothing(scene: Scene, when: When, moment: str) -> None:
    rows = scene.chronicle.moments[moment].rows
    node = scene.node(when, lambda: scene.attacker.put_all_rows(rows))
    expected = scene.answers_with(rows)
    assert scene.ask(node, probes=FEW).items() <= expected.items()
    node.recorder.flush()
    refused = [label for label in TOKENS if expected[label, "at all"] == "integrity_failed"]
    scene.assert_told(refused)


@each_older_row
def test_an_older_row_under_a_node_that_knows_better_changes_no_answer(
    scene: Scene, name: str, revision: int
) -> None:
    node = scene.open()
    asking = ["plain", *scene.resting_on(name)]
    known = scene.ask(node, asking)
    assert known.items() <= scene.honest.items()
    scene.attacker.put_rows(scene.held[name, revision])
    scene.clock.wait(60)
    assert scene.ask(node, asking) == known


@each_older_row
def test_an_older_body_in_a_row_of_todays_columns_gains_nothing(
    scene: Scene, name: str, revision: int
) -> None:
    today, older, refused = scene.chronicle.now(name), scene.held[name, revision], scene.resting_on(name)
    node = scene.open()
    for column in ("body", "seal", "material"):
        scene.attacker.set_column(today.id, column, getattr(older, column))
    assert set(scene.ask(node, refused).values()) <= {"integrity_failed"}
    scene.attacker.put_rows(today)
    assert scene.ask(node, refused).items() <= scene.honest.items()


def test_the_library_refuses_an_older_row_in_each_of_its_calls(scene: Scene) -> None:
    key_id = scene.key_id("revoked")
    scene.attacker.put_rows(scene.held["revoked", 1])
    with SecureKeyStore.open(scene.url, scene.kek) as store:
        verification = store.authenticate(scene.token("revoked"))
        assert (bool(verification), verification.code, verification.key_id) == (
            False,
            "integrity_failed",
            None,
        )
        for call in (store.verify_key, store.retrieve_key, store.resume_key, store.revoke_key):
            with pytest.raises(IntegrityError):
                call(key_id)
        with pytest.raises(IntegrityError):
            store.update_key(key_id, name="mine")
        with pytest.raises(IntegrityError):
            store.list_keys()
        assert store.authenticate(scene.token("plain")), "whoever was not touched goes on"
