"""Rotating one key of each kind, and 100,000 that are due at once: how long, and in how much memory."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from benchmarks.measuring import Line, each, readable, show
from benchmarks.stores import KEK, Stores
from keyturn import (
    KeyRotator,
    KeyScope,
    KeySelection,
    KeyType,
    RotationFrequency,
    RotationPolicy,
    RotationStrategy,
    SecureKeyGenerator,
    SecureKeyStore,
)
from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.bootstrap import open_node
from keyturn.crypto.key_pairs import make_rsa_key
from keyturn.domain.key import Algorithm
from keyturn.domain.principal import LOCAL_ACTOR, Principal
from keyturn.domain.secret import Secret
from keyturn.ports.clock import SYSTEM_CLOCK

FEW: Final = 1_000
DUE: Final = 100_000
ROTATIONS: Final = 100
KINDS: Final[tuple[tuple[KeyType, Algorithm | None], ...]] = (
    (KeyType.API_TOKEN, None),
    (KeyType.HMAC, Algorithm.HS256),
    (KeyType.JWT, Algorithm.EDDSA),
    (KeyType.ECDSA, Algorithm.ES256),
    (KeyType.RSA, Algorithm.PS256),
)


def run(stores: Stores) -> None:
    """Measure and print."""
    with SecureKeyStore(encryption_key=KEK, path=stores.of(FEW).path) as store:
        show(
            "Rotating one key, its commit included (floor: making a key of its kind)",
            [_line(store, key_type, algorithm) for key_type, algorithm in KINDS],
        )
    show(f"{DUE:,} keys that are due at once", list(_all_due(stores.of(DUE).url)))


def _line(store: SecureKeyStore, key_type: KeyType, algorithm: Algorithm | None) -> Line:
    is_rsa = key_type is KeyType.RSA
    made = make_rsa_key(3_072) if is_rsa else None  # which takes what it takes, so it is left out
    generator = SecureKeyGenerator() if made is None else SecureKeyGenerator(rsa_keys=lambda _: made)
    rotator = KeyRotator(generator, store)
    key = generator.generate_api_key(key_type, KeyScope.FULL, algorithm=algorithm)
    store.store_key(key)
    rotate = each(
        lambda: rotator.rotate_key(key.key_id, strategy=RotationStrategy.IMMEDIATE) for _ in range(ROTATIONS)
    )
    make = each(lambda: generator.generate_api_key(key_type, algorithm=algorithm) for _ in range(ROTATIONS))
    beyond = statistics.median(rotate) - statistics.median(make)
    slow = statistics.quantiles(rotate, n=20)[-1]
    what = key_type.value if algorithm is None else f"{key_type.value} {algorithm.value}"
    return Line(
        what + (", made beforehand" if is_rsa else ""),
        statistics.median(rotate),
        statistics.median(make),
        f"{readable(beyond)} beyond it, p95 {readable(slow)}, of {ROTATIONS}",
    )


class _Later:
    """The time in a month and a day, by the machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(days=32)

    def nanos(self) -> int:
        return time.time_ns() + 32 * 86_400 * 10**9

    def steady(self) -> float:
        return SYSTEM_CLOCK.steady()


def _all_due(url: str) -> Iterator[Line]:
    """One scheduler that works off every key of a store."""
    with closing(open_node(url, LocalKeyWrapper(Secret(KEK)), clock=_Later())) as node:
        policy = RotationPolicy(
            policy_id="all",
            frequency=RotationFrequency.MONTHLY,
            strategy=RotationStrategy.OVERLAPPING,
            keys=KeySelection(types=(KeyType.API_TOKEN,)),
        )
        node.rotation.policies.create(policy, Principal(actor=LOCAL_ACTOR))
        began = at = time.perf_counter()
        first = before = _resident()
        done = 0
        for event in node.rotation.scheduler.work():
            done += event.type == "rotation_started"
            if done % (DUE // 10) == 0:
                now, memory = time.perf_counter(), _resident()
                note = f"{(memory - before) / 1e6:+.1f} MB of {memory / 1e6:.0f}"
                print(f"  {done:,} of {DUE:,}: {now - at:.0f} s, {note}", flush=True)
                at, before = now, memory
        took = time.perf_counter() - began
        yield Line("each", took / done, note=f"{done:,} in {took:.0f} s")
        yield Line("memory", 0, note=f"{(_resident() - first) / done:.0f} bytes more for each key")


def _resident() -> int:
    """Bytes of memory that this process has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
