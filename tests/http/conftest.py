from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.waiting import until
from tests.http.served import Served
from tests.http.slow_clients import SlowClients
from tests.running_server import RunningServer


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all tests of a module, each of which keeps to keys of its own."""
    url = f"sqlite:///{tmp_path_factory.mktemp('http') / 'keys.db'}"
    with RunningServer(url) as server:
        yield Served(server, url)
        written = server.stderr
    assert "Traceback" not in written, written
    assert " ERROR " not in written, written


@pytest.fixture(scope="session", autouse=True)
def slow_clients(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SlowClients | None]:
    """Those whose tests would wait for a minute: they begin before the first test, if their tests are to run at all."""
    if not any(item.path.name == "test_slow_clients.py" for item in request.session.items):
        yield None
        return
    with SlowClients(tmp_path_factory.mktemp("slow")) as clients:
        yield clients


@pytest.fixture(scope="module")
def sockets_before(served: Served) -> int:
    """How many sockets the server had open before there were clients."""
    return served.open_sockets()


@pytest.fixture(scope="module")
def owners(served: Served, sockets_before: int) -> dict[str, str]:
    """Tokens by their owners, whose names tell answers apart."""
    return {f"owner {number}": str(served.issue(owner=f"owner {number}")["key"]) for number in range(7)}


@pytest.fixture
def still_serves(served: Served) -> Iterator[None]:
    """After the test, the same server answers a new connection rightly."""
    yield
    assert served.verify(served.key)["valid"]


@pytest.fixture
def goes_on(served: Served, sockets_before: int, still_serves: None) -> Iterator[None]:
    """And has let go of all connections of the test."""
    yield
    until(lambda: served.open_sockets() <= sockets_before)


@pytest.fixture
def key_id(served: Served) -> str:
    """A key that the test may ruin."""
    return str(served.issue()["key_id"])
