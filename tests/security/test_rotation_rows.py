"""Rows of rotations, policies, codes and endpoints that somebody puts back, takes away, exchanges or edits."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest

from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.bootstrap import Node, initialise, open_node
from keyturn.crypto.keyring import Purpose
from keyturn.domain.framing import framed
from keyturn.domain.secret import Secret
from keyturn.errors import ConflictError, IntegrityError
from keyturn.ports.ledger import Snapshot
from keyturn.records.sealed_state import make_snapshot
from tests.contract.ledger_stores import Store
from tests.fakes import BY
from tests.security.attacker import Attacker, attacker_on
from tests.security.history import HandClock, by
from tests.security.rotations import KEYS, Past, carry_out, policy_of, told, use
from tests.security.scene import MAX_STALENESS, WHEN, When
from tests.security.stores import fresh_store, loosened_copy
from tests.security.test_flipped_bytes import with_each_byte_changed

TAMPERED = "integrity_failed"
OLDER = [
    *((f"policy {name}", 1) for name in ("changed", "deleted")),
    *((f"rotation of {name}", 1) for name in ("rolled back", "completed", "picked up")),
    *((name, revision) for name in ("completed", "rolled back") for revision in (1, 2)),
    *((f"{name}, version 1", 1) for name in ("completed", "compromised", "overlapping")),
    *((f"{name}, version 2", 1) for name in ("rolled back", "picked up")),
    ("code", 1),
    ("endpoint changed", 1),
    ("endpoint changed", 2),
    ("endpoint deleted", 1),
]
KEPT_FROM_CREATION = ["policy kept", "policy changed", "policy deleted", "endpoint kept", "endpoint deleted"]
before_and_after_the_start = pytest.mark.parametrize("when", WHEN)


@dataclass(kw_only=True)
class World:
    """A store where all of it has happened, and whoever looks at it."""

    store: Store
    kek: bytes
    attacker: Attacker
    past: Past
    clock: HandClock
    nodes: list[Node] = field(default_factory=list)

    def open(self) -> Node:
        wrapper = LocalKeyWrapper(Secret(self.kek))
        self.nodes.append(open_node(self.store.url, wrapper, clock=self.clock, max_staleness=MAX_STALENESS))
        return self.nodes[-1]

    def node(self, when: When, attack: Callable[[], object]) -> Node:
        """A node that was open before the attack, or is opened after it."""
        opened = self.open() if when == "running" else None
        attack()
        self.clock.wait(2 * MAX_STALENESS)
        return opened or self.open()

    def close(self) -> None:
        while self.nodes:
            self.nodes.pop().close()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def kept_world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with fresh_store(request.param, request, tmp_path_factory) as (store, attackers_url):
        yield from _world(store, attackers_url)


def _world(store: Store, attackers_url: str) -> Iterator[World]:
    kek, clock = os.urandom(32), HandClock()
    wrapper = LocalKeyWrapper(Secret(kek))
    initialise(store.owner_url, wrapper, with_first_key=False, grant_to=store.role, clock=clock)
    attacker = attacker_on(attackers_url)
    past = carry_out(open_node(store.url, wrapper, clock=clock), clock, attacker)
    yield World(store=store, kek=kek, attacker=attacker, past=past, clock=clock)
    attacker.close()


@pytest.fixture
def world(kept_world: World) -> Iterator[World]:
    """It, untouched, with no node open."""
    kept_world.attacker.put_image(kept_world.past.end)
    yield kept_world
    kept_world.close()


def reported(world: World, node: Node) -> set[str]:
    """The names of the rows that the node has found altered."""
    return {world.past.names.get(each.row_id, each.row_id) for each in node.records.incidents.drain()}


def test_untouched_everything_is_in_its_place(world: World) -> None:
    """A control: what the tests below refuse is refused for what was done to it."""
    node, past = world.open(), world.past
    refused = {name: use(node, past, name) for name in past.ids if use(node, past, name) != "ok"}
    assert refused == {
        "policy deleted": "not_found", "endpoint deleted": "not_found", "code": "illegal_transition",
    }  # fmt: skip
    told_of = {name: told(node, token) for name, token in past.tokens.items()}
    assert [name for name, code in told_of.items() if code != "valid"] == [
        ("completed", 1), ("compromised", 1), ("neighbour", 1), ("rolled back", 2),
    ]  # fmt: skip
    assert set(told_of.values()) == {"valid", "revoked"}
    assert reported(world, node) == set()


# -- put back


@before_and_after_the_start
@pytest.mark.parametrize(("name", "revision"), OLDER)
def test_an_older_row_is_refused_and_reported(world: World, when: When, name: str, revision: int) -> None:
    older = world.past.held[name, revision]
    assert older.revision < world.past.now(name).revision
    node = world.node(when, lambda: world.attacker.put_rows(older))
    with pytest.raises(IntegrityError):
        node.records.get(older.id)
    assert use(node, world.past, name) == TAMPERED
    assert reported(world, node) == {name}


@before_and_after_the_start
@pytest.mark.parametrize("moment", range(5))
@pytest.mark.parametrize("key", [key for key in KEYS if key != "waiting"])
def test_no_token_gains_by_all_rows_of_its_key_from_another_time(
    world: World, when: When, key: str, moment: int
) -> None:
    """The key, its versions and its rotation together, each with its seal: as they all were once, and fit together."""
    past = world.past
    ours = [
        row_id for row_id, name in past.names.items() if name.startswith(key) or name == f"rotation of {key}"
    ]
    rows = past.moments[moment].rows
    before = world.open()
    honest = {name: told(before, token) for name, token in past.tokens.items() if name[0] == key}
    world.close()

    def put_back() -> None:
        world.attacker.delete_rows(*ours)
        world.attacker.put_rows(*(rows[row_id] for row_id in ours if row_id in rows))

    node = world.node(when, put_back)
    for name, code in honest.items():
        assert told(node, past.tokens[name]) in (TAMPERED, "not_found", code)


@before_and_after_the_start
@pytest.mark.parametrize(("key", "version"), [("completed", 1), ("compromised", 1), ("rolled back", 2)])
def test_a_token_that_was_rotated_out_stays_out(world: World, when: When, key: str, version: int) -> None:
    past = world.past
    older = [past.held[f"{key}, version {version}", 1], past.held[key, 2 if (key, 2) in past.held else 1]]
    node = world.node(when, lambda: world.attacker.put_rows(*older))
    assert told(node, past.tokens[key, version]) == TAMPERED
    node = world.node("stopped", lambda: world.attacker.put_rows(past.now(key)))
    assert told(node, past.tokens[key, version]) == TAMPERED, "the version's row alone"


@before_and_after_the_start
def test_a_secret_that_was_picked_up_is_not_handed_out_again(world: World, when: When) -> None:
    """With the code, the rotation, the version and its material as they were before: all of them changed since."""
    past = world.past
    older = [past.held[name, 1] for name in ("code", "rotation of picked up", "picked up, version 2")] + [
        past.held["picked up", 2]
    ]
    assert older[2].material is not None
    node = world.node(when, lambda: world.attacker.put_rows(*older))
    with pytest.raises(IntegrityError):
        node.rotation.pick_ups.redeem(past.code)
    with pytest.raises(IntegrityError):
        node.rotation.mover.pick_up(past.ids["rotation of picked up"], by())


# -- taken away


@before_and_after_the_start
@pytest.mark.parametrize("name", KEPT_FROM_CREATION)
def test_a_policy_or_an_endpoint_that_was_taken_away_is_missed(world: World, when: When, name: str) -> None:
    """The first revision included: nothing would be rotated, or nobody told, as if nobody had ever wished it."""
    row_id = world.past.ids[name]
    node = world.node(when, lambda: world.attacker.delete_rows(row_id))
    assert use(node, world.past, name) == TAMPERED
    prefix = row_id[:4]
    listed = node.ledger.list_policies if prefix == "pol_" else node.ledger.list_endpoints
    found = {row.id for row in listed("default", None, 100)}
    assert row_id not in found
    assert [opened.row.id for opened in node.records.open_left_out(prefix, found)] == []
    assert reported(world, node) == {name}


@before_and_after_the_start
@pytest.mark.parametrize("name", ["kept", "changed", "deleted"])
def test_a_policy_that_was_taken_away_cannot_be_made_anew(world: World, when: When, name: str) -> None:
    """It would begin again at revision 1, and the log would contradict itself."""
    node = world.node(when, lambda: world.attacker.delete_rows(world.past.ids[f"policy {name}"]))
    with pytest.raises((IntegrityError, ConflictError)):
        node.rotation.policies.create(policy_of(name), by())
    other = node.rotation.policies.create(policy_of(f"another-{when}"), by())
    assert other.revision == 1, "one of another name can be made"


@before_and_after_the_start
@pytest.mark.parametrize("name", ["overlapping", "completed", "rolled back"])
def test_a_rotation_that_was_taken_away_is_missed_by_whoever_moves_its_key(
    world: World, when: When, name: str
) -> None:
    past = world.past
    node = world.node(when, lambda: world.attacker.delete_rows(past.ids[f"rotation of {name}"]))
    assert told(node, past.tokens[name, 1]) == ("revoked" if name == "completed" else "valid")
    if name == "overlapping":  # whose key names it still
        with pytest.raises(IntegrityError):
            node.rotation.requests.rotate(past.ids[name], by(), is_compromised=True)
        node.lifecycle.revoke(past.ids[name], by())
        assert told(node, past.tokens[name, 1]) == told(node, past.tokens[name, 2]) == "revoked"
    else:
        assert use(node, past, f"rotation of {name}") == TAMPERED


# -- exchanged


@before_and_after_the_start
@pytest.mark.parametrize("columns", [("id",), ("body", "seal"), ("seal",), ("tenant", "body", "seal")])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "rotation of overlapping",
            "rotation of waiting",
        ),  # both at their first revision: the seal alone decides
        ("rotation of completed", "rotation of rolled back"),
        ("policy kept", "policy changed"),
        ("endpoint kept", "endpoint changed"),
        ("rotation of overlapping", "policy kept"),
        ("code", "rotation of completed"),
    ],
)
def test_rows_in_each_others_places_are_refused(
    world: World, when: When, one: str, other: str, columns: tuple[str, ...]
) -> None:
    first, second = world.past.now(one), world.past.now(other)
    mixed = [
        replace(first, **{column: getattr(second, column) for column in columns}),
        replace(second, **{column: getattr(first, column) for column in columns}),
    ]
    node = world.node(when, lambda: world.attacker.put_rows(*mixed))
    assert [use(node, world.past, name) for name in (one, other)] == [TAMPERED, TAMPERED]
    assert reported(world, node) == {one, other}


def test_secrets_open_only_in_their_own_place(world: World) -> None:
    kept, changed = world.past.now("endpoint kept"), world.past.now("endpoint changed")
    waiting, picked = world.past.now("waiting, version 2"), world.past.held["picked up, version 2", 1]
    world.attacker.put_rows(
        replace(kept, material=changed.material),
        replace(changed, material=kept.material),
        replace(waiting, material=picked.material),
    )
    node = world.open()
    for name in ("endpoint kept", "endpoint changed"):
        assert use(node, world.past, name) == TAMPERED
    with pytest.raises(IntegrityError):
        node.rotation.mover.pick_up(world.past.ids["rotation of waiting"], by())


# -- edited


FLIPPED = [
    "policy kept",
    "policy changed",
    "rotation of overlapping",
    "rotation of completed",
    "endpoint kept",
    "code",
]


@pytest.fixture(scope="module")
def loose_world(
    kept_world: World, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """The same in another store, where no index looks into bodies and nothing is required of them."""
    kept = kept_world
    copy = loosened_copy(kept.attacker, kept.past.end, kept.store.adapter, request, tmp_path_factory)
    with copy as (store, attacker):
        yield World(store=store, kek=kept.kek, attacker=attacker, past=kept.past, clock=kept.clock)


@pytest.mark.parametrize("name", FLIPPED)
def test_a_body_in_which_one_bit_differs_is_refused(loose_world: World, name: str) -> None:
    row, node = loose_world.past.now(name), loose_world.open()
    for body in with_each_byte_changed(row.body.encode(), 0x01):
        loose_world.attacker.set_body(row.id, body)
        with pytest.raises(IntegrityError):
            node.records.get(row.id)
    assert use(node, loose_world.past, name) == TAMPERED
    assert reported(loose_world, node) == {name}
    loose_world.attacker.set_body(row.id, row.body.encode())
    assert use(node, loose_world.past, name) in ("ok", "illegal_transition"), (
        "it was the bit that was refused"
    )
    loose_world.close()


@pytest.mark.parametrize("name", FLIPPED)
def test_a_seal_in_which_one_byte_differs_is_refused(world: World, name: str) -> None:
    row, node = world.past.now(name), world.open()
    for seal in (*with_each_byte_changed(row.seal, 0x01, 0x80, 0xFF), row.seal[:-1], row.seal + b"\0", b""):
        world.attacker.set_column(row.id, "seal", seal)
        with pytest.raises(IntegrityError):
            node.records.get(row.id)
    assert reported(world, node) == {name}


def test_a_secret_that_waits_in_which_one_byte_differs_is_not_handed_out(world: World) -> None:
    row, node = world.past.now("waiting, version 2"), world.open()
    assert row.material is not None
    for material in (*with_each_byte_changed(row.material, 0x01, 0x80), row.material[:-1], b"", None):
        world.attacker.set_column(row.id, "material", material)
        with pytest.raises(IntegrityError):
            node.rotation.mover.pick_up(world.past.ids["rotation of waiting"], by())
    world.attacker.set_column(row.id, "material", row.material)
    secret = node.rotation.mover.pick_up(world.past.ids["rotation of waiting"], by()).secret
    assert told(node, secret) == "valid"


def test_an_endpoints_secret_in_which_one_byte_differs_signs_nothing(world: World) -> None:
    row, node = world.past.now("endpoint kept"), world.open()
    assert row.material is not None
    for material in (*with_each_byte_changed(row.material, 0x01, 0x80), row.material[:-1], b"", None):
        world.attacker.set_column(row.id, "material", material)
        assert use(node, world.past, "endpoint kept") == TAMPERED
    world.attacker.set_column(row.id, "material", row.material)
    assert use(node, world.past, "endpoint kept") == "ok"


# -- from a snapshot


def snapshot_of(world: World) -> Snapshot:
    node = world.open()
    log = node.records.log
    made = make_snapshot(node.records.keyring, node.ledger.log_id, *log.seen, log.floor)
    world.close()
    assert made is not None
    return made


@pytest.mark.parametrize(("name", "revision"), OLDER)
def test_a_node_that_starts_from_a_snapshot_refuses_older_rows_too(
    world: World, name: str, revision: int
) -> None:
    snapshot = snapshot_of(world)
    world.attacker.set_snapshot(snapshot)
    world.attacker.delete_entries(*range(1, snapshot.position))
    world.attacker.put_rows(world.past.held[name, revision])
    assert use(world.open(), world.past, name) == TAMPERED


def test_a_node_that_starts_from_a_snapshot_misses_policies_and_endpoints(world: World) -> None:
    snapshot = snapshot_of(world)
    world.attacker.set_snapshot(snapshot)
    world.attacker.delete_entries(*range(1, snapshot.position))
    world.attacker.delete_rows(*(world.past.ids[name] for name in KEPT_FROM_CREATION))
    node = world.open()
    for prefix in ("pol_", "whe_"):
        assert list(node.records.open_left_out(prefix, {world.past.ids["endpoint changed"]})) == []
    assert reported(world, node) == set(KEPT_FROM_CREATION)


def test_a_snapshot_by_an_older_program_hides_no_policy_and_locks_none_out(world: World) -> None:
    """It ran beside newer ones for a while, and its floor had no policy at its first revision."""
    whole = snapshot_of(world)
    node = world.open()
    message = framed(node.ledger.log_id, str(whole.position)) + whole.hash + whole.body
    older = replace(whole, seal=node.records.keyring.seal(Purpose.OLDER_SNAPSHOT, message))
    world.close()
    world.attacker.set_snapshot(older)
    assert use(world.open(), world.past, "policy kept") == "ok"
    world.close()
    world.attacker.delete_rows(world.past.ids["policy kept"])
    assert use(world.open(), world.past, "policy kept") == TAMPERED
    world.close()
    world.attacker.delete_entries(*range(1, whole.position))
    with pytest.raises(IntegrityError):
        world.open()


def test_whoever_schedules_misses_a_policy_that_was_taken_away(world: World) -> None:
    world.attacker.delete_rows(world.past.ids["policy kept"])
    node = world.open()
    list(node.rotation.scheduler.work())
    assert reported(world, node) == {"policy kept"}


def test_whoever_delivers_misses_an_endpoint_that_was_taken_away(world: World) -> None:
    world.attacker.delete_rows(world.past.ids["endpoint changed"])
    node = world.open()
    assert list(node.notices.deliverer.work({})) == []
    assert reported(world, node) == {"endpoint changed"}


@pytest.mark.parametrize("prefix", ["pol_", "rot_", "whe_"])
def test_no_cursor_is_made_from_a_place_that_is_none_of_the_logs(world: World, prefix: str) -> None:
    row = next(row for row_id, row in world.attacker.rows().items() if row_id.startswith(prefix))
    world.attacker.put_rows(replace(row, created=2**62))
    node = world.open()
    lists: dict[str, Callable[..., object]] = {
        "pol_": node.rotation.policies.list,
        "rot_": node.rotation.history.list,
        "whe_": node.notices.endpoints.list,
    }
    with pytest.raises(IntegrityError, match="no position of the log"):
        lists[prefix](BY, limit=1)
