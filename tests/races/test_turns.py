"""Many who change one key in one process: each in turn, and who ends it before the others."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from keyturn.domain.key import KeyType
from keyturn.domain.lifecycle import KeyState
from keyturn.domain.scope import KeyScope
from keyturn.errors import KeyturnError
from keyturn.issuing.turns import STRIPES, Turns
from keyturn.key_generator import SecureKeyGenerator
from keyturn.key_store import SecureKeyStore
from tests.fakes import KEK, Process

SECONDS = 60.0  # for what must not hang


def started(*acts: Callable[[], object]) -> list[threading.Thread]:
    threads = [threading.Thread(target=act, daemon=True) for act in acts]
    for thread in threads:
        thread.start()
    return threads


def ended(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()


@contextmanager
def taken_until_released(turns: Turns, row_id: str) -> Iterator[threading.Event]:
    """Another thread has the turn."""
    has_it, release = threading.Event(), threading.Event()

    def hold() -> None:
        with turns.taken(row_id):
            has_it.set()
            release.wait(SECONDS)

    threads = started(hold)
    assert has_it.wait(SECONDS)
    try:
        yield release
    finally:
        release.set()
        ended(threads)


def waiting(turns: Turns) -> int:
    return sum(len(turn._waiting) for turn in turns._stripes)


def until_waiting(turns: Turns, count: int) -> None:
    pause = threading.Event()
    while waiting(turns) < count:
        pause.wait(0.001)


def test_changes_of_one_key_in_one_process_do_not_get_in_each_others_way(ours: Process) -> None:
    key = ours.issue()
    commits = ours.ledger.calls["commit"]

    def change(number: int) -> Callable[[], object]:
        return lambda: [ours.update(key, name=f"{number} {again}") for again in range(20)]

    ended(started(*(change(number) for number in range(20))))
    assert ours.get(key).revision == 401
    assert ours.ledger.calls["commit"] - commits == 400


def test_an_act_that_ends_a_key_goes_before_the_changes_that_wait(ours: Process) -> None:
    key, turns = ours.issue(), ours.node.issuer._keys.turns
    refused: list[KeyturnError] = []

    def update() -> None:
        try:
            ours.update(key, name="named")
        except KeyturnError as error:
            refused.append(error)

    with taken_until_released(turns, key.key_id) as release:
        updates = started(*[update] * 10)
        until_waiting(turns, 10)
        revocation = started(lambda: ours.revoke(key))
        until_waiting(turns, 11)
        release.set()
        ended(updates + revocation)
    assert len(refused) == 10
    assert (ours.get(key).state, ours.get(key).name) == (KeyState.DEACTIVATED, None)


def test_turns_come_in_order(ours: Process) -> None:
    turns, order = Turns(), list[int]()

    def act(number: int) -> Callable[[], None]:
        def taken() -> None:
            with turns.taken("key_1"):
                order.append(number)

        return taken

    with taken_until_released(turns, "key_1") as release:
        threads: list[threading.Thread] = []
        for number in range(10):
            threads += started(act(number))
            until_waiting(turns, number + 1)
        release.set()
        ended(threads)
    assert order == list(range(10))


def test_a_turn_that_does_not_come_is_done_without(monkeypatch: pytest.MonkeyPatch, ours: Process) -> None:
    """Whatever holds it up: the ledger decides what is right, and a revocation does not wait for ever."""
    monkeypatch.setattr("keyturn.issuing.turns.WAIT_SECONDS", 0.01)
    key, turns = ours.issue(), ours.node.issuer._keys.turns
    with taken_until_released(turns, key.key_id):
        assert ours.revoke(key).state is KeyState.DEACTIVATED
        assert waiting(turns) == 0


def test_what_fails_passes_its_turn_on() -> None:
    turns = Turns()
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), turns.taken("key_1"):
            raise ZeroDivisionError
    assert not any(turn._is_taken for turn in turns._stripes)


def test_memory_for_turns_is_bounded() -> None:
    turns = Turns()
    for number in range(10 * STRIPES):
        with turns.taken(f"key_{number}"):
            pass
    assert len(turns._stripes) == STRIPES == 256
    assert waiting(turns) == 0


def test_a_child_process_does_not_wait_for_a_turn_that_its_parent_holds(tmp_path: Path) -> None:
    """The thread that holds it is not there in the child."""
    with SecureKeyStore(storage_backend="local", encryption_key=KEK, path=tmp_path / "keys.db") as store:
        key = SecureKeyGenerator().generate_api_key(key_type=KeyType.API_TOKEN, key_scope=KeyScope.READ)
        store.store_key(key)
        turns = store._node.issuer._keys.turns
        with taken_until_released(turns, key.key_id):
            child = os.fork()
            if not child:
                try:
                    os._exit(int(any(turn._is_taken for turn in turns._stripes)))
                finally:
                    os._exit(2)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
