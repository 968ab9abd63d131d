"""Rows and entries on their way to a ledger and back."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from keyturn.domain.change import ChangeSet, Require
from keyturn.domain.entry import decode_entry, details_hash
from keyturn.errors import IntegrityError, InvalidInputError
from keyturn.ports.ledger import Commit, NewRow, Row
from keyturn.records.entry_seals import Seen, check_entry, seen_by
from keyturn.records.rows import MAX_BODY_BYTES, open_row, seal_changes
from tests.unit.crypto.samples import flipped, keyring
from tests.unit.records.samples import OWN, change_of, put_of

RING = keyring()
SEEN = Seen(7, bytes(range(32)))


def stored(row: NewRow) -> Row:
    return Row(row.id, row.kind, row.tenant, row.revision, row.body, row.seal, row.material, 1, 1)


def sealed_row(**members: Any) -> Row:
    return stored(seal_changes(RING, change_of(put_of("key_a", 3, **members)), SEEN).rows[0])


def test_a_row_comes_back_with_its_body_and_the_digest_that_the_log_names() -> None:
    commit = seal_changes(RING, change_of(put_of("key_a", 3, name="é")), SEEN)
    opened = open_row(RING, stored(commit.rows[0]))
    assert opened.body == {"id": "key_a", "kind": "thing", "tenant": "default", "revision": 3, "name": "é"}
    assert opened.digest == hashlib.sha256(commit.rows[0].body.encode()).digest()
    (mark,) = decode_entry(commit.entries[0].entry).rows
    assert mark == ("key_a", 3, opened.digest)


def test_each_entry_names_the_rows_it_explains_and_no_others() -> None:
    commit = seal_changes(RING, change_of(put_of("key_a"), put_of("key_b"), entries=2), SEEN)
    assert [[mark.id for mark in decode_entry(new.entry).rows] for new in commit.entries] == [
        ["key_a", "key_b"],
        [],
    ]
    assert [new.rows for new in commit.entries] == [("key_a", "key_b"), ()]


def test_what_a_change_requires_is_passed_on() -> None:
    puts, requires = (put_of("key_a"),), (Require(OWN, 7),)
    changes = ChangeSet(requires=requires, puts=puts, events=change_of(*puts).events)
    assert seal_changes(RING, changes, SEEN).requires == requires


@pytest.mark.parametrize(
    ("column", "value"), [("id", "key_b"), ("kind", "key"), ("tenant", "x"), ("revision", 4)]
)
def test_a_column_that_says_other_than_the_sealed_body_is_refused(column: str, value: Any) -> None:
    with pytest.raises(IntegrityError):
        open_row(RING, replace(sealed_row(), **{column: value}))


def test_a_changed_bit_anywhere_in_a_body_or_its_seal_is_refused() -> None:
    row = sealed_row()
    for seal in flipped(row.seal):
        with pytest.raises(IntegrityError):
            open_row(RING, replace(row, seal=seal))
    for body in flipped(row.body.encode()):
        with pytest.raises(IntegrityError):
            open_row(RING, replace(row, body=body.decode("latin-1")))


def test_a_seal_of_another_row_is_refused() -> None:
    with pytest.raises(IntegrityError):
        open_row(RING, replace(sealed_row(), seal=sealed_row(name="other").seal))


def test_a_body_may_take_64_kib_and_no_more() -> None:
    room = MAX_BODY_BYTES - len(sealed_row(text="").body.encode())
    assert MAX_BODY_BYTES == 65_536
    assert len(sealed_row(text="x" * room).body) == MAX_BODY_BYTES
    with pytest.raises(InvalidInputError, match="65537"):
        sealed_row(text="x" * (room + 1))
    with pytest.raises(InvalidInputError):
        sealed_row(text="é" * (room // 2 + 1))


def test_details_stand_beside_the_entry_with_a_fresh_salt_each() -> None:
    def sealed() -> Commit:
        return seal_changes(RING, change_of(put_of("key_a"), details={"note": "left the company"}), SEEN)

    first, second = sealed().entries[0], sealed().entries[0]
    assert first.details is not None
    assert second.details is not None
    assert b"left the company" not in first.entry
    assert decode_entry(first.entry).details_hash == details_hash(first.details)
    assert len(json.loads(first.details)["salt"]) == 22
    assert json.loads(first.details)["salt"] != json.loads(second.details)["salt"]


def test_an_event_without_details_has_none() -> None:
    (entry,) = seal_changes(RING, change_of(put_of("key_a")), SEEN).entries
    assert entry.details is None
    assert decode_entry(entry.entry).details_hash is None


def test_the_seal_of_an_entry_vouches_for_the_log_that_its_writer_had_read() -> None:
    (entry,) = seal_changes(RING, change_of(put_of("key_a")), SEEN).entries
    check_entry(RING, entry.entry, entry.seal, SEEN)
    assert seen_by(entry.seal, 8) == 7
    for other in (Seen(6, SEEN.hash), Seen(7, bytes(32))):
        with pytest.raises(IntegrityError):
            check_entry(RING, entry.entry, entry.seal, other)
    for seal in flipped(entry.seal[:37]):
        with pytest.raises(IntegrityError):
            check_entry(RING, entry.entry, seal, SEEN)


@pytest.mark.parametrize("position", [1, 7])
def test_no_writer_has_read_what_came_after_its_entry(position: int) -> None:
    (entry,) = seal_changes(RING, change_of(put_of("key_a")), SEEN).entries
    with pytest.raises(IntegrityError):
        seen_by(entry.seal, position)
