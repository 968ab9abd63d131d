"""What tests of deliveries say often."""

from __future__ import annotations

import json

from keyturn.domain.principal import Principal
from keyturn.notices.telling import Delivery
from keyturn.ports.notifier import Notifier
from tests.fakes import BY, Process
from tests.notices.receiver import Receiver

Notifiers = dict[str, Notifier]


def work(process: Process, notifiers: Notifiers) -> list[Delivery]:
    """One run."""
    return list(process.node.notices.deliverer.work(notifiers))


def types(receiver: Receiver) -> list[str]:
    return [json.loads(got.body)["type"] for got in receiver.got]


def subjects(receiver: Receiver) -> list[str]:
    return [json.loads(got.body)["data"]["subjects"][0] for got in receiver.got]


def endpoint(process: Process, url: str, *events: str, by: Principal = BY) -> str:
    """An endpoint that is told of these, or of all."""
    made = process.node.notices.endpoints.create(url, by, events=events, every_event=not events)
    return made.endpoint.endpoint_id
