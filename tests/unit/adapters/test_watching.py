"""A ledger that is watched does what it did before, and what it took is known."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, cast

import pytest

from keyturn.adapters.ledger.watching import LedgerCalls, watched
from keyturn.errors import ConflictError, StorageBusyError, StorageError
from keyturn.ports.ledger import Ledger
from tests.fakes import HookedLedger
from tests.unit.records.memory_ledger import MemoryStore


@pytest.fixture
def inner() -> HookedLedger:
    return HookedLedger(MemoryStore().open())


def test_calls_are_passed_on_and_timed_by_name(inner: HookedLedger) -> None:
    calls = LedgerCalls()
    ledger = watched(inner, calls)
    assert ledger.log_id == inner.log_id
    assert ledger.head() == 0
    assert ledger.read(["a"]) == [None]
    assert ledger.read_log(1, 10) == []
    assert ledger.read_log(1, 10) == []
    assert inner.calls == {"head": 1, "read": 1, "read_log": 2}
    assert {name: seen.count for (name,), seen in calls.seconds.read().items()} == inner.calls
    assert calls.failures.read() == {}


def test_failures_are_raised_as_they_are_and_counted_by_code(inner: HookedLedger) -> None:
    calls = LedgerCalls()
    ledger = watched(inner, calls)
    for error in (StorageError("gone"), StorageBusyError("locked"), StorageBusyError("locked")):
        inner.fail(error, "read")
        with pytest.raises(type(error)) as raised:
            ledger.read(["a"])
        assert raised.value is error
    assert calls.failures.read() == {("read", "storage_unavailable"): 1, ("read", "storage_busy"): 2}
    assert calls.seconds.read()["read",].count == 3, "what fails takes time too"


def test_a_conflict_is_an_answer(inner: HookedLedger) -> None:
    calls = LedgerCalls()
    inner.fail(ConflictError("moved"), "commit")
    with pytest.raises(ConflictError):
        watched(inner, calls).commit(cast(Any, None))
    assert calls.failures.read() == {}


def test_waiting_for_news_is_not_timed(inner: HookedLedger) -> None:
    calls = LedgerCalls()
    ledger = watched(inner, calls)
    ledger.wait_for_news(0.0)
    ledger.close()
    assert calls.seconds.read() == {}


def test_every_method_of_the_port_is_watched(inner: HookedLedger) -> None:
    """Also one that a later version adds."""
    calls = LedgerCalls()
    ledger: Any = watched(inner, calls)
    methods = [name for name in vars(Ledger) if not name.startswith("_") and name != "log_id"]
    assert len(methods) > 15
    for name in methods:
        with suppress(TypeError):  # it lacks what it is to be given, and takes a moment to say so
            getattr(ledger, name)()
    assert {name for (name,) in calls.seconds.read()} == set(methods) - {"wait_for_news", "close"}
