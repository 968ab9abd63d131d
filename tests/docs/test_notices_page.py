"""docs/notices.md and its receiver do what they say, with a real server that delivers to them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

import pytest
from joserfc.jwk import ECKey, OKPKey
from standardwebhooks.webhooks import Webhook

from keyturn.config import KNOWN_SETTINGS
from keyturn.domain.change import EventType
from tests.cli.program import Program
from tests.contract.waiting import until
from tests.running_server import RunningServer

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "notices.md").read_text()
RECEIVER: Final = ROOT / "examples" / "notices" / "receiver.py"
SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="
NOTICE: Final = json.dumps(
    {"type": "key_revoked", "timestamp": "t", "data": {"subjects": ["key_1"], "details": {}}}
).encode()


@contextmanager
def running(tmp_path: Path, port: int = 0, **environ: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """The example's receiver: its port, and the process."""
    process = subprocess.Popen(
        [sys.executable, str(RECEIVER)], cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PORT": str(port), **environ},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        found = re.search("[0-9]+", process.stdout.readline())
        assert found is not None
        yield int(found[0]), process
    finally:
        process.terminate()
        process.communicate(timeout=20)


def signed(body: bytes, message_id: str = "msg_1", at: float | None = None) -> dict[str, str]:
    moment = datetime.fromtimestamp(time.time() if at is None else at, UTC)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(SECRET).sign(message_id, moment, body.decode()),
    }


def post(port: int, body: bytes, fields: dict[str, str]) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", "/", body, fields)
    status = connection.getresponse().status
    connection.close()
    return status


def test_the_pages_receiver_takes_what_is_signed_and_nothing_else() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    scope: dict[str, Any] = {}
    exec(program.replace("whsec_…", SECRET), scope)
    assert scope["receive"](NOTICE, signed(NOTICE)) == 204
    assert scope["receive"](NOTICE + b" ", signed(NOTICE)) == 401
    assert scope["receive"](NOTICE, {}) == 401


def test_the_examples_receiver_refuses_what_is_forged_or_old(tmp_path: Path) -> None:
    with running(tmp_path, WEBHOOK_SECRET=SECRET) as (port, _):
        assert post(port, NOTICE, signed(NOTICE)) == 204
        assert post(port, NOTICE.replace(b"key_1", b"key_2"), signed(NOTICE)) == 401
        assert post(port, NOTICE, signed(NOTICE) | {"webhook-id": "msg_2"}) == 401
        assert post(port, NOTICE, signed(NOTICE, at=time.time() - 3_600)) == 401
        assert post(port, NOTICE, {}) == 401


@pytest.mark.parametrize("kind", ["P-256", "X25519"])
def test_the_examples_receiver_has_a_rotated_secret_from_a_real_server(tmp_path: Path, kind: str) -> None:
    key = ECKey.generate_key("P-256") if kind == "P-256" else OKPKey.generate_key("X25519")
    for name, is_private in (("private.jwk", True), ("public.jwk", False)):
        (tmp_path / name).write_text(json.dumps(key.as_dict(private=is_private)))
    program = Program(f"sqlite:///{tmp_path / 'keys.db'}", KEYTURN_NOTICES_ALLOW="127.0.0.1")
    assert program.run("init").status == 0
    made = program.run(
        "endpoint", "create", "http://127.0.0.1:1/", "--event", "rotation_started", "--event", "key_created",
        "--receiver-key", str(tmp_path / "public.jwk"), "--owner", "acme", "--json",
    ).json  # fmt: skip
    environ = {"WEBHOOK_SECRET": made["secret"], "RECEIVER_KEY": str(tmp_path / "private.jwk")}
    with running(tmp_path, **environ) as (port, process):
        moved = program.run("endpoint", "update", made["endpoint_id"], "--url", f"http://127.0.0.1:{port}/")
        assert moved.status == 0
        assert program.run("endpoint", "test", made["endpoint_id"]).status == 0
        issued = program.issue("--owner", "acme")
        assert program.run("rotate", issued["key_id"], "--keep-secret").status == 0
        file = tmp_path / f"{issued['key_id']}.key"
        with RunningServer(program.environment["KEYTURN_STORE"], KEYTURN_NOTICES_ALLOW="127.0.0.1"):
            until(file.exists)
            until(lambda: program.run("verify", given=file.read_text()).status == 0)
        assert file.stat().st_mode & 0o077 == 0
        process.terminate()
        assert process.stdout is not None
        said = process.stdout.read()
    assert [line.split()[0] for line in said.splitlines()] == [
        "endpoint_tested",
        "key_created",
        "rotation_started",
    ]


def test_what_the_page_names_exists() -> None:
    assert set(re.findall(r"`(KEYTURN_[A-Z_]+)", PAGE)) <= KNOWN_SETTINGS
    types = {each.value for each in EventType} | {"endpoint_tested"}
    told = re.findall(r"`((?:key|rotation|secret|old_version|endpoint)_[a-z_]+)`", PAGE)
    assert set(told) <= types
    assert len(told) == 8


def test_every_type_of_entry_is_in_the_format(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "formats" / "log-entry.md").read_text()
    assert {each.value for each in EventType} <= set(re.findall(r"`([a-z_]+)`", text))
