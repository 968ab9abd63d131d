"""Rotating many keys with real processes: two at once, readers that go away, and signals in the middle."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from keyturn.cli.opening import opened
from keyturn.key_generator import SecureKeyGenerator
from tests.cli.program import PROGRAM, SECONDS, Program
from tests.contract.waiting import until

KEYS: Final = 30
LEAK: Final = ("rotate", "--owner", "acme", "--compromised")


@pytest.fixture
def leaked(program: Program, monkeypatch: pytest.MonkeyPatch) -> Program:
    """A store in which acme has keys."""
    with monkeypatch.context() as changed:
        for name, value in program.environment.items():
            changed.setenv(name, value)
        with opened("default") as work:
            generated = [SecureKeyGenerator().generate_api_key(owner="acme") for _ in range(KEYS)]
            work.node.issuer.issue_all(generated, work.by)
    time.sleep(0.01)  # keys that are issued as a run begins are none of its own
    return program


def begun(program: Program, *arguments: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    before = signal.signal(
        signal.SIGHUP, signal.SIG_DFL
    )  # or a child of what runs under nohup ignores it too
    try:
        return subprocess.Popen(
            [*PROGRAM, *arguments],
            env=program.environment,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGHUP, before)


def said_since(told: str) -> str:
    found = re.search(r"--since (\S+)", told)
    assert found is not None, told
    return found[1]


def lines(text: str) -> list[dict[str, Any]]:
    """Of those that were written whole."""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def secrets(of: list[dict[str, Any]]) -> dict[str, str]:
    return {line["key_id"]: line["key"] for line in of if line.get("key")}


def skipped(of: list[dict[str, Any]]) -> set[str]:
    return {line["key_id"] for line in of if line["skipped"]}


@contextmanager
def narrow_pipe() -> Iterator[tuple[int, int]]:
    """A pipe that takes a few lines and no more, so that whoever writes soon waits within one."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4_096)
    yield reading, writing


def is_full(reading: int) -> bool:
    """Whether nothing more comes in."""
    sizes = []
    for _ in range(2):
        sizes.append(int.from_bytes(fcntl.ioctl(reading, 0x541B, b"\0" * 4), "little"))  # FIONREAD
        time.sleep(0.3)
    return sizes[0] == sizes[1] > 0


