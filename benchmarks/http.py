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
from pathlib import Path

from benchmarks.filling import PERMISSIONS, fill
from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.bootstrap import initialise
from keyturn.domain.secret import Secret

KEYS = 200_000
SENT = 20_000  # different keys in wrk's requests
SECONDS = 5
CONNECTIONS = 64
ROUNDS = 3


def run() -> None:
    """Measure and print."""
    for program in ("wrk", "nginx"):
        if shutil.which(program) is None:
            print(f"\nHTTP: not measured, for {program} is not installed")
            return
    with tempfile.TemporaryDirectory() as name:
        folder, kek = Path(name), b"k" * 32
        url = f"sqlite:///{folder / 'keys.db'}"
        first = initialise(url, LocalKeyWrapper(Secret(kek)), with_first_key=True)
        assert first is not None
        tokens = fill(folder / "keys.db", kek, KEYS)
        script = _wrk_script(folder, first.secret.reveal(), tokens[:SENT])
        with _nginx(folder) as floor_port, _server(folder, url, kek) as port:
            _await(port)
            _wrk(port, script)  # the first round loads what is cold
            pairs = [(_wrk(floor_port, script), _wrk(port, script)) for _ in range(ROUNDS)]
    floor = statistics.median(pair[0] for pair in pairs)
    ours = statistics.median(pair[1] for pair in pairs)
    print(f"\nHTTP, one worker, wrk -c{CONNECTIONS}, {SENT:,} warm keys of {KEYS:,}")
    print(f"  nginx, one worker, fixed body: {floor:,.0f} requests/s (the floor)")
    print(f"  POST /v1/verify: {ours:,.0f} requests/s, {ours / floor:.2f} of nginx")


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


def _wrk(port: int, script: Path) -> float:
    command = [
        "wrk",
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{SECONDS}s",
        "-s",
        str(script),
        f"http://127.0.0.1:{port}",
    ]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in output:
        raise RuntimeError(f"requests were refused:\n{output}")
    found = re.search(r"Requests/sec:\s+([0-9.]+)", output)
    assert found is not None
    return float(found[1])


@contextmanager
def _nginx(folder: Path) -> Iterator[int]:
    port = _free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"""
        daemon off; worker_processes 1; pid {folder / "nginx.pid"}; error_log stderr crit;
        events {{ worker_connections 1024; }}
        http {{
          access_log off; keepalive_requests 100000000; client_body_temp_path {folder / "bodies.tmp"};
          server {{ listen 127.0.0.1:{port};
            location / {{ default_type application/json; return 200 '{{"valid":true,"code":"valid"}}'; }} }}
        }}
        """
    )
    with _running(["nginx", "-c", str(configuration), "-p", str(folder)], {}):
        _await(port)
        yield port


@contextmanager
def _server(folder: Path, url: str, kek: bytes) -> Iterator[int]:
    port = _free_port()
    environment = {
        "KEYTURN_STORE": url,
        "KEY_STORE_ENCRYPTION_KEY": f"hex:{kek.hex()}",
        "KEYTURN_PORT": str(port),
        "XDG_CONFIG_HOME": str(folder),
    }
    with _running([str(Path(sys.executable).parent / "keyturn"), "serve"], environment):
        yield port


@contextmanager
def _running(command: list[str], environment: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


def _await(port: int) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=1).read()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"nothing answers on port {port}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
