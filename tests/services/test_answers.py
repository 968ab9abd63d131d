"""Kept answers: for a day and no longer, in the commit that makes what was asked for, and leaving nothing behind."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Final

import pytest

from keyturn.adapters.ledger.sqlite.location import parse_url
from keyturn.domain.change import Put
from keyturn.domain.entry import decode_entry
from keyturn.domain.secret import Secret
from keyturn.domain.spec import GeneratedKey
from keyturn.errors import ConflictError, IdempotencyMismatchError, IntegrityError, StorageError
from keyturn.issuing.answers import FORGOTTEN_AT_A_TIME, Asked
from keyturn.ports.ledger import Row
from tests.contract.ledger_stores import Store
from tests.fakes import BY, Process, Site
from tests.services.samples import events, head, on_both
from tests.services.test_keyring_changes import add_data_key, reseal, retire

DAY: Final = 86_400.0
FIRST: Final = Asked(key=Secret("a"), operation="POST /v1/keys", body={"owner": "acme"}, by=BY)


def make(process: Process, asked: Asked = FIRST, body: bytes = b'{"key":"kt_"}') -> GeneratedKey:
    """Do what is asked for: issue a key and keep the answer."""
    key = process.make(owner="acme")
    answers = process.node.answers
    process.node.issuer.issue_all(
        (key,), asked.by, beside=lambda keys: (answers.kept(asked, 201, '"1-a"', body, [keys[0].key_id]),)
    )
    return key


def found(process: Process, asked: Asked = FIRST) -> bytes | None:
    answer = process.node.answers.find(asked)
    return None if answer is None else answer.body.reveal_bytes()


def always(puts: tuple[Put, ...], _: object) -> tuple[Put, ...]:
    return puts


def kept_rows(process: Process) -> int:
    """How many answers the store holds, by what the log names of them."""
    named = {
        mark.id
        for entry in process.ledger.inner.read_log(1, 10_000)
        for mark in decode_entry(entry.entry).rows
        if mark.id.startswith("ans_")
    }
    return sum(row is not None for row in process.ledger.inner.read(sorted(named)))


@on_both
def test_an_answer_is_kept_in_the_commit_that_makes_what_was_asked_for(
    ours: Process, theirs: Process
) -> None:
    before = head(ours)
    key = make(ours)
    assert head(ours) == before + 1, "one entry"
    (event,) = events(ours, after=before)
    assert (event.type, event.subjects) == ("key_created", (key.key_id,))
    for process in (ours, theirs):
        answer = process.node.answers.find(FIRST)
        assert answer is not None
        assert (answer.status, answer.etag, answer.body) == (201, '"1-a"', Secret(b'{"key":"kt_"}'))


def test_where_the_commit_fails_nothing_is_kept(ours: Process) -> None:
    def fail() -> None:
        raise StorageError("down")

    ours.ledger.before("commit", fail)
    with pytest.raises(StorageError):
        make(ours)
    assert found(ours) is None


@on_both
def test_of_two_who_do_the_same_at_once_one_loses_and_finds_the_other_ones_answer(
    ours: Process, theirs: Process
) -> None:
    ours.ledger.before("commit", lambda: make(theirs, body=b"theirs"))
    before = head(ours)
    with pytest.raises(ConflictError):
        make(ours, body=b"ours")
    assert head(ours) == before + 1
    assert found(ours) == found(theirs) == b"theirs"


@on_both
def test_an_answer_is_kept_for_24_hours_and_not_a_moment_longer(site: Site, ours: Process) -> None:
    make(ours, body=b"first")
    site.clock.pass_time(DAY - 1e-6)
    assert found(ours) == b"first"
    site.clock.pass_time(1e-6)
    assert found(ours) is None
    make(ours, body=b"second")
    assert found(ours) == b"second"


def test_an_idempotency_key_may_be_used_for_another_request_the_next_day(site: Site, ours: Process) -> None:
    make(ours)
    other = replace(FIRST, body={"owner": "other"})
    with pytest.raises(IdempotencyMismatchError):
        found(ours, other)
    site.clock.pass_time(DAY)
    assert found(ours, other) is None
    make(ours, other, b"other")
    assert found(ours, other) == b"other"
    with pytest.raises(IdempotencyMismatchError):
        found(ours)


@on_both
def test_of_two_who_find_it_expired_one_makes_it_anew(site: Site, ours: Process, theirs: Process) -> None:
    make(ours, body=b"yesterday's")
    site.clock.pass_time(DAY)
    assert found(ours) is None
    assert found(theirs) is None
    make(theirs, body=b"today's")
    with pytest.raises(ConflictError):
        make(ours)
    assert found(ours) == b"today's"


@on_both
def test_what_has_expired_is_deleted_and_nothing_of_it_stays_in_memory(site: Site, ours: Process) -> None:
    """A row that was changed stays in every reader's floor for good; these are never changed."""
    for name in "abc":
        make(ours, replace(FIRST, key=Secret(name)))
    site.clock.pass_time(DAY / 2)
    make(ours, replace(FIRST, key=Secret("d")))
    floor = len(ours.node.records.log.floor)
    assert ours.node.answers.forget_expired() == 0
    site.clock.pass_time(DAY / 2)
    assert kept_rows(ours) == 4
    assert ours.node.answers.forget_expired() == 3
    assert kept_rows(ours) == 1
    assert found(ours, replace(FIRST, key=Secret("d"))) is not None
    make(ours, replace(FIRST, key=Secret("a")))
    assert len(ours.node.records.log.floor) == floor


