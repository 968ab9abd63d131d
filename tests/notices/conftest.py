"""Notices over a real store, to a real receiver, by a clock that tests move."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from keyturn.adapters.notifier.addresses import AddressGuard
from keyturn.adapters.notifier.webhook import WebhookNotifier
from keyturn.ports.notifier import Notifier
from tests.contract.ledger_stores import Store
from tests.fakes import Process, Site, ours, theirs
from tests.notices.receiver import Receiver, receiving
from tests.services.conftest import adapter, place
from tests.services.postgres_copies import original, postgres_copy

__all__ = ["adapter", "original", "ours", "place", "postgres_copy", "theirs"]


@pytest.fixture
def site(place: Store) -> Iterator[Site]:
    """The receivers' libraries go by the real time, so that the clock begins at it."""
    created = Site.on(place)
    created.clock.step_wall(datetime.now(UTC) - created.clock.now())
    yield created
    created.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def notifiers() -> dict[str, Notifier]:
    """Webhooks that may go to this machine."""
    webhook = WebhookNotifier(AddressGuard(["127.0.0.0/8"]))
    return {"http": webhook, "https": webhook}


@pytest.fixture
def process(ours: Process) -> Process:
    return ours
