"""A real application with a guard, served as a process of its own: by uvicorn, or by gunicorn with forked workers.

with RunningApp("flask", {"url": server.url, "key": caller}) as app:
    answer = app.get("/read", key=token)
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from tests.running_server import KEK

ROOT: Final = Path(__file__).parents[2]
START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 20.0

_UVICORN: Final = ("uvicorn", "--no-access-log", "--lifespan", "auto", "--no-proxy-headers")
_GUNICORN: Final = ("gunicorn", "--worker-class", "gthread", "--threads", "16", "--graceful-timeout", "10")

# By framework: where its application is and what serves it.
APPLICATIONS: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "fastapi": (_UVICORN, "tests.integrations.applications.fastapi_app:app"),
    "asgi": (_UVICORN, "tests.integrations.applications.asgi_app:app"),
    "django asgi": (_UVICORN, "tests.integrations.applications.django_app:asgi"),
    "flask": (_GUNICORN, "tests.integrations.applications.flask_app:app"),
    "wsgi": (_GUNICORN, "tests.integrations.applications.wsgi_app:app"),
    "django wsgi": (_GUNICORN, "tests.integrations.applications.django_app:wsgi"),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What an application answered."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """The JSON of it, whatever its status."""
        return json.loads(self.body)

    def ok(self) -> Any:
        """The JSON of an answer that is a success."""
        assert self.status == 200, (self.status, self.body[:500])
        return self.json

    def problem(self, status: int, code: str) -> dict[str, Any]:
        """The problem that the answer must be, whole."""
        found = self.json
        assert (self.status, found["code"]) == (status, code), found
        assert self.headers.get_all("Content-Type") == ["application/problem+json"]
        assert found.keys() == {"type", "title", "status", "detail", "code", "fix"}
        assert (found["type"], found["status"]) == (f"urn:keyturn:problem:{code}", status)
        assert all(found.values())
        challenge = self.headers.get("WWW-Authenticate", "")
        assert challenge.startswith("Bearer") == (status == 401 or "insufficient" in code)
        return dict(found)


class RunningApp:
    """One application's server: started, called, stopped or killed at will. With `workers`, gunicorn forks so many."""

    def __init__(
        self,
        framework: str,
        guard: Mapping[str, Any],
        *,
        module: str | None = None,
        more: Iterable[str] = (),
        directory: Path = ROOT,
        waiting: bool = True,
        **settings: str,
    ) -> None:
        program, self._module = APPLICATIONS[framework]
        self._module = module or self._module
        self._program = [sys.executable, "-m", *program, *more]
        self._directory = directory
        self._waiting = waiting
        path = os.pathsep.join(filter(None, (str(directory), os.environ.get("PYTHONPATH"))))
        self._environment = {
            **os.environ, "PYTHONPATH": path, "GUARD": json.dumps(dict(guard)),
            "KEY_STORE_ENCRYPTION_KEY": f"hex:{KEK.hex()}", **settings,
        }  # fmt: skip
        self._log = Path(tempfile.mkstemp(prefix="keyturn-app-")[1])
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._log.unlink()

    @property
    def pid(self) -> int:
        """The process that was started; gunicorn's workers are its children."""
        assert self._process is not None
        return self._process.pid

    @property
    def written(self) -> str:
        """What it has written so far."""
        return self._log.read_text(errors="replace")

    def start(self) -> None:
        """Start it, and wait until it answers unless it shall not."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = listener.getsockname()[1]
        is_uvicorn = "uvicorn" in self._program
        there = ["--fd", str(listener.fileno())] if is_uvicorn else ["--bind", f"fd://{listener.fileno()}"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._program, *there, self._module], env=self._environment, cwd=self._directory,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(listener.fileno(),),
            )  # fmt: skip
        listener.close()
        if self._waiting:
            self.get("/open")

    def get(self, path: str, key: str | None = None, **more: Any) -> Answer:
        """The answer to a GET; see `ask`."""
        return self.ask("GET", path, key, **more)

    def ask(
        self,
        method: str,
        path: str,
        key: str | None = None,
        *,
        fields: Iterable[tuple[str, str]] = (),
        source: str = "127.0.0.1",
        seconds: float = START_SECONDS,
    ) -> Answer:
        """The answer to one request on a connection of its own, from an address of this machine."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=seconds, source_address=(source, 0)
        )
        try:
            connection.putrequest(method, path)
            if key is not None:
                connection.putheader("Authorization", f"Bearer {key}")
            for name, value in fields:
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def wait_until_gone(self) -> int:
        """Wait for it to end by itself; its exit status."""
        assert self._process is not None
        return self._process.wait(START_SECONDS)

    def stop(self) -> int:
        """End it in order, with SIGTERM; its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """End it with its children, which notice that their parent is gone; harmless when it has ended."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
