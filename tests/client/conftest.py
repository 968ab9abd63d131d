from __future__ import annotations

from collections.abc import Iterator

import pytest

from keyturn import Client
from tests.http.conftest import served
from tests.http.served import Served

__all__ = ["client", "served"]


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[Client]:
    """A client of a running server that may do everything."""
    with Client(served.server.url, served.key) as opened:
        yield opened
