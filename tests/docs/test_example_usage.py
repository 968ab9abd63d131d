"""The files that newcomers look for, used as they would."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


def test_the_example_runs_and_shows_the_whole_life_of_a_key(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", str(ROOT / "example_usage.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    shown = [line.split()[0] for line in done.stdout.splitlines() if not line.startswith("  ")]
    assert shown == ["issued", "verified", "narrowed", "held", "resumed", "revoked", "status", "used", "signed",
                     "altered", "a", "rotated", "undone", "over", "due"]  # fmt: skip
    events = re.findall(r"^  +\d+ (\w+)$", done.stdout, re.MULTILINE)
    assert events == [
        "key_created",
        "key_updated",
        "key_suspended",
        "key_resumed",
        "key_revoked",
        "key_destroyed",
    ]
    assert list(tmp_path.iterdir()) == [], "it leaves nothing behind"


def test_the_requirements_are_those_that_are_pinned() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    named = [line.removeprefix("-r ") for line in lines if line.startswith("-r ")]
    assert [(ROOT / name).is_file() for name in named] == [True]
