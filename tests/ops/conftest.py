from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.http.served import Served
from tests.ops.certificates import Authority, authority
from tests.ops.made import made_store, serving
from tests.running_server import RunningServer

__all__ = ["authority"]


@pytest.fixture(scope="module")
def in_production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server in production, on SQLite."""
    url, first = made_store(tmp_path_factory.mktemp("production"))
    with RunningServer(url, first_key=first, KEYTURN_ENV="production") as server:
        yield Served(server, url)


@pytest.fixture(scope="module")
def in_development(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server in development."""
    url = f"sqlite:///{tmp_path_factory.mktemp('development') / 'keys.db'}"
    with RunningServer(url) as server:
        yield Served(server, url)


@pytest.fixture(scope="module")
def secure(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that speaks TLS, and shows a certificate for this machine."""
    directory = tmp_path_factory.mktemp("secure")
    with serving(authority.issue(directory), directory) as server:
        yield server
