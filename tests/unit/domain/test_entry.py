import hashlib
from datetime import datetime

import pytest

from keyturn.domain.change import Event, EventType
from keyturn.domain.entry import (
    MAX_ENTRY_BYTES,
    Entry,
    RowMark,
    chain_next,
    chain_start,
    decode_entry,
    details_hash,
    encode_details,
    encode_entry,
)
from keyturn.domain.instants import from_micros
from keyturn.errors import IntegrityError, InvalidInputError
from tests.unit.crypto.samples import Vector, named, vectors

VECTORS = vectors("log_entry")
WITH_DETAILS = [vector for vector in VECTORS["entries"] if vector["details"]]


def event_of(vector: Vector) -> Event:
    return Event(
        type=EventType(vector["type"]),
        time=from_micros(vector["time"]),
        tenant=vector["tenant"],
        actor=vector["actor"],
        subjects=tuple(vector["subjects"]),
        rows=tuple(row[0] for row in vector["rows"]),
        details={} if vector["details"] is None else vector["details"]["members"],
    )


def marks_of(vector: Vector) -> tuple[RowMark, ...]:
    return tuple(RowMark(row_id, revision, bytes.fromhex(raw)) for row_id, revision, raw in vector["rows"])


def details_of(vector: Vector) -> str | None:
    if vector["details"] is None:
        return None
    return encode_details(vector["details"]["members"], bytes.fromhex(vector["details"]["salt"]))


@named(VECTORS["entries"])
def test_an_entry_has_the_bytes_that_the_format_says(vector: Vector) -> None:
    """docs/formats/log-entry.md, by an implementation of its own. These bytes are frozen."""
    assert encode_entry(event_of(vector), marks_of(vector), details_of(vector)) == vector["entry"].encode()


@named(VECTORS["entries"])
def test_an_entry_gives_back_what_it_says(vector: Vector) -> None:
    hashed = None if vector["details"] is None else bytes.fromhex(vector["details"]["hash"])
    assert decode_entry(vector["entry"].encode()) == Entry(
        type=vector["type"],
        time=vector["time"],
        tenant=vector["tenant"],
        actor=vector["actor"],
        subjects=tuple(vector["subjects"]),
        rows=marks_of(vector),
        details_hash=hashed,
    )


@named(WITH_DETAILS)
def test_details_are_stored_and_hashed_as_the_format_says(vector: Vector) -> None:
    text = details_of(vector)
    assert text is not None
    assert text == vector["details"]["text"]
    assert details_hash(text).hex() == vector["details"]["hash"]


@named(VECTORS["entries_refused"])
def test_bytes_that_are_no_entry_are_refused(vector: Vector) -> None:
    says = {"malformed": "^a log entry is malformed$", "format": "a format this program does not know"}
    with pytest.raises(IntegrityError, match=says[vector["failure"]]):
        decode_entry(vector["entry"].encode())


@pytest.mark.parametrize(
    "raw", [b"\xff", b'{"v":1}', b"1", b"null", b"[" * 100_000], ids=lambda raw: repr(raw[:9])
)
def test_no_bytes_at_all_make_reading_an_entry_fail_in_another_way(raw: bytes) -> None:
    with pytest.raises(IntegrityError):
        decode_entry(raw)


def test_an_entry_of_a_type_that_a_newer_program_wrote_is_read() -> None:
    """A node that is one version behind must go on following the log."""
    text = VECTORS["entries"][0]["entry"].replace("keyring_created", "keyring_rotated")
    assert decode_entry(text.encode()).type == "keyring_rotated"


def test_what_an_entry_says_is_not_changed_by_who_reads_it() -> None:
    entry = decode_entry(VECTORS["entries"][0]["entry"].encode())
    for name in ("rows", "tenant", "anything"):
        with pytest.raises((AttributeError, TypeError)):
            setattr(entry, name, ())


def test_an_entry_has_at_most_65_535_bytes() -> None:
    """C2SP tlog-tiles has a length of two bytes before each entry."""
    assert MAX_ENTRY_BYTES == 65_535
    template = event_of(VECTORS["entries"][0])

    def entry(subject: str) -> bytes:
        event = Event(
            type=template.type, time=template.time, tenant="default", actor="local", subjects=(subject,)
        )
        return encode_entry(event, (), None)

    room = MAX_ENTRY_BYTES - len(entry(""))
    assert len(entry("x" * room)) == MAX_ENTRY_BYTES
    with pytest.raises(InvalidInputError, match="at most 65535 bytes, this one 65536"):
        entry("x" * (room + 1))
    with pytest.raises(InvalidInputError):
        entry("é" * (room // 2 + 1))


def test_an_entry_names_an_instant_and_no_local_time() -> None:
    template = event_of(VECTORS["entries"][0])
    naive = Event(
        type=template.type, time=datetime(2026, 1, 31), tenant="default", actor="local", subjects=()
    )
    with pytest.raises(InvalidInputError, match="offset"):
        encode_entry(naive, (), None)


def test_the_hash_of_details_tells_nothing_of_them() -> None:
    """GDPR, article 17: with the salt erased, guessing the address behind a hash leads nowhere."""
    details = {"last_ip": "203.0.113.9"}
    hashes = {details_hash(encode_details(details, bytes([salt]) * 16)) for salt in range(10)}
    assert len(hashes) == 10
    assert details_hash(encode_details(details, bytes(16))) == details_hash(
        encode_details(details, bytes(16))
    )


@named(WITH_DETAILS)
def test_details_that_were_altered_have_another_hash(vector: Vector) -> None:
    text = vector["details"]["text"]
    for at, character in enumerate(text):
        other = text[:at] + chr(ord(character) ^ 1) + text[at + 1 :]
        assert details_hash(other).hex() != vector["details"]["hash"]


def test_the_entry_holds_nothing_of_the_details_but_their_hash() -> None:
    vector = WITH_DETAILS[0]
    assert vector["details"]["members"]["note"] not in vector["entry"]
    assert vector["details"]["salt"] not in vector["entry"]


def test_the_chain_begins_with_the_logs_own_name() -> None:
    """So that no entry of one log can be taken for one of another."""
    assert chain_start("0123456789ABCDEF") == hashlib.sha256(b"keyturn-log-v10123456789ABCDEF").digest()
    assert chain_start("0123456789ABCDEF") != chain_start("FEDCBA9876543210")


def test_the_chain_depends_on_every_entry_and_on_their_order() -> None:
    def end(*entries: bytes) -> bytes:
        chain = chain_start("0123456789ABCDEF")
        for entry in entries:
            chain = chain_next(chain, entry)
        return chain

    ends = {end(), end(b"a"), end(b"b"), end(b"a", b"b"), end(b"b", b"a"), end(b"a", b"a"), end(b"", b"a")}
    assert len(ends) == 7


@pytest.mark.parametrize(
    "rows",
    ['[[1,1,"AA"]]', '[["a","b","AA"]]', '[["a",true,"AA"]]', '[["a",1,"AA"]]', '[["a",0,"AA"]]', '"ab"'],
)
def test_an_entry_whose_rows_are_no_rows_is_refused(rows: str) -> None:
    """Up to the sealed head an entry's own seal is not looked at: what it says must not take the reader down."""
    text = '{"actor":"a","details_hash":null,"rows":%s,"subjects":[],"tenant":"t","time":1,"type":"x","v":1}'
    with pytest.raises(IntegrityError):
        decode_entry((text % rows).encode())
