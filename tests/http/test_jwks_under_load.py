"""Whoever verifies our tokens with our key sets, kept as long as they may be, refuses none while keys are rotated.

Time passes quickly there, so that sets grow old, versions are announced for as long as they have to be, and tokens end.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import jwt
import pytest
from joserfc import jwt as jose
from joserfc.jwk import KeySet

from tests.contract.waiting import until
from tests.http.quick_server import QUICKLY, SPEED
from tests.http.served import Served
from tests.http.test_rotation_under_load import Clients
from tests.running_server import RunningServer

PUBLISHED_FOR: Final = 600
TERMS: Final[dict[str, dict[str, Any]]] = {
    "immediate": {},
    "overlapping": {"overlap": 300, "max_overlap": 300},
    "gradual": {"shares": [50, 100], "dwell": 300, "overlap": 300, "max_overlap": 300},
    "blue_green": {"rollback_window": 300},
}
MARGIN: Final = 120  # seconds of the server's: a token that is about to end is not verified any more


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Served]:
    url = f"sqlite:///{tmp_path / 'keys.db'}"
    with RunningServer(url, QUICKLY) as server:
        yield Served(server, url)


class Verifiers:
    """One with PyJWT's own client, and one with joserfc that fetches a set when it may not keep the last any longer."""

    def __init__(self, served: Served) -> None:
        self._url = f"{served.server.url}/.well-known/jwks.json"
        self._client = jwt.PyJWKClient(self._url, lifespan=300 / SPEED)
        self._keys: KeySet | None = None
        self._until = 0.0
        self.fetches = 0
        self._etag = ""

    def pyjwt(self, token: str) -> object:
        key = self._client.get_signing_key_from_jwt(token)
        # The server's time is not this process's: whether a token has ended, its caller looks after.
        times = {"verify_iat": False, "verify_exp": False}
        return jwt.decode(token, key, algorithms=["ES256"], audience="b", issuer="a", options=times)  # type: ignore[arg-type]

    def joserfc(self, token: str) -> object:
        if time.monotonic() >= self._until:
            self._fetch()
        assert self._keys is not None
        return jose.decode(token, self._keys, algorithms=["ES256"]).claims

    def _fetch(self) -> None:
        asked_at = time.monotonic()
        request = urllib.request.Request(self._url, headers={"If-None-Match": self._etag or '"none"'})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                self._keys = KeySet.import_key_set(json.load(answer))
                self._etag, kept = answer.headers["ETag"], answer.headers["Cache-Control"]
        except urllib.error.HTTPError as error:
            if error.code != 304:
                raise
            kept = error.headers["Cache-Control"]
        self.fetches += 1
        self._until = asked_at + int(kept.partition("max-age=")[2]) / SPEED


def test_no_token_is_refused_through_whole_rotations_of_every_strategy(quick: Served) -> None:
    keys = {strategy: issue(quick) for strategy in TERMS}
    verifiers = Verifiers(quick)
    signed: list[tuple[str, int]] = []
    versions: dict[str, set[int]] = {key_id: set() for key_id in keys.values()}

    def sign(key_id: str) -> Callable[[], object]:
        def once() -> object:
            asked = {"claims": {"sub": "ada"}, "issuer": "a", "audience": "b"}
            answer = quick.call("POST", f"/v1/keys/{key_id}/sign", asked)
            if answer.status != 200:
                return answer
            token = answer.json["token"]
            exp = jwt.decode(token, options={"verify_signature": False})["exp"]
            versions[key_id].add(answer.json["version"])
            signed.append((token, exp))
            return None

        return once

    def verify(how: Callable[[str], object]) -> Callable[[], object]:
        turn = iter(range(1 << 60))

        def once() -> object:
            if not signed:
                time.sleep(0.01)
                return None
            latest = len(signed)
            now = signed[-1][1] - PUBLISHED_FOR
            # The newest, which a set that is kept may not know, and the oldest that has not ended.
            live = [token for token, exp in signed[max(0, latest - 400) : latest] if exp > now + MARGIN]
            token = live[-1] if next(turn) % 2 else live[0]
            try:
                how(token)
            except Exception as error:  # noqa: BLE001 - whatever it is, a verification failed
                return error, token
            return None

        return once

    clients = Clients()
    acts = {f"sign {key_id}": sign(key_id) for key_id in keys.values()}
    with clients.busy(**acts, pyjwt=verify(verifiers.pyjwt), joserfc=verify(verifiers.joserfc)):
        clients.settle()
        rotations = {
            strategy: quick.call(
                "POST", f"/v1/keys/{key_id}/rotate", {"strategy": strategy, **TERMS[strategy]}
            ).ok(201)["rotation_id"]
            for strategy, key_id in keys.items()
        }
        for rotation_id in rotations.values():
            until(lambda rotation_id=rotation_id: stage(quick, rotation_id) == "completed", 60)  # type: ignore[misc]
        until(lambda: len(kids(quick)) == len(keys), 60)  # the last tokens of the old versions have ended
        clients.settle()
    assert clients.wrong == []
    assert versions == {key_id: {1, 2} for key_id in keys.values()}
    assert min(clients.done["pyjwt"], clients.done["joserfc"]) > 50
    assert verifiers.fetches > 5, "sets were kept, and grew old"
    assert kids(quick) == {f"{key_id}.2" for key_id in keys.values()}


def issue(served: Served) -> str:
    wanted: dict[str, Any] = {
        "type": "jwt",
        "scope": "read_write",
        "algorithm": "ES256",
        "published_for": PUBLISHED_FOR,
    }
    return str(served.issue(**wanted)["key_id"])


def stage(served: Served, rotation_id: str) -> str:
    return str(served.call("GET", f"/v1/rotations/{rotation_id}").ok()["stage"])


def kids(served: Served) -> set[str]:
    return {jwk["kid"] for jwk in served.call("GET", "/.well-known/jwks.json", key=None).ok()["keys"]}
