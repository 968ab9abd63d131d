"""A data key that leaked: what it is worth to whoever can write to the store, and what is left once it is retired.

The remedy has four steps: add a data key, seal the rows anew, retire the old one, change the KEK. The last one takes
away the rows of the keyring from before.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.bootstrap import Node
from keyturn.crypto.keyring import KEYRING_ROW, Keyring, Purpose
from keyturn.crypto.sealing import associated_data, open_material, seal_material
from keyturn.domain import canonical
from keyturn.domain.bodies import version_from, version_put
from keyturn.domain.change import ChangeSet, Event, EventType
from keyturn.domain.entry import RowMark, chain_next, encode_entry
from keyturn.domain.floor import Floor
from keyturn.domain.key import KeyType
from keyturn.domain.secret import Secret
from keyturn.errors import IntegrityError, WrongKekError
from keyturn.ports.ledger import LogEntry, Row
from keyturn.records.entry_seals import Seen, seal_entry
from keyturn.records.sealed_state import make_snapshot, sealed_head
from tests.security.history import by
from tests.security.scene import TAMPERED, WHEN, Scene, When
from tests.security.test_resealing import reseal, retire

before_and_after_the_start = pytest.mark.parametrize("when", WHEN)


class Thief:
    """Has the first data key, and may write to the store. Has no KEK."""

    def __init__(self, scene: Scene) -> None:
        node = scene.open()
        self._scene = scene
        self._log_id = scene.attacker.log_id()
        self.ring = Keyring({1: node.records.keyring._keys.deks[1]}, 1, bytes(32), self._log_id)

    def seals(self, row: Row, **members: object) -> Row:
        """A row with other members, sealed under the leaked data key."""
        body = canonical.encode({**json.loads(row.body), **members})
        return replace(row, body=body, seal=self.ring.seal(Purpose.ROW, body.encode()))

    def appends(self, *marks: RowMark, event_type: EventType = EventType.KEY_UPDATED) -> None:
        """An entry at the end of the log, which names these rows."""
        log = self._scene.attacker.log()
        last = Seen(log[-1].position, log[-1].hash)
        event = Event(
            type=event_type,
            time=self._scene.clock.now(),
            tenant="default",
            actor="local",
            subjects=("forged",),
        )
        entry = encode_entry(event, marks, None)
        seal = seal_entry(self.ring, entry, last)
        chain = chain_next(last.hash, entry)
        self._scene.attacker.put_entries(LogEntry(last.position + 1, entry, seal, chain, None))

    def seals_head(self, position: int = -1) -> None:
        """The log as it is now, vouched for up to this position, or to its end."""
        last = self._scene.attacker.log()[position if position < 0 else position - 1]
        seal = sealed_head(self.ring, self._log_id, Seen(last.position, last.hash)).seal
        sealed = self._scene.attacker.sealed_head()
        assert sealed is not None
        self._scene.attacker.set_sealed_head(
            replace(sealed, position=last.position, hash=last.hash, seal=seal)
        )


@pytest.fixture
def thief(scene: Scene) -> Thief:
    return Thief(scene)


def rotated(scene: Scene) -> Node:
    node = scene.open()
    node.keyring_changes.add_data_key(by())
    reseal(node)
    return node


def remedied(scene: Scene) -> Node:
    node = rotated(scene)
    retire(node)
    return node


def changed_kek(scene: Scene, node: Node) -> None:
    """From now on the scene's nodes start with the new one."""
    kek = os.urandom(32)
    node.keyring_changes.change_kek(lambda: LocalKeyWrapper(Secret(kek)), by())
    scene.kek = kek


def widened(scene: Scene, thief: Thief) -> Row:
    return thief.seals(scene.chronicle.now("plain"), scope="full", permissions=["*"])


# Rows and secrets


