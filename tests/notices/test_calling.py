"""Notices to a Python callable, with the same cursor as any other."""

from __future__ import annotations

import json

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from keyturn.adapters.notifier.calling import CallingNotifier
from keyturn.issuing.conditions import always
from keyturn.key_notices import KeyNotices
from keyturn.ports.notifier import Message
from tests.fakes import BY, Process
from tests.notices.receiver import Receiver


def test_a_callable_is_told_and_again_until_it_returns(process: Process) -> None:
    told: list[str] = []

    def receive(message: Message) -> None:
        told.append(json.loads(message.body)["data"]["subjects"][0])
        if len(told) == 1:
            raise OSError("not now")

    notifiers = {"call": CallingNotifier({"audit": receive})}
    process.node.notices.endpoints.create("call:audit", BY, events=["key_created"])
    key = process.issue()
    (failed,) = process.node.notices.deliverer.work(notifiers)
    assert failed.outcome.why == "the callable raised OSError"
    process.clock.pass_time(10)
    (made,) = process.node.notices.deliverer.work(notifiers)
    assert made.outcome.delivered
    assert told == [key.key_id, key.key_id]


def test_a_process_without_the_callable_leaves_it_to_those_that_have_it(process: Process) -> None:
    process.node.notices.endpoints.create("call:audit", BY, events=["key_created"])
    process.issue()
    assert list(process.node.notices.deliverer.work({})) == []
    assert list(process.node.notices.deliverer.work({"call": CallingNotifier({})})) == []
    told: list[str] = []
    here = CallingNotifier({"audit": lambda message: told.append(message.id)})
    assert len(list(process.node.notices.deliverer.work({"call": here}))) == 1
    assert len(told) == 1


def test_the_public_interface_keeps_endpoints_and_delivers(process: Process) -> None:
    told: list[str] = []
    notices = KeyNotices(process.store(), callables={"audit": lambda message: told.append(message.type)})
    endpoint_id = notices.create_endpoint("call:audit", events=["key_created"]).endpoint.endpoint_id
    assert [each.url for each in notices.list_endpoints().items] == ["call:audit"]
    process.issue()
    (made,) = notices.deliver()
    assert made.outcome.delivered
    notices.redeliver(endpoint_id, [made.position])
    assert len(notices.deliver()) == 1
    assert told == ["key_created", "key_created"]
    assert len(notices.deliveries(endpoint_id).delivered) == 2
    notices.delete_endpoint(endpoint_id)
    assert notices.list_endpoints().items == ()


def test_endpoints_are_tried_out_changed_and_deleted_from_python(
    process: Process, receiver: Receiver
) -> None:
    notices = KeyNotices(process.store(), allow=("127.0.0.0/8",))
    made = notices.create_endpoint(receiver.url, events=["key_created"])
    endpoint_id = made.endpoint.endpoint_id
    assert notices.test_endpoint(endpoint_id).delivered
    assert made.secret is not None
    Webhook(made.secret.reveal()).verify(receiver.got[0].body, receiver.got[0].fields)

    newer = notices.rotate_endpoint_secret(endpoint_id, overlap=0)
    assert newer.secret is not None
    assert notices.update_endpoint(endpoint_id, events=["key_updated"]).events == ("key_updated",)
    process.issue()
    assert notices.deliver() == []
    process.node.updater.update(process.issue().key_id, BY, {"name": "told"}, only_if=always)
    assert [each.outcome.delivered for each in notices.deliver()] == [True]
    Webhook(newer.secret.reveal()).verify(receiver.got[1].body, receiver.got[1].fields)
    with pytest.raises(WebhookVerificationError):
        Webhook(made.secret.reveal()).verify(receiver.got[1].body, receiver.got[1].fields)

    notices.delete_endpoint(endpoint_id)
    assert notices.list_endpoints().items == ()
