"""Deliveries to webhooks: at least once, in order for each key, from a cursor that survives everything."""

from __future__ import annotations

import json
import threading
from base64 import b64decode
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from keyturn.crypto.webhooks import public_key_text
from keyturn.domain.notices.deliveries import DELAYS
from keyturn.domain.notices.destination import Destination
from keyturn.domain.notices.endpoint import Signing
from keyturn.domain.principal import Principal
from keyturn.errors import ConflictError, NotFoundError, StorageError
from keyturn.notices.delivering import COMPARE_SECONDS
from keyturn.notices.telling import AT_ONCE, HELD, Delivery
from keyturn.ports.ledger import KeptState, Reseal
from keyturn.ports.notifier import Message, Outcome
from keyturn.verifier.journal import SUMMARY_SECONDS
from tests.fakes import BY, Process, Site
from tests.notices.conversing import Notifiers, endpoint, subjects, types, work
from tests.notices.receiver import Got, Receiver, receiving
from tests.services.samples import on_both


@on_both
def test_what_happens_after_an_endpoint_was_made_is_told_once_and_in_order(
    process: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    process.issue()
    endpoint(process, receiver.url, "key_created", "key_revoked")
    key = process.issue(owner="acme")
    process.update(key, name="other")
    process.revoke(key)
    assert [each.outcome.delivered for each in work(process, notifiers)] == [True, True]
    assert types(receiver) == ["key_created", "key_revoked"]
    assert subjects(receiver) == [key.key_id, key.key_id]
    assert receiver.got[0].path == "/hook?of=keyturn"
    assert work(process, notifiers) == []
    assert len(receiver.got) == 2


def test_another_tenants_entries_are_not_told(
    process: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    endpoint(process, receiver.url, "key_created")
    process.issue(by=Principal(actor="library", tenant="other"))
    assert work(process, notifiers) == []
    assert receiver.got == []


def test_what_concerns_no_key_is_told_and_holds_nothing_up(
    process: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    """A summary of refusals of unknown tokens names no key."""
    endpoint_id = endpoint(process, receiver.url, "verify_failed", "key_created")
    process.ask(process.make())
    process.clock.pass_time(SUMMARY_SECONDS + 1)
    process.node.recorder.tick()
    process.node.recorder.flush()
    process.issue()
    assert [each.outcome.delivered for each in work(process, notifiers)] == [True, True]
    assert types(receiver) == ["verify_failed", "key_created"]
    made = process.node.notices.redelivery.deliveries(endpoint_id, BY).delivered
    assert made[0].lane == "verify_failed"


def test_the_tenant_of_the_operator_is_told_of_the_installation_and_no_other_is(
    process: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    endpoint(process, receiver.url, "integrity_failed", "keyring_rotated")
    other = Principal(actor="library", tenant="other")
    process.node.notices.endpoints.create(receiver.url, other, events=["integrity_failed"])
    process.node.records.incidents.note("row", "default", "altered")
    process.node.recorder.flush()
    process.node.keyring_changes.add_data_key(BY)
    work(process, notifiers)
    told = [(json.loads(got.body)["type"], json.loads(got.body)["data"]["tenant"]) for got in receiver.got]
    assert told == [("integrity_failed", "system"), ("keyring_rotated", "system")]


def test_hmac_signatures_verify_with_the_standard_library_of_receivers(
    process: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    made = process.node.notices.endpoints.create(receiver.url, BY, events=["key_created"])
    assert made.secret is not None
    key = process.issue()
    work(process, notifiers)
    got = receiver.got[0]
    told = Webhook(made.secret.reveal()).verify(got.body, got.fields)
    assert told["type"] == "key_created"
    assert told["data"]["subjects"] == [key.key_id]
    with pytest.raises(WebhookVerificationError):
        Webhook(made.secret.reveal()).verify(got.body + b" ", got.fields)


def verify_ed25519(public_key: bytes, got: Got) -> None:
    signed = f"{got.fields['webhook-id']}.{got.fields['webhook-timestamp']}.".encode() + got.body
    for each in got.fields["webhook-signature"].split(" "):
        version, _, signature = each.partition(",")
        assert version == "v1a"
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(b64decode(signature), signed)
        except InvalidSignature:
            continue
        return
    raise InvalidSignature


def test_ed25519_signatures_verify_with_the_public_key_and_no_secret_is_told(
    process: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    made = process.node.notices.endpoints.create(
        receiver.url, BY, events=["key_created"], signing=Signing.ED25519
    )
    assert made.secret is None
    assert made.endpoint.public_key is not None
    assert b64decode(public_key_text(made.endpoint.public_key).removeprefix("whpk_")) == (
        made.endpoint.public_key
    )
    process.issue()
    work(process, notifiers)
    verify_ed25519(made.endpoint.public_key, receiver.got[0])
    with pytest.raises(InvalidSignature):
        verify_ed25519(made.endpoint.public_key, replace(receiver.got[0], body=b"{}"))


@pytest.mark.parametrize("signing", list(Signing))
def test_while_a_signing_secret_is_rotated_both_sign_and_then_only_the_new_one(
    process: Process, receiver: Receiver, notifiers: Notifiers, signing: Signing
) -> None:
    endpoints = process.node.notices.endpoints
    first = endpoints.create(receiver.url, BY, events=["key_created"], signing=signing)
    second = endpoints.rotate_secret(first.endpoint.endpoint_id, BY, overlap=200)

    def verifies(got: Got, number: int) -> bool:
        made = (first, second)[number]
        try:
            if made.secret is not None:
                Webhook(made.secret.reveal()).verify(got.body, got.fields)
            else:
                assert made.endpoint.public_key is not None
                verify_ed25519(made.endpoint.public_key, got)
        except (WebhookVerificationError, InvalidSignature):
            return False
        return True

    process.issue()
    work(process, notifiers)
    assert [verifies(receiver.got[0], number) for number in (0, 1)] == [True, True]
    process.clock.pass_time(200)
    process.issue()
    work(process, notifiers)
    assert [verifies(receiver.got[1], number) for number in (0, 1)] == [False, True]


def test_a_signing_secret_that_leaked_signs_nothing_from_its_rotation_on(
    process: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    endpoints = process.node.notices.endpoints
    first = endpoints.create(receiver.url, BY, events=["key_created"])
    endpoints.rotate_secret(first.endpoint.endpoint_id, BY, overlap=0)
    process.issue()
    work(process, notifiers)
    assert first.secret is not None
    with pytest.raises(WebhookVerificationError):
        Webhook(first.secret.reveal()).verify(receiver.got[0].body, receiver.got[0].fields)


def test_a_failure_is_tried_again_later_under_the_same_id(
    process: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    endpoint(process, receiver.url, "key_created")
    receiver.statuses = [500]
    process.issue()
    (failed,) = work(process, notifiers)
    assert not failed.outcome.delivered
    assert failed.outcome.why == "the receiver answered 500"
    assert work(process, notifiers) == []
    process.clock.pass_time(10)
    assert [each.outcome.delivered for each in work(process, notifiers)] == [True]
    assert receiver.got[0].fields["webhook-id"] == receiver.got[1].fields["webhook-id"]
    assert receiver.got[0].body == receiver.got[1].body
    assert receiver.got[0].fields["webhook-timestamp"] != receiver.got[1].fields["webhook-timestamp"]


def test_what_waits_keeps_later_notices_of_its_key_back_and_no_other_keys(
    process: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    endpoint(process, receiver.url, "key_created", "key_revoked")
    receiver.statuses = [500]
    one = process.issue()
    work(process, notifiers)
    process.revoke(one)
    other = process.issue()
    process.clock.pass_time(4)  # the endpoint may be asked again; the first delivery is not due yet
    work(process, notifiers)
    assert subjects(receiver)[1:] == [other.key_id]
    process.clock.pass_time(10)
    work(process, notifiers)
    assert list(zip(types(receiver), subjects(receiver), strict=True))[2:] == [
        ("key_created", one.key_id),
        ("key_revoked", one.key_id),
    ]


def test_a_receiver_may_say_how_long_to_wait(
    process: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    endpoint(process, receiver.url, "key_created")
    receiver.statuses, receiver.answer_fields = [429], {"Retry-After": "1000"}
    process.issue()
    work(process, notifiers)
    process.clock.pass_time(999)
    assert work(process, notifiers) == []
    process.clock.pass_time(252)
    assert [each.outcome.delivered for each in work(process, notifiers)] == [True]


def test_after_the_last_attempt_a_delivery_is_dead_and_can_be_made_again(
    process: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    endpoint_id = endpoint(process, receiver.url, "key_created", "key_revoked")
    receiver.statuses = [503] * (len(DELAYS) + 1)
    key = process.issue()
    for _ in range(len(DELAYS) + 1):
        work(process, notifiers)
        process.clock.pass_time(90_000)
    redelivery = process.node.notices.redelivery
    (dead,) = redelivery.deliveries(endpoint_id, BY).dead
    assert (dead.lane, dead.attempts, dead.why) == (key.key_id, 12, "the receiver answered 503")
    process.revoke(key)
    work(process, notifiers)
    assert types(receiver)[-1] == "key_revoked"
    redelivery.redeliver(endpoint_id, BY)
    assert [each.outcome.delivered for each in work(process, notifiers)] == [True]
    assert types(receiver)[-1] == "key_created"
    assert redelivery.deliveries(endpoint_id, BY).dead == ()


def test_what_was_delivered_can_be_delivered_again_and_nothing_else(
    process: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    endpoint_id = endpoint(process, receiver.url, "key_created")
    process.issue()
    (made,) = work(process, notifiers)
    redelivery = process.node.notices.redelivery
    redelivery.redeliver(endpoint_id, BY, [made.position])
    work(process, notifiers)
    assert receiver.got[0].body == receiver.got[1].body
    with pytest.raises(NotFoundError):
        redelivery.redeliver(endpoint_id, BY, [made.position - 1])
    with pytest.raises(NotFoundError):
        redelivery.deliveries(endpoint_id, Principal(actor="library", tenant="other"))


def test_a_receiver_that_is_gone_is_not_tried_again(
    process: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    endpoint_id = endpoint(process, receiver.url, "key_created")
    receiver.statuses = [410]
    process.issue()
    work(process, notifiers)
    state = process.node.notices.redelivery.deliveries(endpoint_id, BY)
    assert (len(state.pending), len(state.dead)) == (0, 1)


def test_an_endpoint_that_is_paused_misses_nothing(
    process: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    endpoint_id = endpoint(process, receiver.url, "key_created")
    endpoints = process.node.notices.endpoints
    endpoints.update(endpoint_id, BY, {"is_paused": True})
    process.issue()
    assert work(process, notifiers) == []
    endpoints.update(endpoint_id, BY, {"is_paused": False})
    work(process, notifiers)
    assert types(receiver) == ["key_created"]


def test_what_an_endpoint_does_not_want_any_more_is_passed_over(
    process: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    endpoint_id = endpoint(process, receiver.url, "key_created")
    receiver.statuses = [500]
    process.issue()
    work(process, notifiers)
    process.node.notices.endpoints.update(endpoint_id, BY, {"events": ["key_revoked"]})
    process.clock.pass_time(100)
    assert work(process, notifiers) == []
    assert process.node.notices.redelivery.deliveries(endpoint_id, BY).pending == ()


def test_an_endpoint_that_was_deleted_is_told_nothing(
    process: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    endpoint_id = endpoint(process, receiver.url, "key_created")
    process.issue()
    process.node.notices.endpoints.delete(endpoint_id, BY)
    assert work(process, notifiers) == []
    assert receiver.got == []
    row = process.ledger.inner.read([endpoint_id])[0]
    assert row is not None
    assert row.material is None


# -- several processes, crashes -------------------------------------------------------------------------------------


@on_both
def test_of_two_processes_one_delivers(
    process: Process, theirs: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    endpoint(process, receiver.url, "key_created")
    for _ in range(5):
        process.issue()
    met: list[list[Delivery]] = []
    process.ledger.after("keep_state", lambda: met.append(work(theirs, notifiers)))
    assert len(work(process, notifiers)) == 5
    assert met == [[]]
    assert work(theirs, notifiers) == []
    assert len(receiver.got) == 5


@on_both
def test_what_a_process_did_that_died_before_it_wrote_it_down_is_done_again(
    process: Process, theirs: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    endpoint(process, receiver.url, "key_created")
    keys = [process.issue().key_id for _ in range(3)]

    def die() -> None:
        raise StorageError("gone")

    process.ledger.before("keep_state", lambda: None, die)
    with pytest.raises(StorageError):
        work(process, notifiers)
    assert work(theirs, notifiers) == []  # it may yet be at it
    process.clock.pass_time(HELD)
    assert len(work(theirs, notifiers)) == 3
    assert subjects(receiver) == keys * 2


@on_both
def test_a_process_that_has_read_less_of_the_log_sends_nothing_again(
    process: Process, theirs: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    endpoint(process, receiver.url, "key_created")
    keys = [process.issue()]

    def overtake() -> None:
        keys.append(theirs.issue())
        work(theirs, notifiers)

    process.ledger.before("read_states", overtake)
    work(process, notifiers)
    work(process, notifiers)
    assert subjects(receiver) == [key.key_id for key in keys]


@on_both
def test_two_processes_at_once_deliver_each_notice_once_and_each_keys_in_order(
    process: Process, theirs: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    base = receiver.url.partition("/hook")[0]
    for number in range(6):
        endpoint(process, f"{base}/{number}", "key_created", "key_updated", "key_revoked")
    keys = []
    ended = threading.Event()

    def deliver(by: Process) -> None:
        while not ended.is_set():
            work(by, notifiers)
        work(by, notifiers)

    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(deliver, each) for each in (process, theirs)]
        for _ in range(10):
            key = process.issue()
            process.update(key, name="other")
            process.revoke(key)
            keys.append(key.key_id)
        ended.set()
        for each in both:
            each.result()
    work(process, notifiers)
    told: dict[tuple[str, str], list[str]] = defaultdict(list)
    for got in receiver.got:
        body = json.loads(got.body)
        told[got.path, body["data"]["subjects"][0]].append(body["type"])
    assert set(told) == {(f"/{number}", key) for number in range(6) for key in keys}
    assert all(each == ["key_created", "key_updated", "key_revoked"] for each in told.values())


def test_a_round_gives_one_endpoint_so_many_and_then_the_next_its_turn(
    process: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    endpoint(process, receiver.url, "key_created")
    for _ in range(AT_ONCE + 3):
        process.issue()
    assert [len(work(process, notifiers)) for _ in range(3)] == [AT_ONCE, 3, 0]


def test_redelivery_waits_for_who_is_delivering(
    process: Process, theirs: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    endpoint_id = endpoint(process, receiver.url, "key_created")
    process.issue()

    def redeliver() -> None:
        with pytest.raises(ConflictError, match="under way"):
            theirs.node.notices.redelivery.redeliver(endpoint_id, BY)

    process.ledger.after("keep_state", redeliver)
    assert len(work(process, notifiers)) == 1


def test_a_notifier_that_raises_is_a_failure_and_nothing_worse(process: Process) -> None:
    endpoint(process, "http://127.0.0.1:1/", "key_created")

    class Broken:
        def takes(self, to: Destination) -> bool:
            return True

        def deliver(self, message: Message) -> Outcome:
            raise RuntimeError(message.id)

    process.issue()
    (made,) = work(process, {"http": Broken()})
    assert made.outcome == Outcome(False, "the notifier failed: RuntimeError")


# -- who can write to the database ----------------------------------------------------------------------------------


def test_who_writes_to_the_database_skips_no_notice(
    process: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    """Neither with a state of their own, nor with another endpoint's, nor with an older one."""
    endpoint_id = endpoint(process, receiver.url, "key_created")
    with receiving() as elsewhere:
        other = endpoint(process, elsewhere.url, "key_created")
    first = process.issue()
    work(process, notifiers)
    ledger = process.ledger.inner
    kept, others = ledger.read_states([endpoint_id, other])
    assert kept is not None
    assert others is not None
    second = process.issue()
    for body in (
        b"",
        bytes(32) + kept.body[32:].replace(b'"read_to":', b'"read_to":9'),
        kept.body[:32] + kept.body[32:].replace(b'"read_to":', b'"read_to":9'),
        others.body,
        kept.body,  # with another turn
    ):
        receiver.got.clear()
        turn = (ledger.read_states([endpoint_id])[0] or kept).turn
        ledger.keep_state(KeptState(endpoint_id, turn + 1, body))
        process.clock.pass_time(COMPARE_SECONDS)
        work(process, notifiers)
        assert subjects(receiver) == [first.key_id, second.key_id], body
    process.node.recorder.flush()
    assert "integrity_failed" in {
        event.type for event in process.node.trail.events({"default", "system"}, limit=1_000)
    }


def test_an_older_secret_cannot_be_put_back_under_a_newer_endpoint(
    process: Process, receiver: Receiver, notifiers: Notifiers
) -> None:
    endpoint_id = endpoint(process, receiver.url, "key_created")
    ledger = process.ledger.inner
    old = ledger.read([endpoint_id])[0]
    process.node.notices.endpoints.rotate_secret(endpoint_id, BY, overlap=0)
    new = ledger.read([endpoint_id])[0]
    assert old is not None
    assert new is not None
    assert ledger.reseal([Reseal(new, new.seal, old.material)]) == 1
    process.issue()
    assert work(process, notifiers) == []
    assert receiver.got == []


def test_the_secret_of_an_endpoint_is_sealed_anew_with_the_data_key(
    process: Process, site: Site, receiver: Receiver, notifiers: Notifiers
) -> None:
    made = process.node.notices.endpoints.create(receiver.url, BY, events=["key_created"])
    process.issue()
    work(process, notifiers)
    process.node.keyring_changes.add_data_key(BY)
    for _ in process.node.resealer.run(BY):
        pass
    for _ in process.node.keyring_changes.retire(BY):
        pass
    process.issue()
    assert len(work(process, notifiers)) == 1  # nothing again, and the new one
    assert made.secret is not None
    Webhook(made.secret.reveal()).verify(receiver.got[-1].body, receiver.got[-1].fields)
