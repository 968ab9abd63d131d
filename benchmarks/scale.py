"""Single calls with few and with many keys in the ledger: the time of a call must not grow with them."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.filling import fill
from benchmarks.measuring import Line, each, show
from keyturn import KeyScope, SecureKeyGenerator, SecureKeyStore

SIZES = (1_000, 1_000_000)
CALLS = 200


def run() -> None:
    """Measure and print."""
    few: dict[str, float] = {}
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            path, kek = Path(folder) / "keys.db", b"k" * 32
            tokens = fill(path, kek, size)
            began = time.perf_counter()
            store = SecureKeyStore(encryption_key=kek, path=path)
            opened = time.perf_counter() - began
            times = _times(store, tokens)
            lines = [Line(what, seconds, few.get(what)) for what, seconds in times.items()]
            lines.append(Line("opening the store: replay of the log", opened, note=f"{size:,} entries"))
            lines.append(Line("  the same for each entry", opened / size))
            store.close()
        show(f"{size:,} keys in the ledger (floor: the same call with {SIZES[0]:,})", lines)
        few = few or times


def _times(store: SecureKeyStore, tokens: list[str]) -> dict[str, float]:
    generator = SecureKeyGenerator()
    chosen = random.sample(tokens, CALLS)
    fresh = [generator.generate_api_key(key_scope=KeyScope.READ, owner=f"new-{n}") for n in range(CALLS)]
    ids = [store.authenticate(token).key_id for token in random.sample(tokens, CALLS)]
    work = {
        "generate": [lambda: generator.generate_api_key() for _ in range(CALLS)],
        "store": [lambda key=key: store.store_key(key) for key in fresh],
        "authenticate, cold": [lambda token=token: store.authenticate(token) for token in chosen],
        "retrieve": [lambda key_id=key_id: store.retrieve_key(key_id) for key_id in ids],
        "list 100": [lambda: store.list_keys() for _ in range(CALLS)],
        "revoke": [lambda key_id=key_id: store.revoke_key(key_id) for key_id in ids],
    }
    return {what: statistics.median(each(calls)) for what, calls in work.items()}  # type: ignore[arg-type]
