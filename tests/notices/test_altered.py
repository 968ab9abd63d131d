"""Whoever can write to the database silences one endpoint, or an entry's details, and nobody else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from keyturn.domain.principal import Principal
from tests.contract.ledger_stores import Store
from tests.fakes import BY, Process
from tests.notices.conversing import Notifiers, endpoint, subjects, work
from tests.notices.receiver import Receiver
from tests.security.attacker import Attacker, attacker_on
from tests.services.samples import events, on_both


@pytest.fixture
def attacker(place: Store) -> Iterator[Attacker]:
    found = attacker_on(place.owner_url)
    yield found
    found.close()


@on_both
def test_an_altered_endpoint_silences_itself_alone(
    process: Process, theirs: Process, attacker: Attacker, receiver: Receiver, notifiers: Notifiers
) -> None:
    other = Principal(actor="library", tenant="other")
    altered = endpoint(process, receiver.url, "key_created")
    endpoint(process, receiver.url, "key_created", by=other)
    kept = endpoint(process, receiver.url, "key_created")
    body = attacker.rows()[altered].body.replace('"paused":false', '"paused":true')
    attacker.set_body(altered, body.encode())
    ours, others = process.issue(), process.issue(by=other)
    work(theirs, notifiers)
    assert sorted(subjects(receiver)) == sorted([ours.key_id, others.key_id])
    listed = theirs.node.notices.endpoints.list(BY).items
    assert [each.endpoint_id for each in listed] == [kept]
    theirs.node.recorder.flush()
    assert "integrity_failed" in {each.type for each in events(theirs)}


def test_an_entry_whose_details_were_altered_is_told_without_them_and_the_others_with_theirs(
    process: Process, attacker: Attacker, receiver: Receiver, notifiers: Notifiers
) -> None:
    endpoint(process, receiver.url, "key_updated")
    keys = [process.issue() for _ in range(3)]
    for key in keys:
        process.update(key, name="other")
    updated = [entry for entry in attacker.log() if keys[1].key_id.encode() in entry.entry][-1]
    attacker.put_entries(replace(updated, details='{"changed":["permissions"]}'))
    work(process, notifiers)
    assert subjects(receiver) == [key.key_id for key in keys]
    details = [json.loads(got.body)["data"]["details"] for got in receiver.got]
    assert [bool(each) for each in details] == [True, False, True]
    process.node.recorder.flush()
    found = process.node.trail.events({"system"}, after=attacker.log()[-2].position)
    assert [each.type for each in found] == ["integrity_failed"]


def test_an_entry_that_was_put_in_the_place_of_another_is_not_told(
    process: Process, attacker: Attacker, receiver: Receiver, notifiers: Notifiers
) -> None:
    endpoint(process, receiver.url, "key_created", "key_revoked")
    key = process.issue()
    work(process, notifiers)
    process.issue()
    process.catch_up()
    assert process.node.notices.deliverer._lines.after(0)
    created = next(entry for entry in attacker.log() if key.key_id.encode() in entry.entry)
    last = attacker.log()[-1]
    attacker.put_entries(replace(created, position=last.position, hash=last.hash))
    work(process, notifiers)
    assert subjects(receiver) == [key.key_id]
