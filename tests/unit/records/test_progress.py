"""Reading a whole log at the start, and holding it against what was vouched for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from keyturn.crypto.keyring import Purpose
from keyturn.domain.entry import chain_next
from keyturn.errors import IntegrityError
from keyturn.ports.ledger import SealedHead
from keyturn.records.entry_seals import Seen
from keyturn.records.progress import replay
from keyturn.records.sealed_state import make_snapshot, sealed_head
from tests.unit.records.samples import OWN, Bench, begun, put_of

BATCH = 3  # entries a read, so that few entries make several


@pytest.fixture
def bench() -> Bench:
    """Ten entries, of which the first seven are vouched for."""
    created = begun()
    for revision in range(1, 7):
        created.commit(put_of(OWN, revision))
    created.log.seal_head()
    for revision in range(7, 10):
        created.write(put_of(OWN, revision))
    return created


def position_after(bench: Bench) -> int:
    at, _ = replay(bench.ledger, bench.keyring, BATCH)
    return at.position


def sealed_at(bench: Bench, position: int) -> SealedHead:
    return sealed_head(bench.keyring, bench.store.log_id, Seen(position, bench.store.log[position - 1].hash))


def test_the_whole_log_is_read_and_the_sealed_position_told(bench: Bench) -> None:
    at, sealed = replay(bench.ledger, bench.keyring, BATCH)
    assert (at.position, sealed) == (10, 7)
    assert at.floor.revision(OWN) == 9


def test_an_empty_log_holds() -> None:
    bench = Bench()
    at, sealed = replay(bench.ledger, bench.keyring, BATCH)
    assert (at.position, sealed, len(at.floor)) == (0, 0, 0)


def test_up_to_the_sealed_head_it_stands_for_the_entries_seals(bench: Bench) -> None:
    """Checking a million seals at each start would take seconds more."""
    bench.store.log[2] = replace(bench.store.log[2], seal=bytes(37))
    assert position_after(bench) == 10


def without_head(bench: Bench) -> None:
    bench.store.sealed = None


def cut_short(bench: Bench) -> None:
    del bench.store.log[6:]


def gone(bench: Bench) -> None:
    del bench.store.log[:]


def gap(bench: Bench) -> None:
    del bench.store.log[4]


def unsealed_entry(bench: Bench) -> None:
    bench.store.log[8] = replace(bench.store.log[8], seal=bench.store.log[7].seal)


def other_entry(bench: Bench) -> None:
    """Before the sealed head, and chained anew up to the end."""
    chain = bench.store.log[1].hash
    for index in range(2, len(bench.store.log)):
        stored = bench.store.log[index]
        entry = stored.entry.replace(b"local", b"LOCAL") if index == 2 else stored.entry
        chain = chain_next(chain, entry)
        bench.store.log[index] = replace(stored, entry=entry, hash=chain)


def head_of_nothing(bench: Bench) -> None:
    bench.store.sealed = SealedHead(7, bytes(32), bench.keyring.seal(Purpose.HEAD, b"anything"))


def head_moved(bench: Bench) -> None:
    sealed = sealed_at(bench, 7)
    bench.store.sealed = replace(sealed, position=8, hash=bench.store.log[7].hash)


def head_ahead(bench: Bench) -> None:
    """Sealed for a log that was longer."""
    bench.store.sealed = replace(sealed_at(bench, 10), position=11)


def snapshot_of_another_history(bench: Bench) -> None:
    at, _ = replay(bench.ledger, bench.keyring, BATCH)
    bench.store.snapshot = make_snapshot(bench.keyring, bench.store.log_id, 5, bytes(32), at.floor)


def snapshot_past_the_end(bench: Bench) -> None:
    at, _ = replay(bench.ledger, bench.keyring, BATCH)
    chain = bench.store.log[-1].hash
    bench.store.snapshot = make_snapshot(bench.keyring, bench.store.log_id, 11, chain, at.floor)


@pytest.mark.parametrize(
    "tamper",
    [
        without_head, cut_short, gone, gap, unsealed_entry, other_entry, head_of_nothing, head_moved, head_ahead,
        snapshot_of_another_history, snapshot_past_the_end,
    ],
)  # fmt: skip
def test_a_log_that_is_not_what_was_vouched_for_is_refused(
    bench: Bench, tamper: Callable[[Bench], None]
) -> None:
    tamper(bench)
    with pytest.raises(IntegrityError):
        replay(bench.ledger, bench.keyring, BATCH)


@pytest.mark.parametrize("position", [1, 6, 7, 9, 10])
def test_reading_from_a_snapshot_leads_to_the_same_floor(bench: Bench, position: int) -> None:
    from_the_start, _ = replay(bench.ledger, bench.keyring, BATCH)
    log, sealed, chain = list(bench.store.log), bench.store.sealed, bench.store.log[position - 1].hash
    bench.store.log[:], bench.store.sealed = log[:position], sealed_at(bench, position)
    there, _ = replay(bench.ledger, bench.keyring, BATCH)
    bench.store.snapshot = make_snapshot(bench.keyring, bench.store.log_id, position, chain, there.floor)
    bench.store.log[:], bench.store.sealed = log, sealed
    at, _ = replay(bench.ledger, bench.keyring, BATCH)
    assert (at.position, at.snapshot) == (10, position)
    assert at.floor.to_bytes() == from_the_start.floor.to_bytes()
