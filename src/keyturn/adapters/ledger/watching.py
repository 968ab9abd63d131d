"""A ledger whose calls are timed and whose failures are counted, around any other.

calls = LedgerCalls()
ledger = watched(open_ledger(url), calls)
ledger.commit(commit)
calls.seconds.read()                # {("commit",): Distribution(...)}
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from time import perf_counter
from typing import Any, Final, cast

from keyturn.errors import ConflictError, KeyturnError
from keyturn.measures import Histograms, Tally
from keyturn.ports.ledger import Ledger

_UNTIMED: Final = frozenset(("wait_for_news", "close"))  # waiting is what they are for


class LedgerCalls:
    """What the calls of a ledger took, and how they failed.

    Attributes:
        seconds: by call, those that failed included.
        failures: by call and the error's code. A conflict is an answer and not a failure.
    """

    def __init__(self) -> None:
        self.seconds = Histograms()
        self.failures = Tally()


def watched(ledger: Ledger, calls: LedgerCalls) -> Ledger:
    """The same ledger, with its calls in `calls`."""
    return cast(Ledger, _Watched(ledger, calls))


class _Watched:
    """Stands in for the port's methods, whichever they are; everything else is the ledger's own."""

    def __init__(self, ledger: Ledger, calls: LedgerCalls) -> None:
        self._ledger = ledger
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._ledger, name)
        if not hasattr(Ledger, name) or not callable(found) or name in _UNTIMED:
            return found
        timed = _timed(name, found, self._calls)
        setattr(self, name, timed)  # so that the next call finds it at once
        return timed


def _timed(name: str, call: Callable[..., Any], calls: LedgerCalls) -> Callable[..., Any]:
    @wraps(call)
    def timed(*given: Any, **named: Any) -> Any:
        began = perf_counter()
        try:
            return call(*given, **named)
        except KeyturnError as error:
            if not isinstance(error, ConflictError):
                calls.failures.add(name, error.code)
            raise
        finally:
            calls.seconds.observe(perf_counter() - began, name)

    return timed
