"""The vectors of rows, entries, heads and snapshots, through what reads them from a ledger."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from keyturn.crypto.keyring import Purpose
from keyturn.domain.change import ChangeSet, Event, EventType, Put, Require
from keyturn.domain.entry import RowMark, chain_next, chain_start
from keyturn.domain.floor import Floor
from keyturn.domain.instants import from_micros
from keyturn.errors import IntegrityError, InvalidInputError
from keyturn.ports.ledger import Ledger, LogEntry, NewEntry, NewRow, Row, SealedHead, Snapshot
from keyturn.records.entry_seals import Seen, seal_entry
from keyturn.records.progress import Progress
from keyturn.records.rows import open_row, seal_changes
from keyturn.records.sealed_state import check_head, load_snapshot, make_snapshot, sealed_head
from tests.unit.crypto.samples import DEKS, LOG_ID, SEALED, Vector, flipped, keyring, named, scripted, vectors

ROWS, LOG = vectors("row"), vectors("log_entry")


def test_the_vectors_share_one_log_and_its_data_keys() -> None:
    for file in (ROWS, LOG):
        assert file["log_id"] == LOG_ID
        assert {int(version): bytes.fromhex(dek) for version, dek in file["deks"].items()} == DEKS


@pytest.mark.parametrize(
    ("page", "values"),
    [
        ("row", [ROWS["rows"][0]["seal"], ROWS["rows"][0]["digest"]]),
        (
            "log-entry",
            [LOG["entries"][0]["hash"], *(LOG["entries"][1][name] for name in ("hash", "seal", "entry"))],
        ),
        ("sealed", [SEALED["materials"][0][name] for name in ("salt", "key", "nonce", "commitment")]),
        ("sealed", re.findall(".{68}", SEALED["materials"][0]["sealed"][106:])),
        ("sealed", [purpose.value.decode() for purpose in Purpose]),
    ],
)
def test_the_documented_examples_are_the_real_ones(page: str, values: list[str]) -> None:
    text = (Path(__file__).parents[3] / "docs" / "formats" / f"{page}.md").read_text()
    unspaced = "".join(text.split())
    assert [value for value in values if value not in unspaced] == []


# Rows


def row_of(vector: Vector) -> Row:
    columns = {name: vector[name] for name in ("id", "kind", "tenant", "revision", "body")}
    return Row(**columns, seal=bytes.fromhex(vector["seal"]), material=None, created=1, position=1)


@named(ROWS["rows"])
def test_a_row_opens_when_its_seal_and_its_columns_hold(vector: Vector) -> None:
    opened = open_row(keyring(), row_of(vector))
    assert opened.digest.hex() == vector["digest"]
    assert {name: opened.body[name] for name in ("id", "kind", "tenant", "revision")} == {
        name: vector[name] for name in ("id", "kind", "tenant", "revision")
    }


@named(ROWS["columns_refused"])
def test_a_row_whose_columns_say_something_else_is_refused(vector: Vector) -> None:
    """OWASP Key Management, Storage 6: nothing is gained by moving a sealed body to another row."""
    with pytest.raises(IntegrityError, match=r"^a row's columns differ from its sealed body$"):
        open_row(keyring(), row_of(vector))


def test_every_column_that_is_compared_has_a_vector() -> None:
    rows = {vector["name"]: row_of(vector) for vector in ROWS["columns_refused"]}
    assert len(rows) == 4
    assert len({row.body for row in rows.values()}) == 1


def test_a_change_is_sealed_as_the_format_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row and entry of an owner's revocation, from the change to what a ledger stores."""
    row = next(vector for vector in ROWS["rows"] if vector["name"] == "an owner revoked once")
    entry = next(vector for vector in LOG["entries"] if vector["type"] == "owner_revoked")
    put = Put(
        id=row["id"], kind="owner", tenant="default", revision=1, body=json.loads(row["body"]), material=b"m"
    )
    event = Event(
        type=EventType.OWNER_REVOKED,
        time=from_micros(entry["time"]),
        tenant=entry["tenant"],
        actor=entry["actor"],
        subjects=(row["id"],),
        rows=(row["id"],),
        details=entry["details"]["members"],
    )
    monkeypatch.setattr(os, "urandom", scripted(bytes.fromhex(entry["details"]["salt"])))
    requires = (Require("keyring", 1),)
    seen = Seen(entry["after"], chain_at(entry["after"]))
    sealed = seal_changes(keyring(2), ChangeSet(requires=requires, puts=(put,), events=(event,)), seen)
    assert sealed.entries == (
        NewEntry(
            entry["entry"].encode(), bytes.fromhex(entry["seal"]), entry["details"]["text"], (row["id"],)
        ),
    )
    seal = keyring(2).seal(Purpose.ROW, row["body"].encode())
    assert sealed.rows == (NewRow(row["id"], "owner", "default", 1, row["body"], seal, b"m"),)
    assert (sealed.requires, sealed.sealed_head) == (requires, None)