def test_whoever_starts_later_takes_their_absence_for_what_it_is(site: Site, ours: Process) -> None:
    """The log names rows that are gone, some of them twice."""
    make(ours, body=b"first")
    site.clock.pass_time(DAY)
    ours.node.answers.forget_expired()
    late = site.process()
    assert found(late) is None
    make(late, body=b"second")
    assert found(site.process()) == b"second"


def test_many_are_deleted_some_at_a_time(site: Site, ours: Process) -> None:
    puts = [
        ours.node.answers.kept(replace(FIRST, key=Secret(f"{n}")), 201, "", b"", []) for n in range(2_100)
    ]
    for start in range(0, 2_100, 700):
        some = tuple(puts[start : start + 700])
        ours.node.issuer.issue_all((ours.make(),), BY, beside=partial(always, some))
    site.clock.pass_time(DAY)
    ours.ledger.calls.clear()
    assert ours.node.answers.forget_expired() == 2_100
    assert ours.ledger.calls["forget_answers"] == -(-2_100 // FORGOTTEN_AT_A_TIME) + 1


# -- whose it is ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        replace(FIRST, by=replace(BY, tenant="elsewhere")),
        replace(FIRST, by=replace(BY, actor="key:key_0123456789ABCDEFGHIJKL")),
        replace(FIRST, key=Secret("A")),
    ],
    ids=["tenant", "caller", "key"],
)
def test_an_answer_is_for_one_caller_of_one_tenant_under_one_key(ours: Process, other: Asked) -> None:
    make(ours)
    assert found(ours, other) is None
    make(ours, other, b"other")
    assert (found(ours), found(ours, other)) == (b'{"key":"kt_"}', b"other")


# -- tampering --------------------------------------------------------------------------------------------------------


def row_id(process: Process, asked: Asked = FIRST) -> str:
    return process.node.answers.kept(asked, 201, "", b"", []).id


def stored(process: Process) -> Row:
    row = process.ledger.inner.read([row_id(process)])[0]
    assert row is not None
    return row


def overwrite(place: Store, row: Row) -> None:
    """Write this into the store, as somebody does who has got at the file."""
    with closing(sqlite3.connect(parse_url(place.url), isolation_level=None)) as connection:
        connection.execute(
            "UPDATE rows SET kind = ?, tenant = ?, revision = ?, body = ?, seal = ?, material = ? WHERE id = ?",
            (row.kind, row.tenant, row.revision, row.body, row.seal, row.material, row.id),
        )


def test_yesterdays_answer_is_not_given_for_todays(place: Store, site: Site, ours: Process) -> None:
    """The row has the same id, and the sealed answer opens with the same Idempotency-Key."""
    make(ours, body=b"yesterday's")
    old = stored(ours)
    site.clock.pass_time(DAY)
    assert found(ours) is None
    make(ours, body=b"today's")
    present = stored(ours)
    overwrite(place, replace(present, material=old.material))
    with pytest.raises(IntegrityError):
        found(ours)
    overwrite(place, present)
    assert found(ours) == b"today's"
    overwrite(place, old)
    assert found(ours) is None, "what has expired has expired, whoever put it back"


ALTERATIONS: Final[dict[str, Callable[[Row], Row]]] = {
    "no material": lambda row: replace(row, material=None),
    "empty material": lambda row: replace(row, material=b""),
    "other material": lambda row: replace(row, material=(row.material or b"")[:-1] + b"\0"),
    "a longer life": lambda row: replace(row, body=row.body.replace('"expires_at":1', '"expires_at":2')),
    "no seal": lambda row: replace(row, seal=bytes(37)),
    "another revision": lambda row: replace(row, revision=2),
    "another kind": lambda row: replace(row, kind="key"),
    "another tenant": lambda row: replace(row, tenant="elsewhere"),
}


@pytest.mark.parametrize("name", ALTERATIONS)
def test_an_answer_that_was_altered_is_neither_given_nor_taken_for_absent(
    place: Store, ours: Process, name: str
) -> None:
    make(ours)
    overwrite(place, ALTERATIONS[name](stored(ours)))
    with pytest.raises(IntegrityError):
        found(ours)
    ours.node.recorder.flush()
    (finding,) = [event for event in events(ours) if event.type == "integrity_failed"]
    assert finding.details["row"] == row_id(ours)


@on_both
def test_an_answer_outlives_new_data_keys_until_its_own_is_retired(ours: Process, theirs: Process) -> None:
    """Nobody but the client could seal it anew."""
    make(ours)
    add_data_key(ours)
    reseal(ours)
    assert found(ours) == found(theirs) == b'{"key":"kt_"}'
    retire(ours)
    for process in (ours, theirs):
        with pytest.raises(ConflictError) as refused:
            found(process)
        assert "fresh Idempotency-Key" in refused.value.fix
    assert "integrity_failed" not in [event.type for event in events(ours)]
    another = replace(FIRST, key=Secret("b"))
    make(ours, another, b"new")
    assert found(theirs, another) == b"new"
