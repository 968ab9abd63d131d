"""Clients that never stop while their keys are rotated see no refusal that the strategy does not promise."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from tests.http.served import Served

ROUNDS: Final = 6
STRATEGIES: Final = ("immediate", "overlapping", "gradual", "blue_green")


class Clients:
    """Threads that do one thing again and again; what was not as it should be is in `wrong`."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.wrong: list[object] = []
        self._stop = threading.Event()

    @contextmanager
    def busy(self, **acts: Callable[[], object]) -> Iterator[Clients]:
        threads = [threading.Thread(target=self._run, args=each) for each in acts.items()]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(30)

    def _run(self, name: str, act: Callable[[], object]) -> None:
        while not self._stop.is_set():
            problem = act()
            self.done[name] += 1
            if problem is not None:
                self.wrong.append(problem)

    def settle(self) -> None:
        """Return once everybody has begun anew twice, so that nothing that was in flight is left."""
        before = dict(self.done)
        while any(self.done[name] < count + 2 for name, count in before.items()) or not before:
            before = before or dict(self.done)
            self._stop.wait(0.005)


def rotate(served: Served, key_id: str, **terms: Any) -> dict[str, Any]:
    found: dict[str, Any] = served.call("POST", f"/v1/keys/{key_id}/rotate", terms).ok(201)
    return found


def act(served: Served, rotation: dict[str, Any], name: str, body: object) -> None:
    served.call("POST", f"/v1/rotations/{rotation['rotation_id']}/{name}", body).ok()


def test_a_holder_who_takes_up_each_new_token_is_never_refused(served: Served) -> None:
    key = served.issue()
    held = [key["key"]]

    def verify() -> object:
        answer = served.verify(held[0])
        return None if answer["valid"] else answer

    clients = Clients()
    with clients.busy(one=verify, two=verify):
        for _ in range(ROUNDS):
            clients.settle()
            rotation = rotate(served, key["key_id"], overlap=600)
            clients.settle()
            held[0] = rotation["key"]
            clients.settle()
            act(served, rotation, "complete", {})
    assert clients.wrong == []
    assert sum(clients.done.values()) > 4 * ROUNDS


@pytest.mark.parametrize("strategy", ["overlapping", "gradual", "blue_green"])
def test_whoever_holds_both_tokens_always_has_one_that_is_good(served: Served, strategy: str) -> None:
    key = served.issue()
    held = [key["key"], key["key"]]

    def verify() -> object:
        # One switch, there or back, may come between two of these; not two.
        old, new = held
        answers = []
        for token in (old, new, old):
            answers.append(served.verify(token))
            if answers[-1]["valid"]:
                return None
        return answers

    clients = Clients()
    with clients.busy(one=verify, two=verify):
        for turn in range(ROUNDS):
            rotation = rotate(served, key["key_id"], strategy=strategy)
            held[1] = rotation["key"]
            clients.settle()
            if strategy == "blue_green":
                act(served, rotation, "prove", {"key": rotation["key"]})
                clients.settle()
            if turn % 2:
                act(served, rotation, "rollback", {})
            else:
                act(served, rotation, "complete", {})
                clients.settle()
                held[0] = rotation["key"]
            clients.settle()
    assert clients.wrong == []
    assert sum(clients.done.values()) > 4 * ROUNDS


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_is_signed_during_a_rotation_is_signed_and_verifies(served: Served, strategy: str) -> None:
    key = served.issue(type="jwt", scope="read_write")
    path = f"/v1/keys/{key['key_id']}"
    signed: list[str] = [served.call("POST", f"{path}/sign", {"claims": {"n": 0}}).ok()["token"]]

    def sign() -> object:
        answer = served.call("POST", f"{path}/sign", {"claims": {"sub": "ada"}})
        if answer.status != 200:
            return answer
        signed.append(answer.json["token"])
        return None

    def verify() -> object:
        for token in (signed[-1], signed[len(signed) // 2], signed[0]):
            answer = served.call("POST", f"{path}/verify-signature", {"token": token})
            if answer.status != 200 or not answer.json["valid"]:
                return answer
        return None

    clients = Clients()
    with clients.busy(sign=sign, verify=verify):
        for _ in range(ROUNDS):
            clients.settle()
            rotation = rotate(served, key["key_id"], strategy=strategy)
            clients.settle()
            if strategy != "immediate":
                act(served, rotation, "complete", {})
    assert clients.wrong == []
    versions = {token.split(".")[0] for token in signed}
    assert len(versions) > 1, "signed by several versions"
