"""The honest store: what the attacks are measured against, and proof that refusing everything would not pass."""

from __future__ import annotations

from tests.security.history import HISTORY, LAST_REVISIONS, MEMBERS
from tests.security.scene import Scene


def test_the_history_is_whole_and_every_row_of_it_was_recorded(scene: Scene) -> None:
    expected = {(name, n) for name, last in LAST_REVISIONS.items() for n in range(1, last + 1)}
    assert set(scene.held) == expected
    assert list(scene.chronicle.moments) == list(HISTORY)
    assert {name: scene.chronicle.now(name) for name in LAST_REVISIONS} == {
        scene.chronicle.names[row.id]: row for row in scene.chronicle.end.rows.values()
    }
    sealed = scene.chronicle.end.sealed_head
    assert sealed is not None
    assert sealed.position == len(scene.chronicle.end.log) > 45


def test_a_node_started_after_honest_history_answers_all_as_it_should(scene: Scene) -> None:
    for _ in range(2):  # a restart makes no difference
        node = scene.open()
        assert scene.ask(node) == scene.honest
        assert scene.ask(node) == scene.honest, "from memory as well"
        node.recorder.flush()
        scene.close()
    assert scene.findings() == []


def test_management_answers_after_honest_history_as_it_should(scene: Scene) -> None:
    node = scene.open()
    ended = {
        "suspended": "suspended",
        "revoked": "deactivated",
        "compromised": "compromised",
        "destroyed": "destroyed",
        "retired": "destroyed",
        "acme-first": "deactivated",
        "acme-second": "deactivated",
    }
    assert {label: scene.status(node, label) for label in MEMBERS} == {
        label: ended.get(label, "active") for label in MEMBERS
    }
    assert scene.material(node, "recoverable") == scene.token("recoverable")
    assert scene.material(node, "signing") == scene.token("signing")
    assert scene.material(node, "plain") == "not_recoverable"
    assert scene.owners_status(node, "acme") == "issued in epoch 2"
    assert scene.owners_status(node, "bolt") == "issued in epoch 1"
    assert scene.owners_status(node, "calm") == "issued in epoch 0"


def test_two_nodes_on_one_store_answer_alike_and_learn_from_each_other(scene: Scene) -> None:
    one, other = scene.open(), scene.open()
    assert scene.ask(one) == scene.ask(other) == scene.honest
    one.lifecycle.revoke(scene.key_id("plain"), scene.by("plain"))
    scene.clock.wait(2)
    assert scene.ask(other) == scene.ask(one) == scene.told({"plain": "revoked"})
