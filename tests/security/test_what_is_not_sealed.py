"""What the store keeps without a seal: whoever bends it stops nothing else and decides nothing."""

from __future__ import annotations

from typing import Final

import pytest

from keyturn.bootstrap import Node
from keyturn.errors import IntegrityError
from keyturn.issuing.reading import KeyFilter
from keyturn.ports.ledger import MAX_COUNT
from tests.security.scene import Scene

BENT: Final = (2**63 - 1, 2**62, -1, -(2**63))
bent_values = pytest.mark.parametrize("bent", BENT)


def used(scene: Scene, node: Node, label: str) -> int:
    """Use a key once, write that down, and say what is counted now."""
    assert scene.ask_one(node, label).valid
    node.recorder.flush()
    return total(scene, node, label)


def total(scene: Scene, node: Node, label: str) -> int:
    return node.usage.of(scene.key_id(label), scene.clock.now()).total


@bent_values
def test_a_bent_count_stops_no_other_count(scene: Scene, bent: int) -> None:
    node = scene.open()
    assert (used(scene, node, "plain"), used(scene, node, "scope")) == (1, 1)
    scene.attacker.run("UPDATE {uses} SET count = ? WHERE key_id = ?", (bent, scene.key_id("plain")))
    assert total(scene, node, "plain") == (MAX_COUNT if bent > 0 else 0)
    assert scene.ask_one(node, "plain").valid
    assert used(scene, node, "scope") == 2
    assert total(scene, node, "plain") == (MAX_COUNT if bent > 0 else 1)


@bent_values
def test_a_bent_last_use_is_no_use(scene: Scene, bent: int) -> None:
    node = scene.open()
    used(scene, node, "plain")
    scene.attacker.run("UPDATE {last_uses} SET at = ? WHERE key_id = ?", (bent, scene.key_id("plain")))
    statistics = node.usage.of(scene.key_id("plain"), scene.clock.now())
    assert (statistics.total, statistics.last_used_at, statistics.last_used_by_version) == (1, None, {})
    assert used(scene, node, "scope") == 1


def listed(scene: Scene, node: Node, cursor: str | None = None) -> list[str]:
    """The ids of a tenant's keys, read one by one."""
    page = node.reader.list(scene.by("plain"), KeyFilter(), limit=1, cursor=cursor)
    later = [] if page.next_cursor is None else listed(scene, node, page.next_cursor)
    return [*(key.key_id for key in page.items), *later]


@pytest.mark.parametrize("bent", [*BENT, 0])
def test_a_list_does_not_go_on_from_a_place_that_the_log_has_not(scene: Scene, bent: int) -> None:
    node = scene.open()
    assert scene.key_id("plain") in listed(scene, node)
    scene.attacker.set_column(scene.key_id("plain"), "created", bent)
    with pytest.raises(IntegrityError, match="no position of the log"):
        listed(scene, node)
    assert scene.ask_one(node, "plain").valid, "only lists rest on it"
