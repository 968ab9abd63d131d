"""Through real gateways: what is revoked is refused at the very next request, and without Keyturn nobody passes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.waiting import until
from tests.gateways.scene import GATEWAYS, Scene, scene_of


def act(scene: Scene, path: str, body: object = None, method: str = "POST") -> None:
    assert scene.server.call(method, path, body, key=scene.server.first_key)[0] == 200


def test_a_revoked_key_is_refused_at_its_very_next_request(scene: Scene) -> None:
    for _ in range(5):
        key = scene.server.issue(owner="leaver")
        with scene.client() as client:
            for _ in range(3):
                assert client.ask("/", key=key["key"]).is_the_applications
            act(scene, f"/v1/keys/{key['key_id']}/revoke")
            before = len(scene.application.seen)
            assert client.ask("/", key=key["key"]).status == 401
            assert len(scene.application.seen) == before


def test_what_else_ends_holds_at_once_too(scene: Scene) -> None:
    key = scene.server.issue(owner="acme", scope="read")
    path = f"/v1/keys/{key['key_id']}"
    with scene.client() as client:
        assert client.ask("/", key=key["key"]).is_the_applications
        act(scene, f"{path}/suspend")
        assert client.ask("/", key=key["key"]).status == 401
        act(scene, f"{path}/resume")
        assert client.ask("/", key=key["key"]).is_the_applications
        act(scene, path, {"scope": "write"}, "PATCH")
        assert client.ask("/", key=key["key"]).status == 403
        act(scene, path, {"scope": "read"}, "PATCH")
        assert client.ask("/", key=key["key"]).is_the_applications
        act(scene, "/v1/owners/acme/revoke")
        assert client.ask("/", key=key["key"]).status == 401


@pytest.fixture(params=GATEWAYS)
def own_scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """One whose Keyturn the test may end."""
    with scene_of(request.param, tmp_path) as made:
        yield made


def test_without_keyturn_nobody_passes_and_with_it_they_do_again(own_scene: Scene) -> None:
    scene = own_scene
    key = scene.token("reader")
    scene.passes(key=key)
    scene.server.freeze()
    try:
        assert 500 <= scene.stops(key=key).status <= 504
    finally:
        scene.server.thaw()
    until(lambda: scene.ask("/", key=key)[0].is_the_applications)
    scene.server.kill()
    for _ in range(3):
        answer = scene.stops(key=key)
        assert 500 <= answer.status <= 504
        assert answer.all("WWW-Authenticate") == []
    assert 500 <= scene.stops().status <= 504
    scene.server.start()
    until(lambda: scene.ask("/", key=key)[0].is_the_applications)
    scene.stops(key="hello")


@pytest.mark.parametrize("broken", ["local reply = nil", 'error("on purpose")', "do return end"])
def test_an_action_that_fails_lets_nobody_pass(tmp_path: Path, broken: str) -> None:
    """HAProxy goes on with the next rule where the Lua of one has failed."""
    with scene_of("haproxy", tmp_path) as scene:
        scene.gateway.stop()
        script = tmp_path / "gateway" / "haproxy" / "keyturn.lua"
        before = "    local code = first("
        assert before in script.read_text()
        script.write_text(script.read_text().replace(before, f"    {broken}\n{before}"))
        scene.gateway.start()
        for key in (scene.token("reader"), scene.token("admin"), None):
            assert scene.stops(key=key).status == 503


def test_a_gateway_whose_key_is_revoked_lets_nobody_pass(own_scene: Scene) -> None:
    scene = own_scene
    scene.passes(key=scene.token("reader"))
    verification = scene.server.verify(scene.gateway_key)
    act(scene, f"/v1/keys/{verification['key_id']}/revoke")
    for key in (scene.token("reader"), scene.token("admin"), None, "hello"):
        assert_told_of_the_gateway(scene, key)


@pytest.mark.parametrize("name", GATEWAYS)
@pytest.mark.parametrize("gateway_key", ["hello", "kt_" + "0" * 65])
def test_a_gateway_with_a_wrong_key_lets_nobody_pass(name: str, gateway_key: str, tmp_path: Path) -> None:
    with scene_of(name, tmp_path, gateway_key) as scene:
        for key in (scene.token("reader"), scene.server.first_key, None):
            assert_told_of_the_gateway(scene, key)


def assert_told_of_the_gateway(scene: Scene, key: str | None) -> None:
    """Clients are not told that it is their keys which are wrong."""
    answer = scene.stops(key=key)
    if scene.name == "envoy":  # which passes on what it is answered
        assert answer.status == 401
        assert answer.all("WWW-Authenticate") == ['Keyturn-Gateway realm="keyturn"']
        assert b"gateway_unauthenticated" in answer.body
    else:
        assert answer.status == 503
        assert "Bearer" not in str(answer.all("WWW-Authenticate"))