@before_and_after_the_start
@pytest.mark.parametrize("remedy", [rotated, remedied])
def test_rows_are_forged_until_the_data_key_is_retired(
    scene: Scene, thief: Thief, when: When, remedy: Callable[[Scene], Node]
) -> None:
    remedy(scene)
    node = scene.node(when, lambda: scene.attacker.put_rows(widened(scene, thief)))
    answer = scene.ask_one(node, "plain", "full scope").code
    # What it is before shows that the attack is one.
    assert answer == (TAMPERED if remedy is remedied else "valid")


@pytest.mark.parametrize("remedy", [rotated, remedied])
def test_so_are_secrets(scene: Scene, thief: Thief, remedy: Callable[[Scene], Node]) -> None:
    node = remedy(scene)
    row = scene.attacker.rows()[scene.chronicle.now("version of signing").id]
    aad = associated_data("default", scene.key_id("signing"), 1, KeyType.HMAC)
    forged = seal_material(thief.ring, Secret(b"k" * 32), aad)
    assert open_material(thief.ring, forged, aad).reveal_bytes() == b"k" * 32
    scene.attacker.set_column(row.id, "material", forged)
    answer = scene.material(node, "signing")
    assert answer == (TAMPERED if remedy is remedied else "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s")


def test_a_forged_secret_is_not_blessed_by_a_change_of_its_row(scene: Scene, thief: Thief) -> None:
    """Whoever writes a row anew seals its secret under the primary data key: not one that came from the store."""
    node = remedied(scene)
    key_id = scene.key_id("signing")
    row = scene.attacker.rows()[f"{key_id}.1"]
    aad = associated_data("default", key_id, 1, KeyType.HMAC)
    scene.attacker.set_column(row.id, "material", seal_material(thief.ring, Secret(b"k" * 32), aad))
    opened = node.records.get(row.id)
    assert opened is not None
    version = replace(version_from(opened.body, opened.row.material), revision=2)
    event = Event(
        type=EventType.KEY_UPDATED,
        time=scene.clock.now(),
        tenant="default",
        actor="library",
        subjects=(key_id,),
        rows=(row.id,),
    )
    node.records.commit(ChangeSet(puts=(version_put(version),), events=(event,)))
    assert scene.material(node, "signing") == TAMPERED


# Entries, heads, snapshots


@before_and_after_the_start
@pytest.mark.parametrize("remedy", [rotated, remedied])
def test_entries_are_forged_until_the_data_key_is_retired(
    scene: Scene, thief: Thief, when: When, remedy: Callable[[Scene], Node]
) -> None:
    """Afterwards only those stand under it that stood in the log already, and what follows vouches for them."""
    remedy(scene)

    def attack() -> None:
        thief.appends(event_type=EventType.KEY_REVOKED)

    if remedy is rotated:
        assert scene.ask_one(scene.node(when, attack), "plain").valid
    elif when == "running":
        assert scene.ask_one(scene.node(when, attack), "plain").code == TAMPERED
    else:
        attack()
        with pytest.raises(IntegrityError):
            scene.open()


def test_nor_is_an_entry_of_before_exchanged(scene: Scene, thief: Thief) -> None:
    since = remedied(scene).records.keyring.minimum_since
    log = list(scene.attacker.log())
    victim = len(scene.chronicle.end.log) // 2
    event = Event(
        type=EventType.KEY_CREATED, time=scene.clock.now(), tenant="default", actor="local", subjects=()
    )
    chain = log[victim - 1].hash
    entry = encode_entry(event, (), None)
    log[victim] = replace(
        log[victim], entry=entry, seal=seal_entry(thief.ring, entry, Seen(log[victim - 1].position, chain))
    )
    for at in range(victim, len(log)):
        chain = chain_next(chain, log[at].entry)
        log[at] = replace(log[at], hash=chain)
    scene.attacker.put_log(log)
    with pytest.raises(IntegrityError):
        scene.open()
    # Nor with a head, neither at the end nor where heads under this data key may stand.
    for position in (len(log), victim + 1, len(scene.chronicle.end.log), since):
        thief.seals_head(position)
        with pytest.raises(IntegrityError):
            scene.open()


