"""`POST /v1/verify` with one worker under wrk, against nginx that returns a fixed body, in turn."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.filling import PERMISSIONS
from benchmarks.stores import KEK, Store, Stores

KEYS = 50_000
SECONDS = 2
CONNECTIONS = 64
ROUNDS = 9
BATCH = 1_000


def run(stores: Stores) -> None:
    """Measure and print."""
    if not can_measure():
        return
    store = stores.of(KEYS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = _wrk_script(folder, store)
        with nginx_of(folder) as floor, served(folder, store) as ours:
            cold = warm_up(ours, store.caller, store.tokens)
            rounds = [(measured(floor, script), measured(ours, script)) for _ in range(ROUNDS)]
    print(
        f"\nHTTP, one worker, wrk -c{CONNECTIONS}, {KEYS:,} keys in random order; medians of {ROUNDS} rounds in turn"
    )
    show("nginx, one worker, fixed body (the floor)", [pair[0] for pair in rounds])
    show("POST /v1/verify", [pair[1] for pair in rounds])
    rates = statistics.median(pair[1].rate / pair[0].rate for pair in rounds)
    work = statistics.median(pair[0].cpu / pair[1].cpu for pair in rounds)
    print(f"  POST /v1/verify/batch with {BATCH:,} cold keys each: {cold:,.0f} keys/s")
    print(f"  of nginx: {rates:.2f} by requests a second, {work:.2f} by processor time a request")


def can_measure() -> bool:
    """Whether the programs are there that are needed; says which one is not."""
    for program in ("wrk", "nginx"):
        if shutil.which(program) is None:
            print(f"\nHTTP: not measured, for {program} is not installed")
            return False
    return True


@dataclass(frozen=True, slots=True)
class Running:
    """A server: where it listens, the process that answers, and those behind it that it asks."""

    port: int
    pid: int
    behind: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Round:
    """What one run of wrk showed: requests a second, and processor seconds a request."""

    rate: float
    cpu: float


def show(what: str, rounds: list[Round]) -> None:
    """Print medians."""
    rate = statistics.median(each.rate for each in rounds)
    cpu = statistics.median(each.cpu for each in rounds)
    print(f"  {what}: {rate:,.0f} requests/s, {cpu * 1e6:.1f} µs of processor time a request")


def warm_up(server: Running, caller: str, tokens: list[str]) -> float:
    """Have every key loaded; how many a second."""
    started = time.perf_counter()
    for at in range(0, len(tokens), BATCH):
        body = json.dumps({"items": [{"key": token} for token in tokens[at : at + BATCH]]}).encode()
        fields = {"Authorization": f"Bearer {caller}", "Content-Type": "application/json"}
        url = f"http://127.0.0.1:{server.port}/v1/verify/batch"
        urllib.request.urlopen(urllib.request.Request(url, body, fields), timeout=60).read()
    return len(tokens) / (time.perf_counter() - started)


def measured(server: Running, script: Path) -> Round:
    """One run of wrk. The processor time is that of the server and of all behind it."""
    before = _cpu_seconds(server)
    requests, rate = _wrk(server.port, script)
    return Round(rate, (_cpu_seconds(server) - before) / requests)


def _cpu_seconds(server: Running) -> float:
    ticks = 0
    for pid in (server.pid, *server.behind):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _wrk_script(folder: Path, store: Store) -> Path:
    bodies = [
        json.dumps({"key": token, "scope": "read", "permissions": PERMISSIONS[0]}) for token in store.tokens
    ]
    (folder / "bodies").write_text("\n".join(bodies))
    script = folder / "verify.lua"
    script.write_text(
        f"""
        local requests, next_one = {{}}, 0
        init = function()
          wrk.method = "POST"
          wrk.headers["Authorization"] = "Bearer {store.caller}"
          for line in io.lines("{folder / "bodies"}") do
            requests[#requests + 1] = wrk.format(nil, "/v1/verify", nil, line)
          end
          math.randomseed(os.time())
        end
        request = function() return requests[math.random(#requests)] end
        """
    )
    return script


def get_script(
    script: Path, path: str, tokens: Sequence[str], fields: Mapping[str, str] | None = None
) -> Path:
    """A script for wrk that gets a path with one of the tokens at random, and with these fields."""
    listed = script.with_suffix(".tokens")
    listed.write_text("\n".join(tokens))
    lines = "".join(f"fields['{field}'] = '{value}'\n" for field, value in (fields or {}).items())
    script.write_text(
        f"""
        local requests = {{}}
        init = function()
          for line in io.lines("{listed}") do
            local fields = {{ Host = "127.0.0.1", Authorization = "Bearer " .. line }}
            {lines}
            requests[#requests + 1] = wrk.format("GET", "{path}", fields)
          end
          math.randomseed(os.time())
        end
        request = function() return requests[math.random(#requests)] end
        """
    )
    return script


def _wrk(port: int, script: Path) -> tuple[int, float]:
    """Requests answered, and how many a second."""
    options = ["-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", str(script)]
    command = ["wrk", *options, f"http://127.0.0.1:{port}"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in output:
        raise RuntimeError(f"requests were refused:\n{output}")
    requests, rate = re.search(r"(\d+) requests in", output), re.search(r"Requests/sec:\s+([0-9.]+)", output)
    assert requests is not None
    assert rate is not None
    return int(requests[1]), float(rate[1])


@contextmanager
def nginx_of(folder: Path, location: str = "", more: str = "") -> Iterator[Running]:
    """Nginx with one worker that returns a fixed body, or does at `/` what else it is told."""
    port = free_port()
    fixed = """default_type application/json; return 200 '{"valid":true,"code":"valid"}';"""
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"""
        daemon off; master_process off; pid {folder / "nginx.pid"}; error_log stderr crit;
        events {{ worker_connections 1024; }}
        http {{
          access_log off; keepalive_requests 100000000;
          client_body_temp_path {folder / "bodies.tmp"}; proxy_temp_path {folder / "proxy.tmp"};
          {more}
          server {{ listen 127.0.0.1:{port};
            location / {{ {location or fixed} }}
            location = /livez {{ return 200; }}
            include {folder}/more-*.conf; }}
        }}
        """
    )
    with running(["nginx", "-c", str(configuration), "-p", str(folder)], {}) as pid:
        await_port(port)
        yield Running(port, pid)


@contextmanager
def served(folder: Path, store: Store, **settings: str) -> Iterator[Running]:
    """Keyturn with one worker, with more settings if need be, once it answers."""
    port = free_port()
    with serving(folder, store, port, **settings) as pid:
        await_port(port)
        yield Running(port, pid)


@contextmanager
def serving(folder: Path, store: Store, port: int, **settings: str) -> Iterator[int]:
    """The same, from the moment its process starts; the process."""
    environment = {
        "KEYTURN_STORE": store.url,
        "KEY_STORE_ENCRYPTION_KEY": f"hex:{KEK.hex()}",
        "KEYTURN_PORT": str(port),
        "XDG_CONFIG_HOME": str(folder),
        **settings,
    }
    with running([str(Path(sys.executable).parent / "keyturn"), "serve"], environment) as pid:
        yield pid


@contextmanager
def running(command: list[str], environment: dict[str, str]) -> Iterator[int]:
    """Run a server; its process."""
    process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(timeout=20)


def await_port(port: int) -> None:
    """Wait until somebody answers there."""
    for _ in range(300):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=1).read()
        except urllib.error.HTTPError:
            return  # a guard that wants a key
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"nothing answers on port {port}")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
