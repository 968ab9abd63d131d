"""Heads and snapshots: worth something only as they were sealed, where they were sealed."""

from __future__ import annotations

import zlib
from dataclasses import replace

import pytest

from keyturn.crypto.keyring import Purpose
from keyturn.domain.entry import RowMark, chain_next
from keyturn.domain.floor import Floor
from keyturn.domain.framing import framed
from keyturn.errors import IntegrityError
from keyturn.ports.ledger import NewEntry, SealedHead, Snapshot
from keyturn.records.entry_seals import Seen
from keyturn.records.sealed_state import check_head, head_after, load_snapshot, make_snapshot, sealed_head
from tests.unit.crypto.samples import LOG_ID, flipped, keyring

RING = keyring()
HASH = bytes(range(32))
HEAD = sealed_head(RING, LOG_ID, Seen(7, HASH))


def floor_of(count: int = 3) -> Floor:
    floor = Floor()
    floor.raise_to(RowMark(f"key_{number}", 2, bytes(32)) for number in range(count))
    return floor


def snapshot() -> Snapshot:
    return made_of(floor_of())


def made_of(floor: Floor, position: int = 7) -> Snapshot:
    made = make_snapshot(RING, LOG_ID, position, HASH, floor)
    assert made is not None
    return made


def test_a_head_holds_as_it_was_sealed() -> None:
    check_head(RING, LOG_ID, HEAD)


@pytest.mark.parametrize(
    "changed",
    [
        replace(HEAD, position=8),
        replace(HEAD, position=70),
        replace(HEAD, hash=bytes(32)),
        *(replace(HEAD, seal=seal) for seal in flipped(HEAD.seal)),
    ],
)
def test_a_head_of_which_anything_was_changed_does_not_hold(changed: SealedHead) -> None:
    with pytest.raises(IntegrityError):
        check_head(RING, LOG_ID, changed)


def test_a_head_that_is_foreseen_is_the_one_that_is_then_read() -> None:
    entries = [NewEntry(name.encode(), b"seal", None, ()) for name in ("one", "two")]
    foreseen = head_after(RING, LOG_ID, Seen(7, HASH), entries)
    assert foreseen == sealed_head(RING, LOG_ID, Seen(9, chain_next(chain_next(HASH, b"one"), b"two")))


def test_a_head_of_another_log_does_not_hold() -> None:
    with pytest.raises(IntegrityError):
        check_head(RING, LOG_ID[::-1], HEAD)
    with pytest.raises(IntegrityError):
        check_head(keyring(log_id=LOG_ID[::-1]), LOG_ID, HEAD)


def test_a_snapshot_gives_back_the_floor() -> None:
    loaded = load_snapshot(RING, LOG_ID, snapshot())
    assert loaded is not None
    assert (loaded.position, loaded.hash) == (7, HASH)
    assert loaded.floor.to_bytes() == floor_of().to_bytes()


def test_where_there_is_no_snapshot_there_is_none() -> None:
    assert load_snapshot(RING, LOG_ID, None) is None


def test_a_snapshot_of_which_anything_was_changed_does_not_hold() -> None:
    whole = snapshot()
    changed = [
        replace(whole, position=8),
        replace(whole, hash=bytes(32)),
        replace(whole, body=zlib.compress(floor_of(2).to_bytes(), 1)),
        *(replace(whole, body=body) for body in flipped(whole.body)),
        *(replace(whole, seal=seal) for seal in flipped(whole.seal)),
    ]
    for each in changed:
        with pytest.raises(IntegrityError):
            load_snapshot(RING, LOG_ID, each)


def test_a_head_is_no_snapshot_and_the_other_way_round() -> None:
    whole = snapshot()
    with pytest.raises(IntegrityError):
        load_snapshot(RING, LOG_ID, replace(whole, seal=HEAD.seal))
    with pytest.raises(IntegrityError):
        check_head(RING, LOG_ID, replace(HEAD, seal=whole.seal))


def test_a_snapshot_that_is_cut_off_is_refused_even_when_it_was_sealed_so() -> None:
    """Not by an attacker, who cannot seal, but by a disk or a program that lost its end."""
    body = zlib.compress(floor_of(1_000).to_bytes(), 1)[:-10]
    seal = RING.seal(Purpose.SNAPSHOT, framed(LOG_ID, "7") + HASH + body)
    with pytest.raises(IntegrityError):
        load_snapshot(RING, LOG_ID, Snapshot(7, HASH, body, seal))


def test_an_empty_floor_has_a_snapshot_too() -> None:
    loaded = load_snapshot(RING, LOG_ID, made_of(Floor(), 1))
    assert loaded is not None
    assert len(loaded.floor) == 0


def test_a_floor_that_no_reader_would_take_is_not_made_into_a_snapshot() -> None:
    """A snapshot that is too large would keep every node from starting."""
    floor = floor_of(100)
    whole = len(floor.to_bytes())
    assert floor.size == whole
    assert make_snapshot(RING, LOG_ID, 7, HASH, floor, most=whole - 1) is None
    made = make_snapshot(RING, LOG_ID, 7, HASH, floor, most=whole)
    assert load_snapshot(RING, LOG_ID, made, most=whole) is not None
    with pytest.raises(IntegrityError, match="larger"):
        load_snapshot(RING, LOG_ID, made, most=whole - 1)
