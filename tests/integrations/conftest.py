from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.http.conftest import served
from tests.http.served import Served
from tests.integrations.running_app import APPLICATIONS, RunningApp

__all__ = ["app", "guarded", "served"]

ON_THE_STORE, BY_THE_SERVER = WAYS = ("on the store", "by the server")


@dataclass(frozen=True)
class Guarded:
    """An application, how it verifies, and the server that keys are issued and revoked by."""

    app: RunningApp
    way: str
    served: Served

    @property
    def is_on_the_store(self) -> bool:
        """Whether it verifies in its own process."""
        return self.way == ON_THE_STORE


def guard_options(served: Served, way: str) -> dict[str, object]:
    """A guard that verifies on the server's own store, or by asking it."""
    if way == ON_THE_STORE:
        return {"url": served.url}
    return {"url": served.server.url, "key": served.provision("keys.verify")}


@pytest.fixture(scope="module", params=[f"{name}, {way}" for name in APPLICATIONS for way in WAYS])
def guarded(request: pytest.FixtureRequest, served: Served) -> Iterator[Guarded]:
    """Each framework, verifying each way."""
    name, _, way = request.param.partition(", ")
    with RunningApp(name, guard_options(served, way)) as app:
        yield Guarded(app, way, served)
        assert "Traceback" not in app.written, app.written


@pytest.fixture
def app(guarded: Guarded) -> RunningApp:
    """Its application."""
    return guarded.app