def test_an_event_without_details_needs_no_randomness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", scripted())
    event = Event(
        type=EventType.KEY_RETRIEVED, time=from_micros(0), tenant="default", actor="local", subjects=()
    )
    assert (
        seal_changes(keyring(), ChangeSet(events=(event,)), Seen(0, chain_start(LOG_ID))).entries[0].details
        is None
    )


def test_a_body_has_at_most_65_536_bytes() -> None:
    """Counted as they are stored; refused before anything is written."""

    def sealed(text: str) -> NewRow:
        put = Put(id="a", kind="key", tenant="default", revision=1, body={"name": text})
        event = Event(
            type=EventType.KEY_CREATED,
            time=from_micros(0),
            tenant="default",
            actor="local",
            subjects=(),
            rows=("a",),
        )
        return seal_changes(
            keyring(), ChangeSet(puts=(put,), events=(event,)), Seen(0, chain_start(LOG_ID))
        ).rows[0]

    room = 65_536 - len('{"name":""}')
    assert len(sealed("x" * room).body) == 65_536
    for text in ("x" * (room + 1), "é" * (room // 2 + 1)):
        with pytest.raises(InvalidInputError, match="65536"):
            sealed(text)


# The log


def stored(vector: Vector) -> LogEntry:
    return LogEntry(
        position=vector["position"],
        entry=vector["entry"].encode(),
        seal=bytes.fromhex(vector["seal"]),
        hash=bytes.fromhex(vector["hash"]),
        details=None,
    )


class OnlyLog:
    """A ledger's log, and nothing else of it."""

    log_id = LOG_ID

    def __init__(self, entries: Sequence[LogEntry] = ()) -> None:
        self._entries = entries

    def read_log(self, start: int, limit: int) -> list[LogEntry]:
        return list(self._entries[start - 1 : start - 1 + limit])


def reading_from(position: int, entries: Sequence[LogEntry] = ()) -> Progress:
    """A reader who has come as far as `position` in a log of these entries."""
    chain = entries[position - 1].hash if position else chain_start(LOG_ID)
    return Progress(cast(Ledger, OnlyLog(entries)), Seen(position, chain), Floor())


def beginning() -> Progress:
    return reading_from(0)


def marks_of(rows: Iterable[tuple[str, int, str]]) -> list[RowMark]:
    return [RowMark(row_id, revision, bytes.fromhex(digest)) for row_id, revision, digest in rows]


def kept_by(floor: Floor, marks: Iterable[RowMark]) -> bool:
    """Whether the floor keeps these rows and no others."""
    wanted = list(marks)
    return len(floor) == len(wanted) and all(floor.admits(*mark) for mark in wanted)


def test_the_log_begins_as_the_format_says() -> None:
    assert chain_start(LOG["log_id"]).hex() == LOG["chain_start"]


@named(LOG["entries"])
def test_an_entry_has_the_seal_and_the_chain_that_the_format_says(vector: Vector) -> None:
    """docs/formats/log-entry.md, by an implementation of its own."""
    raw = vector["entry"].encode()
    seen = Seen(vector["after"], chain_at(vector["after"]))
    assert seal_entry(keyring(vector["dek"]), raw, seen).hex() == vector["seal"]
    assert chain_next(chain_at(vector["position"] - 1), raw).hex() == vector["hash"]


def chain_at(position: int) -> bytes:
    return bytes.fromhex(LOG["entries"][position - 1]["hash"] if position else LOG["chain_start"])


def test_what_a_writer_had_read_is_looked_up_where_the_reader_does_not_remember_it() -> None:
    entries = [stored(vector) for vector in LOG["entries"]]
    late = [vector for vector in LOG["entries"] if vector["after"] < vector["position"] - 1]
    assert late
    for vector in late:
        before = vector["position"] - 1
        assert reading_from(before, entries).check(keyring(), entries[before : before + 1])
    other = [replace(entries[0], hash=bytes(32)), *entries[1:]]
    with pytest.raises(IntegrityError, match="seal"):
        reading_from(2, other).check(keyring(), entries[2:3])
    with pytest.raises(IntegrityError, match="no entry at 1"):
        reading_from(2, [replace(entry, position=99) for entry in entries]).check(keyring(), entries[2:3])


def test_a_log_that_holds_is_read_to_its_end() -> None:
    entries = [stored(vector) for vector in LOG["entries"]]
    at = beginning()
    marks = at.check(keyring(), entries)
    assert marks == marks_of(row for vector in LOG["entries"] for row in vector["rows"])
    at.floor.raise_to(marks)
    assert kept_by(at.floor, marks_of(LOG["floor"]))


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_log_is_the_same_read_in_pieces(batch: int) -> None:
    entries = [stored(vector) for vector in LOG["entries"]]
    at = beginning()
    for start in range(0, len(entries), batch):
        piece = entries[start : start + batch]
        at.floor.raise_to(at.check(keyring(), piece))
        at.move_past(piece[-1])
    assert at.position == len(entries)
    assert at.seen.hash.hex() == LOG["entries"][-1]["hash"]
    assert kept_by(at.floor, marks_of(LOG["floor"]))


@named(LOG["logs_refused"])
def test_a_log_that_was_changed_is_refused(vector: Vector) -> None:
    says = {
        "chain": f"chain breaks at position {vector['at']}$",
        "seal": "^a entry seal does not hold$",
        "place": f"^the seal of entry {vector['at']} is malformed$",
        "malformed": "^a log entry is malformed",
    }
    with pytest.raises(IntegrityError, match=says[vector["failure"]]):
        beginning().check(keyring(), [stored(entry) for entry in vector["entries"]])


def test_every_flipped_byte_of_an_entry_breaks_the_chain_and_the_seal() -> None:
    """PCI DSS 10.3.2."""
    original = stored(LOG["entries"][0])
    for entry in flipped(original.entry):
        with pytest.raises(IntegrityError, match="chain"):
            beginning().check(keyring(), [LogEntry(1, entry, original.seal, original.hash, None)])
        rechained = LogEntry(1, entry, original.seal, chain_next(chain_start(LOG_ID), entry), None)
        with pytest.raises(IntegrityError, match="seal"):
            beginning().check(keyring(), [rechained])


def test_details_can_be_erased_and_the_log_still_holds() -> None:
    """GDPR, article 17: neither chain nor seal is over the details, only over their salted hash."""
    assert any(vector["details"] for vector in LOG["entries"])
    assert all(stored(vector).details is None for vector in LOG["entries"])
    beginning().check(keyring(), [stored(vector) for vector in LOG["entries"]])


# Sealed heads


def head_of(vector: Vector) -> SealedHead:
    return SealedHead(vector["position"], bytes.fromhex(vector["hash"]), bytes.fromhex(vector["seal"]))


@named(LOG["heads"])
def test_a_head_is_sealed_as_the_format_says(vector: Vector) -> None:
    sealed = head_of(vector)
    check_head(keyring(), LOG_ID, sealed)
    primary = int.from_bytes(sealed.seal[1:5], "big")
    assert sealed_head(keyring(primary), LOG_ID, Seen(sealed.position, sealed.hash)) == sealed


@named(LOG["heads_refused"])
def test_a_head_that_nobody_vouched_for_is_refused(vector: Vector) -> None:
    with pytest.raises(IntegrityError, match=r"^a head seal does not hold$"):
        check_head(keyring(), LOG_ID, head_of(vector))


# Snapshots of the floor


def snapshot_of(vector: Vector) -> Snapshot:
    return Snapshot(vector["position"], *(bytes.fromhex(vector[name]) for name in ("hash", "body", "seal")))


@named(ROWS["snapshots"])
def test_a_snapshot_opens_however_it_was_packed(vector: Vector) -> None:
    loaded = load_snapshot(keyring(), LOG_ID, snapshot_of(vector))
    assert loaded is not None
    assert (loaded.position, loaded.hash.hex()) == (vector["position"], vector["hash"])
    assert loaded.floor.to_bytes().hex() == vector["floor"]


@named(ROWS["snapshots_refused"])
def test_a_snapshot_that_was_altered_or_moved_is_refused(vector: Vector) -> None:
    with pytest.raises(IntegrityError):
        load_snapshot(keyring(), LOG_ID, snapshot_of(vector))


@named(ROWS["snapshots_passed_over"])
def test_a_snapshot_of_an_older_program_is_none(vector: Vector) -> None:
    """Its floor may lack policies and endpoints at their first revision, which would then be refused for ever."""
    assert load_snapshot(keyring(), LOG_ID, snapshot_of(vector)) is None


def test_a_snapshot_is_made_as_it_is_read() -> None:
    floor = Floor()
    floor.raise_to(marks_of(ROWS["floor"]["marks"]))
    chain = hashlib.sha256(b"").digest()
    made = make_snapshot(keyring(), LOG_ID, 7, chain, floor)
    loaded = load_snapshot(keyring(), LOG_ID, made)
    assert loaded is not None
    assert (loaded.position, loaded.hash) == (7, chain)
    assert kept_by(loaded.floor, marks_of(ROWS["floor"]["marks"]))


def test_no_snapshot_is_no_failure() -> None:
    """Without one the whole log is read."""
    assert load_snapshot(keyring(), LOG_ID, None) is None
