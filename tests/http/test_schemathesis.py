"""Schemathesis reads the OpenAPI document, and calls the server with what it allows and with what it does not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.http.schemathesis_hooks import SPARED
from tests.http.served import Served

# The same requests each time, as far as they do not repeat what the server has answered.
SEED: Final = "20261126"
SECONDS: Final = 420  # on a machine that does other things as well; alone it takes a tenth of that
ROOT: Final = Path(__file__).parents[2]
CONFIG: Final = str(Path(__file__).with_name("schemathesis.toml"))
RUN: Final = (
    sys.executable,
    "-c",
    "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())",
)


def checked(served: Served, *options: str, spared: str | None = None) -> int:
    """Let it call the server; how many requests it made, once none of its checks has found anything."""
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.http.schemathesis_hooks"}
    if spared is not None:
        environment[SPARED] = spared
    done = subprocess.run(
        [
            *RUN, "--no-color", "--config-file", CONFIG, "run", f"{served.server.url}/openapi.json", "--checks", "all",
            "--exclude-checks", "positive_data_acceptance,not_a_server_error",  # the hooks have better ones
            "--seed", SEED, "--generation-database", "none", "--continue-on-failure", *options,
        ],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    generated = re.search(r"([0-9]+) generated", done.stdout)
    assert generated, done.stdout
    return int(generated[1])


@pytest.mark.timeout(SECONDS + 30)
@pytest.mark.parametrize(
    ("phases", "examples", "fewest"),
    [("examples,coverage", "10", 1_000), ("fuzzing,stateful", "20", 250)],
    ids=["every bound", "at random"],
)
def test_nothing_fails_and_the_document_says_what_is_accepted(
    served: Served, phases: str, examples: str, fewest: int
) -> None:
    caller = served.issue(type="provisioning", scope="full", permissions=["*"])
    count = checked(
        served, "--phases", phases, "--max-examples", examples, "-H", f"Authorization: Bearer {caller['key']}",
        spared=f"{caller['key_id']} {served.verify(served.key)['key_id']}",
    )  # fmt: skip
    assert count >= fewest
    assert served.verify(caller["key"])["valid"], "it called with a key that held to the end"


@pytest.mark.timeout(SECONDS + 30)
def test_without_a_key_nothing_fails_and_nobody_is_let_in(served: Served) -> None:
    before = served.call("GET", "/v1/keys?limit=1").ok()
    assert checked(served, "--phases", "examples,coverage", "--max-examples", "5") >= 300
    assert served.call("GET", "/v1/keys?limit=1").ok() == before
