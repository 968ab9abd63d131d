"""Single calls with few and with many keys in the ledger: the time of a call must not grow with them."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

from benchmarks.filling import fill
from benchmarks.measuring import Line, each, show
from keyturn import KeyScope, SecureKeyGenerator, SecureKeyStore
from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.bootstrap import initialise, open_node
from keyturn.domain.secret import Secret

SIZES = (1_000, 1_000_000)
CALLS = 200
KEK = b"k" * 32


def run() -> None:
    """Measure and print."""
    few: dict[str, float] = {}
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "keys.db"
            tokens, replay = _filled(path, size)
            began = time.perf_counter()
            with SecureKeyStore(encryption_key=KEK, path=path) as store:
                times = {"open the store": time.perf_counter() - began, **_times(store, tokens)}
        lines = [Line(what, seconds, few.get(what)) for what, seconds in times.items()]
        lines.append(Line("replay of the log, an entry", replay / size, note=f"all: {replay:.2f} s"))
        show(f"{size:,} keys in the ledger (floor: the same call with {SIZES[0]:,})", lines)
        few = few or times


def _filled(path: Path, size: int) -> tuple[list[str], float]:
    """A store of `size` keys: their tokens, and how long it takes to read its whole log."""
    url, wrapper = f"sqlite:///{path}", LocalKeyWrapper(Secret(KEK))
    initialise(url, wrapper, with_first_key=False)
    with closing(open_node(url, wrapper)) as follower:
        tokens = fill(path, KEK, size)
        began = time.perf_counter()
        follower.records.log.catch_up()
        return tokens, time.perf_counter() - began


def _times(store: SecureKeyStore, tokens: list[str]) -> dict[str, float]:
    """Median seconds of each call."""
    generator = SecureKeyGenerator()
    ids = [str(store.authenticate(token).key_id) for token in random.sample(tokens, CALLS)]
    fresh = [generator.generate_api_key(key_scope=KeyScope.READ, owner=f"new-{n}") for n in range(CALLS)]
    return {
        "generate": _median(generator.generate_api_key for _ in range(CALLS)),
        "store": _median(_bound(store.store_key, key) for key in fresh),
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
