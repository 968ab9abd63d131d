"""A FastAPI application that asks for keys, verified in process and by a server, against the same one without."""

from __future__ import annotations

import http.client
import random
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.http import (
    CONNECTIONS,
    SECONDS,
    Round,
    Running,
    await_port,
    can_measure,
    free_port,
    get_script,
    measured,
    running,
    served,
    show,
    warm_up,
)
from benchmarks.stores import KEK, Stores

KEYS: Final = 50_000
USED: Final = 20_000  # at random, more than a server's answers are kept of
FEW: Final = 200  # in use at a time: those that a guard asked about lately, it knows for a second
ROUNDS: Final = 7


def run(stores: Stores) -> None:
    """Measure and print."""
    if not can_measure():
        return
    store = stores.of(KEYS)
    with tempfile.TemporaryDirectory() as name, ExitStack() as resources:
        folder, tokens = Path(name), random.sample(store.tokens, USED)
        many = get_script(folder / "many.lua", "/documents", tokens)
        few = get_script(folder / "few.lua", "/documents", tokens[:FEW])
        keyturn = resources.enter_context(served(folder, store))
        warm_up(keyturn, store.caller, tokens)
        local = {"BENCH_URL": store.url, "KEY_STORE_ENCRYPTION_KEY": f"hex:{KEK.hex()}"}
        remote = {"BENCH_URL": f"http://127.0.0.1:{keyturn.port}", "BENCH_KEY": store.caller}
        alone, depending, within, asking = (
            resources.enter_context(_application(environment))
            for environment in ({}, local, {**local, "BENCH_HOW": "middleware"}, remote)
        )
        asking = replace(asking, behind=(keyturn.pid,))
        for server in (depending, within):
            _visit(server, tokens)
        runs = {
            "the application alone (the floor)": (alone, many),
            "in process, as a dependency": (depending, many),
            "in process, as an ASGI middleware": (within, many),
            "by a server, as a dependency (the time is both's)": (asking, many),
            f"the same with {FEW} keys in use": (asking, few),
        }
        rounds = [[measured(*each) for each in runs.values()] for _ in range(ROUNDS)]
    _report(list(runs), rounds)


def _report(names: list[str], rounds: list[list[Round]]) -> None:
    print(
        f"\nFastAPI on uvicorn, one worker each, wrk -c{CONNECTIONS} for {SECONDS} s, {USED:,} of {KEYS:,} keys in "
        f"random order; medians of {ROUNDS} rounds in turn"
    )
    for column, what in enumerate(names):
        show(what, [each[column] for each in rounds])
        if column:
            rates = statistics.median(each[column].rate / each[0].rate for each in rounds)
            work = statistics.median(each[0].cpu / each[column].cpu for each in rounds)
            print(
                f"    of the application alone: {rates:.2f} by requests a second, {work:.2f} by processor time"
            )


@contextmanager
def _application(environment: dict[str, str]) -> Iterator[Running]:
    """The application under uvicorn with one worker, once it answers."""
    port = free_port()
    options = ["--factory", "--no-access-log", "--log-level", "warning", "--port", str(port)]
    command = [sys.executable, "-m", "uvicorn", "benchmarks.guarded_app:made", *options]
    with running(command, environment) as pid:
        await_port(port)
        yield Running(port, pid)


def _visit(server: Running, tokens: list[str]) -> None:
    """Have every key in the application's memory."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as client:
        for token in tokens:
            client.request("GET", "/documents", headers={"Authorization": f"Bearer {token}"})
            answer = client.getresponse()
            answer.read()
            assert answer.status == 200, answer.status
