"""Making a key of each type, and what it takes where RSA keys were made ahead."""

from __future__ import annotations

import json
import re
import statistics
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

from benchmarks.http import Running, served
from benchmarks.measuring import Line, each, readable, show
from benchmarks.stores import Store, Stores
from keyturn import KeyType, SecureKeyGenerator
from keyturn.domain.algorithms import chosen
from keyturn.domain.key import Algorithm, KeyLength
from keyturn.errors import InvalidInputError
from keyturn.server.rsa_pool import KEPT, RsaPool

CALLS = 500
RSA_CALLS = {3_072: 20, 4_096: 10, 8_192: 3}  # they take a tenth of a second to several
FEW = 1_000
WAIT_SECONDS = 120


class Sort(NamedTuple):
    """What kind of key: the algorithm is None for tokens."""

    type: KeyType
    algorithm: Algorithm | None
    length: KeyLength

    def __str__(self) -> str:
        named = "" if self.algorithm is None else f" {self.algorithm.value}"
        return f"{self.type.value}{named}, {int(self.length):,} bits"


def run(stores: Stores) -> None:
    """Measure and print."""
    quick = [sort for sort in _sorts() if not _is_rsa(sort)]
    show("Generation", [_line(str(sort), [sort], CALLS) for sort in quick])
    by_length: dict[int, list[Sort]] = defaultdict(list)
    for sort in filter(_is_rsa, _sorts()):
        by_length[sort.length].append(sort)
    lines = [_line(_names(sorts), sorts, RSA_CALLS[bits]) for bits, sorts in by_length.items()]
    show("Generation of RSA keys", [*lines, *_pooled()])
    with tempfile.TemporaryDirectory() as folder:
        store = stores.of(FEW)
        with served(Path(folder), store) as server:
            show(
                "POST /v1/keys: made or taken from the pool, sealed and stored", list(_issued(server, store))
            )


def _sorts() -> Iterator[Sort]:
    """All that there are."""
    for key_type in KeyType:
        for algorithm in (None, *Algorithm):
            for length in KeyLength:
                try:
                    sort = Sort(key_type, chosen(key_type, length, algorithm)[1], length)
                except InvalidInputError:
                    continue
                if sort.algorithm is algorithm:  # else it is what an algorithm that is not named comes to
                    yield sort


def _is_rsa(sort: Sort) -> bool:
    return sort.algorithm is not None and sort.algorithm.value[:2] in ("PS", "RS")


def _names(sorts: list[Sort]) -> str:
    kinds = ", ".join(
        sorted({f"{sort.type.value} {sort.algorithm.value}" for sort in sorts if sort.algorithm})
    )
    return f"{int(sorts[0].length):,} bits ({kinds})"


def _line(what: str, sorts: list[Sort], calls: int, generator: SecureKeyGenerator | None = None) -> Line:
    """One line for keys that are made alike: the median, and how long the slow ones take."""
    making = generator or SecureKeyGenerator()
    seconds = each(partial(_make, making, sort) for sort in islice(cycle(sorts), calls))
    return Line(what, statistics.median(seconds), note=f"{_slow(seconds)}, of {calls}")


def _make(generator: SecureKeyGenerator, sort: Sort) -> None:
    generator.generate_api_key(sort.type, algorithm=sort.algorithm, length=sort.length)


def _slow(seconds: list[float]) -> str:
    if len(seconds) < 100:
        return f"most {readable(max(seconds))}"
    return f"p95 {readable(statistics.quantiles(seconds, n=20)[-1])}"


def _pooled() -> Iterator[Line]:
    """What is left to do where the key is taken from the server's pool."""
    pool = RsaPool(start_seconds=0)
    pool.start()
    try:
        began = time.perf_counter()
        while pool.sizes() != KEPT:
            time.sleep(0.05)
        filled = time.perf_counter() - began
        generator = SecureKeyGenerator(rsa_keys=pool.take)
        for bits, kept in KEPT.items():
            sort = Sort(KeyType.RSA, Algorithm.PS256, KeyLength(bits))
            yield _line(f"{bits:,} bits, from the pool", [sort], kept, generator)
        yield Line(
            "the whole pool, filled beside", filled, note=f"{sum(KEPT.values())} keys, at lowest priority"
        )
    finally:
        pool.stop()


def _issued(server: Running, store: Store) -> Iterator[Line]:
    """Requests for keys of the server's pool, and for one that needs none."""
    yield _requests(server, store, {"type": "api_token"}, CALLS // 5)
    deadline = time.monotonic() + WAIT_SECONDS
    while not all(_ready(server, bits) >= kept for bits, kept in KEPT.items()):
        if time.monotonic() > deadline:
            raise RuntimeError("the pool was not filled in time")
        time.sleep(0.5)
    for bits, kept in KEPT.items():
        yield _requests(server, store, {"type": "rsa", "length": bits}, kept)


def _ready(server: Running, bits: int) -> int:
    """How many keys of the pool are ready."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=5).read().decode()
    found = re.search(rf'keyturn_rsa_pool_keys{{bits="{bits}"}} (\d+)', text)
    assert found is not None
    return int(found[1])


def _requests(server: Running, store: Store, wanted: dict[str, object], count: int) -> Line:
    url, body = f"http://127.0.0.1:{server.port}/v1/keys", json.dumps(wanted).encode()
    headers = {"Authorization": f"Bearer {store.caller}", "Content-Type": "application/json"}

    def ask() -> None:
        urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30).read()

    seconds = each(ask for _ in range(count))
    what = " ".join(str(value) for value in wanted.values())
    return Line(what, statistics.median(seconds), note=f"{_slow(seconds)}, of {count}")
