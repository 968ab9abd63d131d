from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gateways.scene import GATEWAYS, Scene, scene_of


@pytest.fixture(scope="module", params=GATEWAYS)
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One gateway for all tests of a module: each of them in turn."""
    name: str = request.param
    with scene_of(name, tmp_path_factory.mktemp(name)) as made:
        yield made
        written = made.server.stderr
    assert "Traceback" not in written, written
    assert " ERROR " not in written, written
