"""Keys made ahead: each is given away once, and made up for."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from keyturn.errors import PoolEmptyError
from keyturn.server.rsa_pool import KEPT, RsaPool

SECONDS = 10.0


@contextmanager
def running(make: Callable[[int], bytes]) -> Iterator[RsaPool]:
    pool = RsaPool(make, start_seconds=0, again_seconds=0)
    pool.start()
    try:
        yield pool
    finally:
        pool.stop()


def full(pool: RsaPool) -> bool:
    return pool.sizes() == KEPT


def awaited(condition: Callable[[], bool]) -> None:
    ended = threading.Event()
    for _ in range(int(SECONDS * 1_000)):
        if condition():
            return
        ended.wait(0.001)
    raise AssertionError("it did not come about")


def test_each_size_is_filled_the_quickest_first_and_filled_up_again() -> None:
    made: list[int] = []

    def make(bits: int) -> bytes:
        made.append(bits)
        return b"%d.%d" % (bits, len(made))

    with running(make) as pool:
        awaited(lambda: full(pool))
        assert made == [bits for bits, count in KEPT.items() for _ in range(count)]
        taken = [pool.take(4_096) for _ in range(KEPT[4_096])]
        awaited(lambda: full(pool))
        taken += [pool.take(4_096) for _ in range(KEPT[4_096])]
        assert len(set(taken)) == len(taken), "no key is given away twice"
        assert all(key.startswith(b"4096.") for key in taken)


def test_who_takes_every_small_key_keeps_nobody_from_a_large_one() -> None:
    is_running = threading.Event()

    def make(bits: int) -> bytes:
        is_running.wait(SECONDS)
        if bits == 3_072:
            with suppress(PoolEmptyError):
                pool.take(bits)
        return b"key"

    with running(make) as pool:
        is_running.set()
        awaited(lambda: pool.sizes()[4_096] == KEPT[4_096] and pool.sizes()[8_192] == KEPT[8_192])


def test_a_key_that_could_not_be_made_is_made_later(caplog: pytest.LogCaptureFixture) -> None:
    failures = iter([MemoryError(), ValueError("a library's own")])

    def make(_: int) -> bytes:
        for failure in failures:
            raise failure
        return b"key"

    with running(make) as pool:
        awaited(lambda: full(pool))
    assert caplog.text.count("an RSA key of 3072 bits could not be made") == 2


def test_keys_are_made_where_the_priority_may_not_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under a filter of system calls."""

    def refuse(*_: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setpriority", refuse)
    with running(lambda _: b"key") as pool:
        awaited(lambda: full(pool))


@pytest.mark.parametrize("bits", KEPT)
def test_who_comes_too_early_is_told_when_to_come_back(bits: int) -> None:
    hold = threading.Event()

    def make(_: int) -> bytes:
        hold.wait(SECONDS)
        return b"key"

    with running(make) as pool:
        with pytest.raises(PoolEmptyError) as refused:
            pool.take(bits)
        assert refused.value.retry_after >= 1
        hold.set()
        awaited(lambda: full(pool))
        assert pool.take(bits) == b"key"


def test_a_stopped_pool_makes_no_more() -> None:
    made = 0

    def make(_: int) -> bytes:
        nonlocal made
        made += 1
        return b"key"

    with running(make) as pool:
        awaited(lambda: full(pool))
    before = made
    pool.take(3_072)
    threading.Event().wait(0.05)
    assert made == before


def test_a_pool_that_is_stopped_before_it_began_makes_none() -> None:
    pool = RsaPool(lambda _: pytest.fail("it was not asked to"), start_seconds=60)
    pool.start()
    pool.stop()
    assert set(pool.sizes().values()) == {0}
