"""Single calls with few and with many keys in the ledger: the time of a call must not grow with them."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterable

from benchmarks.measuring import Line, each, show
from benchmarks.stores import KEK, Stores
from keyturn import KeyScope, SecureKeyGenerator, SecureKeyStore

SIZES = (1_000, 1_000_000)
CALLS = 200
TOGETHER = 1_000


def run(stores: Stores) -> None:
    """Measure and print."""
    few: dict[str, float] = {}
    for size in SIZES:
        filled = stores.of(size)
        began = time.perf_counter()
        with SecureKeyStore(encryption_key=KEK, path=filled.path) as store:
            times = {"open the store": time.perf_counter() - began, **_times(store, filled.tokens)}
        lines = [Line(what, seconds, few.get(what)) for what, seconds in times.items()]
        show(f"{size:,} keys in the ledger (floor: the same call with {SIZES[0]:,})", lines)
        few = few or times


def _times(store: SecureKeyStore, tokens: list[str]) -> dict[str, float]:
    """Median seconds of each call."""
    generator = SecureKeyGenerator()
    fresh = [generator.generate_api_key(key_scope=KeyScope.READ, owner=f"new-{n}") for n in range(CALLS)]
    ids = [key.key_id for key in fresh]
    several = [generator.generate_batch(TOGETHER, owner=f"new-{n}") for n in range(5)]
    return {
        "generate": _median(generator.generate_api_key for _ in range(CALLS)),
        "store": _median(_bound(store.store_key, key) for key in fresh),
        f"store one of {TOGETHER:,} together": _median(_bound(store.store_keys, keys) for keys in several)
        / TOGETHER,
        "authenticate, cold": _median(
            _bound(store.authenticate, token) for token in random.sample(tokens, CALLS)
        ),
        "retrieve": _median(_bound(store.retrieve_key, key_id) for key_id in ids),
        "list 100": _median(store.list_keys for _ in range(CALLS)),
        "revoke": _median(_bound(store.revoke_key, key_id) for key_id in ids),
    }


def _bound(call: Callable[..., object], argument: object) -> Callable[[], object]:
    return lambda: call(argument)


def _median(calls: Iterable[Callable[[], object]]) -> float:
    return statistics.median(each(calls))
