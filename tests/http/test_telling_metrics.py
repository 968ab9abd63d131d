"""What `/metrics` says of rotations and notices, from a real server with a real receiver."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.waiting import until
from tests.http.served import Served
from tests.notices.receiver import Receiver, receiving
from tests.ops.scraping import Metrics, scrape
from tests.running_server import RunningServer


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Served]:
    """A server that nobody else works with."""
    url = f"sqlite:///{tmp_path / 'keys.db'}"
    with RunningServer(url, KEYTURN_NOTICES_ALLOW="127.0.0.0/8") as server:
        yield Served(server, url)


def rotations(metrics: Metrics) -> dict[str, float]:
    return {
        dict(labels)["outcome"]: value for labels, value in metrics.all("keyturn_rotations_total").items()
    }


def test_rotations_are_counted_by_what_became_of_them(alone: Served) -> None:
    assert set(rotations(scrape(alone)).values()) == {0}
    completed, rolled_back, paused, failed = (alone.rotate() for _ in range(4))
    for rotation, act in ((completed, "complete"), (rolled_back, "rollback"), (paused, "pause")):
        alone.call("POST", f"/v1/rotations/{rotation['rotation_id']}/{act}", {}).ok()
    terms = {"strategy": "immediate", "compromised": True}
    alone.call("POST", f"/v1/keys/{failed['key_id']}/rotate", terms)
    counted = rotations(scrape(alone))
    assert (counted["completed"], counted["rolled_back"], counted["paused"]) == (1, 1, 1)
    assert counted["started"] >= 4


def test_notices_are_counted_by_what_became_of_them(alone: Served, receiver: Receiver) -> None:
    path = "keyturn_notices_attempted_total"
    alone.call("POST", "/v1/webhooks", {"url": receiver.url, "events": ["key_created"]}).ok(201)
    receiver.statuses = [500, 410]
    for _ in range(2):
        alone.issue()
    until(lambda: len(receiver.got) >= 2)
    alone.issue()
    until(lambda: scrape(alone).value(path, outcome="delivered") >= 1)
    metrics = scrape(alone)
    assert metrics.value(path, outcome="failed") == 1
    assert metrics.value(path, outcome="dead") == 1
    until(lambda: scrape(alone).value("keyturn_notices_dead") == 1)


def test_how_far_the_slowest_endpoint_is_behind_is_told(alone: Served, receiver: Receiver) -> None:
    with receiving() as quick:
        for url in (receiver.url, quick.url):
            alone.call("POST", "/v1/webhooks", {"url": url, "events": ["key_created"]}).ok(201)
        receiver.statuses = [500] * 100
        for _ in range(3):
            alone.issue()
        until(lambda: len(quick.got) == 3 and len(receiver.got) >= 1)
        until(lambda: scrape(alone).value("keyturn_notices_lag_entries") >= 3)
        until(lambda: scrape(alone).value("keyturn_notices_lag_seconds") > 1)
        assert scrape(alone).value("keyturn_notices_pending") >= 1


def test_with_nothing_to_tell_nobody_is_behind(alone: Served, receiver: Receiver) -> None:
    alone.call("POST", "/v1/webhooks", {"url": receiver.url, "events": ["key_revoked"]}).ok(201)
    alone.issue()
    until(lambda: bool(scrape(alone).all("keyturn_notices_lag_entries")))
    until(lambda: scrape(alone).value("keyturn_notices_lag_entries") == 0)
    assert scrape(alone).value("keyturn_notices_lag_seconds") == 0
