"""SIGKILL at random moments: a driver and a checker for any ledger.

    acknowledged = kill_writers(store.open, kills=100, seed=1)
    problems = problems_of(ledger, acknowledged)

A writer process commits in a loop, each time a new row and the next revision of a row that all writers share, named by
one entry, and reports each position it was given through a pipe. After the last kill the log and the rows must tell one
story, and what was acknowledged must be part of it.
"""

from __future__ import annotations

import itertools
import multiprocessing
import multiprocessing.connection
import os
import random
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from keyturn.domain.entry import chain_next, chain_start
from keyturn.ports.ledger import Ledger, LogEntry
from tests.contract.ledger_samples import change_of, one_row, plain_row

LONGEST_LIFE: Final = 0.03  # seconds after the first acknowledgement
_COUNTER: Final = "counter"
_BATCH: Final = 1_000
_CONTEXT: Final = multiprocessing.get_context(
    "forkserver"
)  # a process that has the modules loaded, and no ledger open
_CONTEXT.set_forkserver_preload(
    [__name__, "keyturn.adapters.ledger.sqlite", "keyturn.adapters.ledger.postgres"]
)

Open = Callable[[], Ledger]
"""Opens the store; can be pickled."""


class Acknowledged(NamedTuple):
    """A commit that a writer was told of: its position, and its name."""

    position: int
    name: str


def kill_writers(open_ledger: Open, *, kills: int, seed: int) -> list[Acknowledged]:
    """Start a writer and kill it, so many times; returns what they were told."""
    moments = random.Random(seed)
    return [told for life in range(kills) for told in _one_life(open_ledger, life, moments)]


def problems_of(ledger: Ledger, acknowledged: list[Acknowledged]) -> list[str]:
    """What is missing or does not fit together; empty when all is well."""
    entries = list(_entries(ledger))
    names = [stored.entry.decode() for stored in entries]
    problems = [
        f"{name} was acknowledged at {position} and is not there"
        for position, name in acknowledged
        if names[position - 1 : position] != [name]
    ]
    problems += _breaks_of_the_chain(ledger.log_id, entries)
    problems += _halves(ledger, names)
    return problems


def _one_life(open_ledger: Open, life: int, moments: random.Random) -> list[Acknowledged]:
    reader, writer = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_write_until_killed, args=(open_ledger, life, writer))
    process.start()
    writer.close()
    lines = b""
    if life % 5:  # the others die at any moment of their start
        lines = os.read(reader.fileno(), 1 << 20)
    time.sleep(moments.uniform(0, LONGEST_LIFE))
    process.kill()
    process.join()
    while more := os.read(reader.fileno(), 1 << 20):
        lines += more
    reader.close()
    words = (line.split() for line in lines.decode().splitlines())
    return [Acknowledged(int(position), name) for position, name in words]


def _write_until_killed(open_ledger: Open, life: int, report: multiprocessing.connection.Connection) -> None:
    ledger = open_ledger()
    counter = one_row(ledger, _COUNTER)
    first = 1 if counter is None else counter.revision + 1
    for revision in itertools.count(first):
        name = f"{life}.{revision}"
        rows = (plain_row(name), plain_row(_COUNTER, revision))
        position = ledger.commit(change_of(*rows, entry=name.encode()))
        os.write(report.fileno(), f"{position} {name}\n".encode())


def _entries(ledger: Ledger) -> Iterator[LogEntry]:
    start = 1
    while found := ledger.read_log(start, _BATCH):
        yield from found
        start += len(found)


def _breaks_of_the_chain(log_id: str, entries: list[LogEntry]) -> Iterator[str]:
    chain = chain_start(log_id)
    for position, stored in enumerate(entries, 1):
        chain = chain_next(chain, stored.entry)
        if (stored.position, stored.hash) != (position, chain):
            yield f"the chain breaks at {position}"
            return


def _halves(ledger: Ledger, names: list[str]) -> Iterator[str]:
    """Each entry needs its new row, and the shared row has one revision for each entry."""
    for start in range(0, len(names), _BATCH):
        batch = names[start : start + _BATCH]
        for position, (name, row) in enumerate(zip(batch, ledger.read(batch), strict=True), start + 1):
            if row is None or row.created != position:
                yield f"{name} has its entry at {position}, but not its row"
    counter = one_row(ledger, _COUNTER)
    revision, position = (0, 0) if counter is None else (counter.revision, counter.position)
    if (revision, position) != (len(names), len(names)):
        yield f"the shared row is at revision {revision} of {position} where the log has {len(names)} entries"
