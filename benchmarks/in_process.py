"""Warm and cold verification in this process, over many keys in random order, against hashing and one dict look-up."""

from __future__ import annotations

import gc
import hashlib
import random
import tracemalloc

from benchmarks.filling import PERMISSIONS
from benchmarks.measuring import Line, interleaved, per_item, show
from benchmarks.stores import KEK, Stores
from keyturn import KeyScope, SecureKeyStore

KEYS = 50_000
COLD = 5_000
MEASURED = 20_000  # credentials loaded to see what one takes in memory


def run(stores: Stores) -> None:
    """Measure and print."""
    filled = stores.of(KEYS)
    tokens = random.sample(filled.tokens, KEYS)
    with SecureKeyStore(encryption_key=KEK, path=filled.path) as store:
        memory = _memory(store, tokens[:MEASURED])
        cold = per_item(lambda: _authenticate(store, tokens[MEASURED : MEASURED + COLD]), COLD, rounds=1)
        _authenticate(store, tokens)
        floor, warm = interleaved(_floor(tokens), lambda: _authenticate(store, tokens), KEYS)
    lines = [
        Line("SHA-256 and one dict look-up", floor, note="the floor"),
        Line(
            "authenticate, warm", warm, floor, "scope and permissions asked; the writing of counts included"
        ),
        Line("authenticate, cold", cold, floor, "load, three seals, fill"),
    ]
    show(f"In process, {KEYS:,} keys in random order", lines)
    print(f"  memory per cached credential: {memory:,.0f} bytes")


def _authenticate(store: SecureKeyStore, tokens: list[str]) -> None:
    for token in tokens:
        assert store.authenticate(token, scope=KeyScope.READ, permissions=PERMISSIONS[0])


def _floor(tokens: list[str]):  # type: ignore[no-untyped-def]
    index = {hashlib.sha256(token.encode()).digest(): number for number, token in enumerate(tokens)}
    shuffled = tokens[:]
    random.shuffle(shuffled)

    def work() -> None:
        for token in shuffled:
            index[hashlib.sha256(token.encode()).digest()]

    return work


def _memory(store: SecureKeyStore, tokens: list[str]) -> float:
    gc.collect()
    tracemalloc.start()
    _authenticate(store, tokens)
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size / len(tokens)
