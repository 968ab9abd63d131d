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
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.filling import PERMISSIONS, fill
from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.bootstrap import initialise
from keyturn.domain.secret import Secret

KEYS = 200_000
SECONDS = 3
CONNECTIONS = 64
ROUNDS = 9
BATCH = 1_000


def run() -> None:
    """Measure and print."""
    if not can_measure():
        return
    with tempfile.TemporaryDirectory() as name:
        folder, kek = Path(name), b"k" * 32
        url = f"sqlite:///{folder / 'keys.db'}"
        first = initialise(url, LocalKeyWrapper(Secret(kek)), with_first_key=True)
        assert first is not None
        tokens = fill(folder / "keys.db", kek, KEYS)
        caller = first.secret.reveal()
        script = _wrk_script(folder, caller, tokens)
        with nginx_of(folder) as floor, served(folder, url, kek) as ours:
            await_port(ours.port)
            cold = warm_up(ours, caller, tokens)
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
    """A server: where it listens, and the process that answers."""

    port: int
    pid: int


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
    """One run of wrk."""
    before = _cpu_seconds(server.pid)
    requests, rate = _wrk(server.port, script)
    return Round(rate, (_cpu_seconds(server.pid) - before) / requests)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _wrk_script(folder: Path, caller: str, tokens: list[str]) -> Path:
    bodies = [json.dumps({"key": token, "scope": "read", "permissions": PERMISSIONS[0]}) for token in tokens]
    (folder / "bodies").write_text("\n".join(bodies))
    script = folder / "verify.lua"
    script.write_text(
        f"""
        local requests, next_one = {{}}, 0
        init = function()
          wrk.method = "POST"
          wrk.headers["Authorization"] = "Bearer {caller}"
          for line in io.lines("{folder / "bodies"}") do
            requests[#requests + 1] = wrk.format(nil, "/v1/verify", nil, line)
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
def served(folder: Path, url: str, kek: bytes, **settings: str) -> Iterator[Running]:
    """Keyturn with one worker, with more settings if need be."""
    port = free_port()
    environment = {
        "KEYTURN_STORE": url,
        "KEY_STORE_ENCRYPTION_KEY": f"hex:{kek.hex()}",
        "KEYTURN_PORT": str(port),
        "XDG_CONFIG_HOME": str(folder),
        **settings,
    }
    with running([str(Path(sys.executable).parent / "keyturn"), "serve"], environment) as pid:
        yield Running(port, pid)


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
