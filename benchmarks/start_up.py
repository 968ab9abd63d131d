"""How long a server takes from the start of its process to its first answers, and the memory that it then has.

The log's snapshot says which rows were changed since they were made; without it the whole log is read.
"""

from __future__ import annotations

import http.client
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from benchmarks.http import free_port, serving
from benchmarks.measuring import Line, show
from benchmarks.stores import Store, Stores

SIZES = (1_000, 1_000_000)
STARTS = 3
WAIT_SECONDS = 300


class Start(NamedTuple):
    """Seconds from the start of the process to each first answer, and bytes of memory after them."""

    live: float
    ready: float
    verified: float
    memory: float
    most_memory: float


def run(stores: Stores) -> None:
    """Measure and print."""
    floor: Start | None = None
    for size in SIZES:
        store = stores.of(size)
        found = _median([_started(store) for _ in range(STARTS)])
        without = _started(_without_snapshot(store))
        floor = floor or found
        _show(f"Start with {size:,} keys, median of {STARTS}", found, floor)
        _show(f"Start with {size:,} keys, without a snapshot, once", without, floor)


def _show(title: str, found: Start, floor: Start) -> None:
    show(
        f"{title} (floor: {SIZES[0]:,} keys, with a snapshot)",
        [
            Line("until /livez answers", found.live, floor.live),
            Line("until /readyz answers", found.ready, floor.ready),
            Line("until the first verification", found.verified, floor.verified),
        ],
    )
    print(f"  memory {found.memory / 2**20:.0f} MiB, at most {found.most_memory / 2**20:.0f} MiB until then")


def _median(starts: list[Start]) -> Start:
    return Start(*(statistics.median(column) for column in zip(*starts, strict=True)))


def _started(store: Store) -> Start:
    with tempfile.TemporaryDirectory() as folder:
        port, began = free_port(), time.perf_counter()
        with serving(Path(folder), store, port) as pid:
            live = _answered(port, _is_live, began)
            ready = _answered(port, _is_ready, began)
            verified = _answered(port, lambda client: _is_verified(client, store), began)
            return Start(live, ready, verified, *_memory(pid))


def _answered(port: int, ask: Callable[[http.client.HTTPConnection], bool], began: float) -> float:
    """Seconds until the question is answered as it should be."""
    while time.perf_counter() - began < WAIT_SECONDS:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)) as client:
            try:
                if ask(client):
                    return time.perf_counter() - began
            except OSError:
                pass  # nobody listens yet
        time.sleep(0.005)
    raise RuntimeError("the server did not start in time")


def _is_live(client: http.client.HTTPConnection) -> bool:
    client.request("GET", "/livez")
    return client.getresponse().status == 200


def _is_ready(client: http.client.HTTPConnection) -> bool:
    client.request("GET", "/readyz")
    return client.getresponse().status == 200


def _is_verified(client: http.client.HTTPConnection, store: Store) -> bool:
    body = json.dumps({"key": store.tokens[-1]})
    fields = {"Authorization": f"Bearer {store.caller}", "Content-Type": "application/json"}
    client.request("POST", "/v1/verify", body, fields)
    return json.loads(client.getresponse().read()).get("valid") is True


def _memory(pid: int) -> tuple[float, float]:
    """Bytes: now, and at most so far."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    now, most = (int(lines[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    return now, most


def _without_snapshot(store: Store) -> Store:
    """The store, as it is before one was made; a server makes one soon after its start."""
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute("DELETE FROM snapshot")
    return store
