"""Commits that wait travel together, and each caller hears of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from keyturn.adapters.ledger.postgres.coalescing import MAX_CHARACTERS, MAX_TOGETHER, Coalescer, Outcome
from keyturn.errors import ConflictError, OutcomeUnknownError, StorageBusyError, StorageError
from tests.contract.waiting import until


class Wire:
    """A sender that the test holds back; it remembers what travelled together."""

    def __init__(self, answer: Callable[[str], Outcome] = len) -> None:
        self.sent: list[list[str]] = []
        self.is_open = threading.Event()
        self.is_waiting = threading.Event()
        self._answer = answer

    def send(self, encoded: Sequence[str], deadline: float) -> list[Outcome]:
        self.sent.append(list(encoded))
        self.is_waiting.set()
        assert self.is_open.wait(10)
        return [self._answer(one) for one in encoded]


def submit_while_held(
    wire: Wire, coalescer: Coalescer, texts: Sequence[str], timeout: float = 10
) -> list[Future[int]]:
    """Submit the first, and the others while it is under way; returns when all of them wait."""
    pool = ThreadPoolExecutor(len(texts))
    deadline = time.monotonic() + timeout
    futures = [pool.submit(coalescer.submit, texts[0], deadline)]
    assert wire.is_waiting.wait(10)
    for waiting, text in enumerate(texts[1:], start=1):
        futures.append(pool.submit(coalescer.submit, text, deadline))
        until(lambda: coalescer.waiting == waiting)  # noqa: B023  (called before the loop goes on)
    pool.shutdown(wait=False)
    return futures


def test_what_waits_travels_together_in_the_order_of_arrival() -> None:
    wire = Wire()
    coalescer = Coalescer(wire.send)
    futures = submit_while_held(wire, coalescer, ["a", "bb", "ccc", "dddd"])
    wire.is_open.set()
    assert [future.result(10) for future in futures] == [1, 2, 3, 4]
    assert wire.sent == [["a"], ["bb", "ccc", "dddd"]]


def test_each_caller_gets_its_own_answer_or_error() -> None:
    def answer(text: str) -> Outcome:
        return ConflictError(text) if text.startswith("conflict") else len(text)

    wire = Wire(answer)
    futures = submit_while_held(wire, Coalescer(wire.send), ["a", "conflict 1", "ccc", "conflict 2"])
    wire.is_open.set()
    assert (futures[0].result(10), futures[2].result(10)) == (1, 3)
    for future, text in ((futures[1], "conflict 1"), (futures[3], "conflict 2")):
        with pytest.raises(ConflictError, match=text):
            future.result(10)


def test_an_error_of_the_call_reaches_every_caller_as_an_error_of_its_own() -> None:
    class Broken(Wire):
        def send(self, encoded: Sequence[str], deadline: float) -> list[Outcome]:
            super().send(encoded, deadline)
            raise StorageError("gone", fix="look")

    wire = Broken()
    futures = submit_while_held(wire, Coalescer(wire.send), ["a", "b", "c"])
    wire.is_open.set()
    errors = [future.exception(10) for future in futures]
    assert [repr(error) for error in errors] == [repr(StorageError("gone"))] * 3
    assert [getattr(error, "fix", "") for error in errors] == ["look"] * 3
    assert len({id(error) for error in errors}) == 3


def test_the_next_leader_carries_on_after_a_sender_that_was_interrupted() -> None:
    class Interrupted(Wire):
        def send(self, encoded: Sequence[str], deadline: float) -> list[Outcome]:
            outcomes = super().send(encoded, deadline)
            if len(self.sent) == 2:
                raise KeyboardInterrupt
            return outcomes

    wire = Interrupted()
    coalescer = Coalescer(wire.send)
    futures = submit_while_held(wire, coalescer, ["a", "b", "c"])
    wire.is_open.set()
    assert futures[0].result(10) == 1
    with pytest.raises(KeyboardInterrupt):
        futures[1].result(10)
    with pytest.raises(OutcomeUnknownError):
        futures[2].result(10)
    assert coalescer.submit("dddd", time.monotonic() + 10) == 4


def test_a_caller_whose_time_is_up_before_sending_knows_that_nothing_was_written() -> None:
    wire = Wire()
    coalescer = Coalescer(wire.send)
    futures = submit_while_held(wire, coalescer, ["a"])
    with pytest.raises(StorageBusyError):
        coalescer.submit("late", time.monotonic() + 0.05)
    wire.is_open.set()
    assert futures[0].result(10) == 1
    assert coalescer.submit("next", time.monotonic() + 10) == 4
    assert wire.sent == [["a"], ["next"]]


def test_a_caller_whose_time_is_up_while_another_sends_for_it_does_not_know() -> None:
    wire = Wire()
    coalescer = Coalescer(wire.send)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(coalescer.submit, "a", time.monotonic() + 10)
        assert wire.is_waiting.wait(10)
        wire.is_waiting.clear()
        leader = pool.submit(coalescer.submit, "bb", time.monotonic() + 10)
        until(lambda: coalescer.waiting == 1)
        follower = pool.submit(coalescer.submit, "ccc", time.monotonic() + 0.3)
        until(lambda: coalescer.waiting == 2)
        wire.is_open.set()
        wire.is_open.clear()
        assert first.result(10) == 1
        assert wire.is_waiting.wait(10)
        with pytest.raises(OutcomeUnknownError):
            follower.result(10)
        wire.is_open.set()
        assert leader.result(10) == 2
    assert wire.sent == [["a"], ["bb", "ccc"]]


def test_a_call_is_bounded_in_number_and_size() -> None:
    wire = Wire()
    long = "x" * (MAX_CHARACTERS // 2)
    texts = ["a", long, long, long, *("y" for _ in range(MAX_TOGETHER + 5))]
    futures = submit_while_held(wire, Coalescer(wire.send), texts)
    wire.is_open.set()
    assert [future.result(10) for future in futures] == [len(text) for text in texts]
    assert max(len(batch) for batch in wire.sent) <= MAX_TOGETHER
    assert max(sum(map(len, batch)) for batch in wire.sent) <= MAX_CHARACTERS
    assert [text for batch in wire.sent for text in batch] == texts
