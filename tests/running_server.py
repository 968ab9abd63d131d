"""A real `keyturn serve`, as a process of its own on a free port.

    with RunningServer(f"sqlite:///{tmp_path / 'keys.db'}") as server:
        status, body = server.call("POST", "/v1/verify", {"key": server.first_key}, key=server.first_key)

On SQLite the first start makes the store and `first_key` is the provisioning key that it printed. On PostgreSQL the
store is made beforehand: `prepared_postgres(database)`.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final, Self

from keyturn.adapters.kms.local import LocalKeyWrapper
from keyturn.bootstrap import initialise
from keyturn.domain.secret import Secret
from tests.contract.postgres_server import APP_ROLE, PostgresDatabase

KEK: Final = bytes(range(32))
START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 20.0

_PROGRAM: Final = (sys.executable, "-c", "import sys; from keyturn.cli import main; sys.exit(main())")
_ADDRESS: Final = re.compile(r"https?://127\.0\.0\.1:([0-9]+)")
_TOKEN: Final = re.compile(r"\bkt_[0-9A-Za-z_]+")


def program_environment(store_url: str, kek: bytes | None = KEK, **settings: str) -> dict[str, str]:
    """The environment in which `keyturn` works on a store; without a KEK, that of development's key file."""
    return {
        **os.environ,
        "KEYTURN_STORE": store_url,
        "KEYTURN_ENV": "development" if store_url.startswith("sqlite:") else "production",
        "KEYTURN_PORT": "0",
        **({} if kek is None else {"KEY_STORE_ENCRYPTION_KEY": f"hex:{kek.hex()}"}),
        **settings,
    }


def run_program(
    environment: dict[str, str], *arguments: str, given: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run `keyturn` with arguments and standard input to its end."""
    return subprocess.run(
        [*_PROGRAM, *arguments], env=environment, input=given, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip


def prepared_postgres(database: PostgresDatabase, kek: bytes = KEK) -> str:
    """Make the store as the database's owner; the first provisioning key."""
    wrapper = LocalKeyWrapper(Secret(kek))
    first = initialise(database.owner_url, wrapper, with_first_key=True, grant_to=APP_ROLE)
    assert first is not None
    return first.secret.reveal()


class RunningServer:
    """One server process: started, called, frozen, stopped or killed at will."""

    def __init__(
        self,
        store_url: str,
        started_by: tuple[str, ...] = (),
        /,
        *,
        kek: bytes | None = KEK,
        first_key: str | None = None,
        **settings: str,
    ) -> None:
        self._started_by = started_by
        self._environment = program_environment(store_url, kek, **settings)
        self._certificate = settings.get("KEYTURN_TLS_CERT")
        self._first_key = first_key
        self._output = Path(tempfile.mkdtemp(prefix="keyturn-server-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        for file in self._output.iterdir():
            file.unlink()
        self._output.rmdir()

    @property
    def pid(self) -> int:
        """The process that answers."""
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        """Where it answers, without a slash at the end."""
        return f"{'http' if self._certificate is None else 'https'}://127.0.0.1:{self.port}"

    @property
    def first_key(self) -> str:
        """The first provisioning key of the store."""
        assert self._first_key is not None, f"no key was printed:\n{self.stdout}"
        return self._first_key

    @property
    def stdout(self) -> str:
        """What it has written to standard output so far."""
        return (self._output / "stdout").read_text()

    @property
    def stderr(self) -> str:
        """What it has written to standard error so far."""
        return (self._output / "stderr").read_text()

    def start(self) -> None:
        """Start and wait until it answers."""
        with (self._output / "stdout").open("wb") as out, (self._output / "stderr").open("ab") as err:
            self._process = subprocess.Popen(
                [*self._started_by, *_PROGRAM, "serve"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"the server did not start:\n{self.stdout}\n{self.stderr}")
            time.sleep(0.02)
        printed = _TOKEN.search(self.stdout)
        if printed:
            self._first_key = printed[0]

    def _answers(self) -> bool:
        found = _ADDRESS.search(self.stdout)
        if found is None:
            return False
        self.port = int(found[1])
        try:
            return self.call("GET", "/livez")[0] == 200
        except OSError:
            return False

    def call(
        self, method: str, path: str, body: object = None, *, key: str | None = None, seconds: float = 30.0
    ) -> tuple[int, Any]:
        """One request on a connection of its own: the status and the JSON of the answer. OSError when none comes."""
        connection = self._connection(seconds)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        except http.client.HTTPException as error:
            raise OSError(f"no answer: {error!r}") from error
        finally:
            connection.close()

    def _connection(self, seconds: float) -> http.client.HTTPConnection:
        """One over TLS where the server has a certificate, which is then its own authority."""
        if self._certificate is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        context = ssl.create_default_context(cafile=self._certificate)
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=seconds, context=context)

    def verify(self, token: str, **asked: object) -> dict[str, Any]:
        """What `POST /v1/verify` answers for a token, asked for with the first key."""
        status, answer = self.call("POST", "/v1/verify", {"key": token, **asked}, key=self.first_key)
        assert status == 200, answer
        assert isinstance(answer, dict)
        return answer

    def issue(self, **wanted: object) -> dict[str, Any]:
        """A new key, asked for with the first key."""
        status, answer = self.call("POST", "/v1/keys", wanted, key=self.first_key)
        assert status == 201, answer
        assert isinstance(answer, dict)
        return answer

    def freeze(self) -> None:
        """Stop the process with SIGSTOP: its sockets stay open and nobody answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> int:
        """End it in order, with SIGTERM; its exit status."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """End it with SIGKILL; harmless when it has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