def test_a_head_of_before_is_as_good_as_ever(scene: Scene, thief: Thief) -> None:
    """Should the process that retired the data key be killed before anybody vouched for the log again."""
    node = remedied(scene)
    thief.seals_head(node.records.keyring.minimum_since)
    assert scene.ask(scene.open()) == scene.honest


def test_a_head_under_a_retired_data_key_vouches_for_nothing(scene: Scene, thief: Thief) -> None:
    """Up to the head nobody looks at entries' own seals."""
    remedied(scene)
    thief.appends(event_type=EventType.KEY_REVOKED)
    thief.seals_head()
    with pytest.raises(IntegrityError):
        scene.open()


def test_a_snapshot_under_a_retired_data_key_is_not_believed(scene: Scene, thief: Thief) -> None:
    """With a floor of their own they would put any older row back. The whole log is read instead."""
    remedied(scene)
    last = scene.attacker.log()[-1]
    forged = make_snapshot(thief.ring, scene.attacker.log_id(), last.position, last.hash, Floor())
    scene.attacker.set_snapshot(forged)
    row = scene.attacker.rows()[scene.key_id("revoked")]
    scene.attacker.put_rows(replace(scene.held["revoked", 1], seal=row.seal))
    node = scene.open()
    assert scene.ask_one(node, "revoked").code == TAMPERED
    assert scene.ask_one(node, "plain").valid


# The keyring's own row


def keyring_row(scene: Scene) -> Row:
    return scene.attacker.rows()[KEYRING_ROW]


def forged_keyring(scene: Scene, thief: Thief) -> Row:
    """The keyring as it would be if the leaked data key had never been retired, out of what stands in the row."""
    row = keyring_row(scene)
    body = json.loads(row.body)
    members = {
        **{name: value for name, value in body.items() if not name.startswith("minimum")},
        "primary": 1,
        "deks": body["deks"][:1],
        "revision": row.revision + 1,
    }
    text = canonical.encode(members)
    return replace(
        row, revision=row.revision + 1, body=text, seal=thief.ring.seal(Purpose.ROW, text.encode())
    )


def test_no_keyring_is_made_in_which_the_leaked_data_key_is_good(scene: Scene, thief: Thief) -> None:
    changed_kek(scene, remedied(scene))
    scene.attacker.put_rows(forged_keyring(scene, thief))
    with pytest.raises(IntegrityError):
        scene.open()


def test_an_older_keyring_that_is_put_back_opens_nothing(scene: Scene, thief: Thief) -> None:
    changed_kek(scene, remedied(scene))
    scene.attacker.put_rows(scene.chronicle.now("keyring"))
    with pytest.raises(WrongKekError):
        scene.open()


def test_a_store_that_is_rolled_back_to_before_the_remedy_does_not_open(scene: Scene, thief: Thief) -> None:
    """The one attack that sealing cannot see, a whole store put back, ends at the change of the KEK."""
    changed_kek(scene, remedied(scene))
    scene.attacker.put_image(scene.chronicle.end)
    with pytest.raises(WrongKekError):
        scene.open()


@pytest.mark.parametrize("named", [True, False])
def test_under_a_running_node_a_forged_keyring_changes_nothing(
    scene: Scene, thief: Thief, *, named: bool
) -> None:
    """Even where a forged entry names it."""
    node = remedied(scene)
    forged = forged_keyring(scene, thief)
    scene.attacker.put_rows(forged, widened(scene, thief))
    if named:
        digest = hashlib.sha256(forged.body.encode()).digest()
        thief.appends(RowMark(KEYRING_ROW, forged.revision, digest), event_type=EventType.KEYRING_ROTATED)
    scene.clock.wait(2)
    assert scene.ask_one(node, "plain", "full scope").code == TAMPERED
    assert node.records.keyring.minimum == 2
