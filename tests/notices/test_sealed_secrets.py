"""New secrets in webhooks: to one receiver, encrypted, until it has them; and never in any other way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from standardwebhooks.webhooks import Webhook

from keyturn import KeyScope
from keyturn.domain.notices.receiver import Receiver
from keyturn.domain.principal import Principal
from keyturn.domain.rotation.rotation import Rotation
from keyturn.domain.rotation.stages import Awaited, Stage
from keyturn.domain.spec import GeneratedKey
from keyturn.errors import ForbiddenError, IllegalTransitionError, InvalidInputError, StorageError
from keyturn.notices.endpoints import Revealed
from keyturn.ports.notifier import Message, Notifier, Outcome
from tests.fakes import BY, Process
from tests.notices.receiver import Receiver as Hook
from tests.notices.receiver import receiving
from tests.services.samples import events, on_both

Notifiers = dict[str, Notifier]
OTHERS = OKPKey.generate_key("X25519")
THEIRS = OKPKey.generate_key("X25519")


def receiver_of(key: OKPKey = THEIRS, *owners: str) -> Receiver:
    return Receiver.of(key.as_dict(private=False), owners=owners, every_owner=not owners)


def endpoint(process: Process, hook: Hook, receiver: Receiver | None) -> Revealed:
    return process.node.notices.endpoints.create(hook.url, BY, every_event=True, receiver=receiver)


def rotate(process: Process, key: GeneratedKey, **how: Any) -> Rotation:
    return process.node.rotation.requests.rotate(key.key_id, BY, keeps_secret=True, **how).rotation


def work(process: Process, notifiers: Notifiers) -> None:
    for _ in process.node.notices.deliverer.work(notifiers):
        pass


def sealed(hook: Hook) -> list[str]:
    """What came encrypted, in order."""
    told = [json.loads(got.body)["data"] for got in hook.got]
    return [data["sealed_secret"] for data in told if "sealed_secret" in data]


def opened(token: str, key: OKPKey = THEIRS) -> Any:
    found = jwe.decrypt_compact(token, key, algorithms=["ECDH-ES+A256KW", "A256GCM"])
    assert found.plaintext is not None
    return json.loads(found.plaintext)


@on_both
def test_a_new_secret_goes_to_its_receiver_and_counts_as_picked_up(
    process: Process, receiver: Hook, notifiers: Notifiers
) -> None:
    key = process.issue(owner="acme")
    made = endpoint(process, receiver, receiver_of(THEIRS, "acme"))
    rotation = rotate(process, key)
    assert rotation.stage is Stage.STAGED
    work(process, notifiers)
    (token,) = sealed(receiver)
    told = opened(token)
    secret = told.pop("key")
    assert told == {
        "key_id": key.key_id,
        "version": 2,
        "rotation_id": rotation.rotation_id,
        "tenant": "default",
    }
    assert process.ask(secret).version == 2
    after = process.node.rotation.mover.get(rotation.rotation_id, BY)
    assert (after.stage, after.awaited) == (Stage.OVERLAP, frozenset())
    with pytest.raises(IllegalTransitionError):
        process.node.rotation.mover.pick_up(rotation.rotation_id, BY)
    (sent,) = [event for event in events(process) if event.type == "secret_sent"]
    assert sent.subjects == (key.key_id, rotation.rotation_id, made.endpoint.endpoint_id)
    assert made.secret is not None
    (got,) = [got for got in receiver.got if b"sealed_secret" in got.body]
    Webhook(made.secret.reveal()).verify(got.body, got.fields)  # the receiver knows whom it is from


@on_both
def test_the_secret_is_nowhere_else(
    process: Process, receiver: Hook, notifiers: Notifiers, caplog: pytest.LogCaptureFixture
) -> None:
    key = process.issue(owner="acme")
    with receiving() as plain:
        endpoint(process, plain, None)
        endpoint(process, receiver, receiver_of())
        receiver.statuses = [204] * 2 + [500]
        rotate(process, key)
        work(process, notifiers)
        process.clock.pass_time(3_600)
        work(process, notifiers)
        work(process, notifiers)
    secret = opened(sealed(receiver)[-1])["key"]
    ledger = process.ledger.inner
    kept = repr(ledger.list_rows("", 1_000)) + repr(ledger.read_log(1, 1_000))
    assert process.ask(secret).valid
    assert secret not in kept + caplog.text
    assert secret.encode() not in b"".join(got.body for hook in (receiver, plain) for got in hook.got)
    assert sealed(plain) == []


def test_the_old_secret_goes_on_until_the_receiver_has_the_new_one(
    process: Process, receiver: Hook, notifiers: Notifiers
) -> None:
    key = process.issue()
    made = process.node.notices.endpoints.create(
        receiver.url, BY, events=["rotation_started"], receiver=receiver_of()
    )
    receiver.statuses = [500, 302, 503]
    rotation = rotate(process, key)
    for attempt in range(1, 5):
        before = process.node.rotation.mover.get(rotation.rotation_id, BY)
        assert Awaited.PICK_UP in before.awaited
        process.clock.pass_time(7_200)
        work(process, notifiers)
        assert len(sealed(receiver)) == attempt
    after = process.node.rotation.mover.get(rotation.rotation_id, BY)
    assert Awaited.PICK_UP not in after.awaited
    assert {opened(token)["key"] for token in sealed(receiver)} == {opened(sealed(receiver)[0])["key"]}
    again = process.node.notices.redelivery
    (done,) = again.deliveries(made.endpoint.endpoint_id, BY).delivered
    again.redeliver(made.endpoint.endpoint_id, BY, [done.position])
    work(process, notifiers)
    assert len(receiver.got) == 5
    assert len(sealed(receiver)) == 4  # it is kept nowhere any more


def test_only_the_receiver_of_the_keys_owner_gets_it(process: Process, notifiers: Notifiers) -> None:
    with receiving() as acme, receiving() as globex, receiving() as none:
        endpoint(process, globex, receiver_of(OTHERS, "globex"))
        endpoint(process, acme, receiver_of(THEIRS, "acme"))
        process.node.notices.endpoints.create(
            none.url,
            Principal(actor="library", tenant="other"),
            every_event=True,
            receiver=receiver_of(OTHERS),
        )
        rotate(process, process.issue(owner="acme"))
        rotate(process, process.issue())
        work(process, notifiers)
        assert [len(sealed(hook)) for hook in (acme, globex, none)] == [1, 0, 0]
        with pytest.raises((JoseError, ValueError)):
            opened(sealed(acme)[0], OTHERS)


def test_a_secret_that_was_handed_out_otherwise_is_not_sent(
    process: Process, receiver: Hook, notifiers: Notifiers
) -> None:
    endpoint(process, receiver, receiver_of())
    in_answer = process.node.rotation.requests.rotate(process.issue().key_id, BY)
    picked_up, rolled_back = (rotate(process, process.issue()) for _ in range(2))
    process.node.rotation.mover.pick_up(picked_up.rotation_id, BY)
    process.node.rotation.mover.roll_back(rolled_back.rotation_id, BY)
    revoked = process.issue()
    rotate(process, revoked)
    process.revoke(revoked)
    work(process, notifiers)
    assert in_answer.secret is not None
    assert sealed(receiver) == []
    assert "rotation_started" in [json.loads(got.body)["type"] for got in receiver.got]


def test_of_two_processes_that_deliver_at_once_one_has_it_picked_up(
    process: Process, theirs: Process, receiver: Hook, notifiers: Notifiers
) -> None:
    process.node.notices.endpoints.create(
        receiver.url, BY, events=["rotation_started"], receiver=receiver_of()
    )
    rotation = rotate(process, process.issue())
    process.ledger.after("keep_state", lambda: work(theirs, notifiers))
    work(process, notifiers)
    assert len(sealed(receiver)) == 1
    assert process.node.rotation.mover.get(rotation.rotation_id, BY).stage is Stage.OVERLAP


class Dying:
    """Delivers, and then the store is gone."""

    def __init__(self, process: Process, inner: Notifier) -> None:
        self._process = process
        self._inner = inner

    def takes(self, to: Any) -> bool:
        return True

    def deliver(self, message: Message) -> Outcome:
        outcome = self._inner.deliver(message)
        self._process.ledger.fail(StorageError("gone"), "commit")
        return outcome


def test_an_arrival_that_could_not_be_written_down_is_made_up_for(
    process: Process, receiver: Hook, notifiers: Notifiers
) -> None:
    made = process.node.notices.endpoints.create(
        receiver.url, BY, events=["rotation_started"], receiver=receiver_of()
    )
    rotation = rotate(process, process.issue())
    work(process, {"http": Dying(process, notifiers["http"])})
    process.ledger.work_again()
    (left,) = process.node.notices.redelivery.deliveries(made.endpoint.endpoint_id, BY).pending
    assert "could not be written down" in left.why
    process.clock.pass_time(3_600)
    work(process, notifiers)
    assert process.node.rotation.mover.get(rotation.rotation_id, BY).stage is Stage.OVERLAP
    assert len({opened(token)["key"] for token in sealed(receiver)}) == 1


@pytest.mark.parametrize(
    "by",
    [
        Principal(actor="key:a", permissions=("webhooks.*", "rotation.*", "audit.read"), scope=KeyScope.FULL),
        Principal(actor="key:a", permissions=("*",), scope=KeyScope.READ),
    ],
)
def test_only_who_could_issue_every_key_lets_secrets_go_somewhere(
    process: Process, receiver: Hook, by: Principal
) -> None:
    endpoints = process.node.notices.endpoints
    with pytest.raises(ForbiddenError):
        endpoints.create(receiver.url, by, every_event=True, receiver=receiver_of())
    named = endpoint(process, receiver, receiver_of()).endpoint.endpoint_id
    plain = endpoint(process, receiver, None).endpoint.endpoint_id
    for endpoint_id, changes in (
        (plain, {"receiver": receiver_of()}),
        (named, {"url": "https://evil.example/"}),
        (named, {"receiver": receiver_of(OTHERS)}),
        (named, {"receiver": None}),
    ):
        with pytest.raises(ForbiddenError):
            endpoints.update(endpoint_id, by, changes)
    endpoints.update(plain, by, {"url": "https://example.org/"})
    endpoints.update(named, by, {"is_paused": True})
    assert endpoints.update(named, BY, {"receiver": None}).receiver is None


def test_secrets_go_to_webhooks_that_are_told_of_rotations(process: Process, receiver: Hook) -> None:
    endpoints = process.node.notices.endpoints
    for url, told in (
        ("mailto:ops@example.org", ["rotation_started"]),
        ("call:audit", ["rotation_started"]),
        (receiver.url, ["key_created"]),
    ):
        with pytest.raises(InvalidInputError, match="rotation_started"):
            endpoints.create(url, BY, events=told, receiver=receiver_of())
    made = endpoint(process, receiver, receiver_of()).endpoint
    with pytest.raises(InvalidInputError, match="rotation_started"):
        endpoints.update(made.endpoint_id, BY, {"events": ["key_created"]})