def test_of_two_runs_at_once_each_key_is_rotated_by_one_and_every_secret_that_was_shown_is_valid(
    leaked: Program, tmp_path: Path
) -> None:
    """Both have looked at all the keys before either rotates one: the store takes no commit until then."""
    since = said_since(leaked.run("rotate", "--owner", "nobody").err)
    with closing(sqlite3.connect(tmp_path / "keys.db", isolation_level=None)) as direct:
        direct.execute("BEGIN IMMEDIATE")
        both = [begun(leaked, *LEAK, "--since", since) for _ in range(2)]
        for run in both:
            assert run.stderr is not None
            run.stderr.readline()
        time.sleep(0.5)
        direct.execute("ROLLBACK")
    ended = [run.communicate(timeout=SECONDS) for run in both]
    assert [run.returncode for run in both] == [0, 0], ended
    one, other = (lines(out) for out, _ in ended)
    assert len(one) == len(other) == KEYS
    assert skipped(one) == secrets(other).keys()
    assert skipped(other) == secrets(one).keys()
    shown = {**secrets(one), **secrets(other)}
    assert len(shown) == KEYS
    assert all(leaked.verify(token)["valid"] for token in shown.values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_interrupted_has_shown_every_secret_that_it_made(
    leaked: Program, number: signal.Signals
) -> None:
    """The signal comes while it waits between a commit and the last character of its line."""
    with narrow_pipe() as (reading, writing):
        run = begun(leaked, *LEAK, stdout=writing)
        os.close(writing)
        until(lambda: is_full(reading))
        run.send_signal(number)
        time.sleep(0.3)  # for a signal that does not wait to do its harm
        with os.fdopen(reading) as stdout:
            first = stdout.read()
    _, told = run.communicate(timeout=SECONDS)
    assert run.returncode == (130 if number is signal.SIGINT else -number)
    assert first.endswith("\n")
    done = lines(first)
    assert 0 < len(done) < KEYS
    again = leaked.run(*LEAK, "--since", said_since(told))
    assert again.status == 0
    assert skipped(lines(again.out)) == secrets(done).keys()
    shown = {**secrets(done), **secrets(lines(again.out))}
    assert len(shown) == KEYS
    assert all(leaked.verify(token)["valid"] for token in shown.values())


def test_after_a_run_that_was_killed_the_next_one_names_each_key_whose_secret_may_be_lost(
    leaked: Program,
) -> None:
    with narrow_pipe() as (reading, writing):
        run = begun(leaked, *LEAK, stdout=writing)
        os.close(writing)
        until(lambda: is_full(reading))
        run.kill()
        run.wait(SECONDS)
        with os.fdopen(reading) as stdout:
            first = lines(stdout.read())
    _, told = run.communicate(timeout=SECONDS)
    again = lines(leaked.run(*LEAK, "--since", said_since(told)).out)
    assert len(again) == KEYS, "each key is told of"
    (lost,) = skipped(again) - secrets(first).keys()
    assert "rot_" in next(line["skipped"] for line in again if line["key_id"] == lost)
    once_more = leaked.json("rotate", lost, "--compromised")
    shown = {**secrets(first), **secrets(again), lost: once_more["key"]}
    assert len(shown) == KEYS
    assert all(leaked.verify(token)["valid"] for token in shown.values())


def test_a_run_whose_reader_goes_away_stops_and_names_the_key_whose_secret_nobody_has(
    leaked: Program,
) -> None:
    with narrow_pipe() as (reading, writing):
        run = begun(leaked, *LEAK, "--json", stdout=writing)
        os.close(writing)
        until(lambda: is_full(reading))
        os.close(reading)
    _, told = run.communicate(timeout=SECONDS)
    assert run.returncode == 1
    first, *_, last = (json.loads(line) for line in told.splitlines())
    assert last["code"] == "secret_not_shown"
    (key_id,) = re.findall(r"key_\w{22}", last["detail"])
    (rotation_id,) = re.findall(r"rot_\w{22}", last["detail"])
    assert said_since(last["fix"]) == said_since(first["detail"])
    again = lines(leaked.run(*LEAK, "--since", said_since(last["fix"])).out)
    assert len(again) == KEYS
    (line,) = [each for each in again if each["key_id"] == key_id]
    assert rotation_id in line["skipped"]


def test_one_keys_new_secret_is_shown_whoever_interrupts(program: Program) -> None:
    key = program.issue()
    with narrow_pipe() as (reading, writing):
        filling = os.write(writing, b"." * 4_096)
        run = begun(program, "rotate", key["key_id"], stdout=writing)
        os.close(writing)
        until(lambda: bool(program.json("rotation", "list")["items"]))
        run.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        with os.fdopen(reading) as stdout:
            shown = stdout.read()[filling:]
    run.communicate(timeout=SECONDS)
    assert run.returncode == -signal.SIGTERM
    assert program.verify(shown.splitlines()[-1])["valid"]


def test_a_run_says_how_far_it_is_and_what_became_of_the_keys(
    leaked: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyturn.cli.rotating_many._SAID_EVERY", 10)
    done = leaked.run(*LEAK)
    assert done.status == 0
    assert [line for line in done.err.splitlines() if "keys: " in line] == [
        "10 keys: 10 rotated, 0 skipped, 0 with a problem.",
        "20 keys: 20 rotated, 0 skipped, 0 with a problem.",
        "30 keys: 30 rotated, 0 skipped, 0 with a problem.",
        "Done. 30 keys: 30 rotated, 0 skipped, 0 with a problem.",
    ]


@pytest.mark.parametrize("tenant", ["default", "elsewhere"])
def test_an_owner_who_has_no_keys_is_no_success(leaked: Program, tenant: str) -> None:
    owner = "acme" if tenant == "elsewhere" else "acne"
    done = leaked.run("rotate", "--owner", owner, "--compromised", "--tenant", tenant)
    assert (done.status, done.out) == (1, "")
    assert "0 keys" in done.err
    assert "right?" in done.err


def test_a_time_that_has_not_come_skips_no_keys(leaked: Program) -> None:
    done = leaked.run(*LEAK, "--since", "2126-01-01T00:00:00Z")
    assert (done.status, done.out) == (1, "")
    assert "since has not come yet" in done.err
