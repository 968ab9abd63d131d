"""`/v1/authorize` against nginx that returns a fixed body; and nginx that asks (`auth_request`) against nginx alone."""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.filling import PERMISSIONS
from benchmarks.http import (
    CONNECTIONS,
    ROUNDS,
    Round,
    Running,
    can_measure,
    get_script,
    measured,
    nginx_of,
    served,
    show,
    warm_up,
)
from benchmarks.stores import Stores

KEYS = 50_000
EXAMPLE = Path(__file__).parents[1] / "examples" / "gateways" / "nginx"
REQUIRE = f'scope=read; permissions="{PERMISSIONS[0]}"'


def run(stores: Stores) -> None:
    """Measure and print."""
    if not can_measure():
        return
    store = stores.of(KEYS)
    with tempfile.TemporaryDirectory() as name:
        folder, gateway = Path(name), store.caller
        path = "/v1/authorize/documents?page=2"
        fields = {"Keyturn-Gateway-Key": gateway, "Keyturn-Require": REQUIRE}
        asking = get_script(folder / "asking.lua", path, store.tokens, fields)
        visiting = get_script(folder / "visiting.lua", "/documents?page=2", store.tokens)
        with served(folder, store, KEYTURN_TRUSTED_PROXIES="127.0.0.1") as ours:
            warm_up(ours, gateway, store.tokens)
            with (
                nginx_of(_made(folder / "fixed")) as floor,
                _files(folder / "alone") as alone,
                _files(folder / "asked", ours, gateway) as asked,
            ):
                rounds = [
                    (
                        measured(floor, asking),
                        measured(ours, asking),
                        measured(alone, visiting),
                        measured(asked, visiting),
                    )
                    for _ in range(ROUNDS)
                ]
    _report(rounds)


def _report(rounds: list[tuple[Round, Round, Round, Round]]) -> None:
    print(
        f"\nGateways, one worker each, wrk -c{CONNECTIONS}, {KEYS:,} keys in random order; medians of {ROUNDS} rounds"
    )
    names = (
        "nginx, fixed body (the floor)",
        "GET /v1/authorize",
        "nginx, a file",
        "nginx, the same file behind auth_request (the time is nginx's and Keyturn's)",
    )
    for column, what in enumerate(names):
        show(what, [each[column] for each in rounds])
    rates = statistics.median(each[1].rate / each[0].rate for each in rounds)
    work = statistics.median(each[0].cpu / each[1].cpu for each in rounds)
    time = statistics.median(each[2].cpu / each[3].cpu for each in rounds)
    through = statistics.median(each[3].rate / each[2].rate for each in rounds)
    print(
        f"  /v1/authorize of nginx: {rates:.2f} by requests a second, {work:.2f} by processor time a request"
    )
    print(
        f"  nginx with auth_request of nginx alone: {through:.2f} by requests a second, "
        f"{time:.2f} by processor time a request"
    )


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@contextmanager
def _files(folder: Path, keyturn: Running | None = None, gateway: str = "") -> Iterator[Running]:
    """Nginx that serves a file, to those whose key Keyturn accepts if it is to ask, in the example's way."""
    _made(folder)
    (folder / "index.html").write_text("0123456789" * 100)
    location, more = f"root {folder}; try_files /index.html =404;", ""
    if keyturn is not None:
        shutil.copytree(EXAMPLE, folder / "keyturn")
        (folder / "keyturn" / "gateway-key.conf").write_text(
            f'proxy_set_header Keyturn-Gateway-Key "{gateway}";'
        )
        (folder / "more-ask.conf").write_text(
            f"location = /_keyturn {{ internal; proxy_set_header Keyturn-Require '{REQUIRE}';\n"
            "include keyturn/ask.conf; }"
        )
        location = f"auth_request /_keyturn; include keyturn/pass.conf; {location}"
        more = f"upstream keyturn {{ server 127.0.0.1:{keyturn.port}; keepalive 32; }}"
    with nginx_of(folder, location, more) as running:
        yield running if keyturn is None else replace(running, behind=(keyturn.pid,))
