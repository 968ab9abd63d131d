"""What goes on beside answering goes on after an error that nobody thought of."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from keyturn.errors import IntegrityError
from keyturn.serving.background import Background, _about


def test_a_duty_that_failed_begins_again(caplog: pytest.LogCaptureFixture) -> None:
    calls, again = iter("12"), threading.Event()

    def catch_up() -> None:
        if next(calls) == "1":
            raise RuntimeError("a bug")
        again.set()
        stopped.wait()
        raise IntegrityError("the end of this test")

    stopped = threading.Event()
    node: Any = SimpleNamespace(
        verifier=SimpleNamespace(max_staleness=1.0),
        records=SimpleNamespace(log=SimpleNamespace(catch_up=catch_up)),
        recorder=SimpleNamespace(tick=lambda: None),
    )
    background = Background(cast(Any, node))
    background.start()
    assert again.wait(10)
    assert "keyturn-follow_log failed, and begins again" in caplog.text
    stopped.set()
    background.stop()


def test_after_a_downtime_each_run_of_rotation_does_a_bounded_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyturn.serving.background._about", lambda _: 0.001)
    limits: list[int | None] = []
    enough = threading.Event()

    def work(limit: int | None = None) -> list[Any]:
        limits.append(limit)
        if len(limits) == 3:
            enough.set()
        return []

    node: Any = SimpleNamespace(
        verifier=SimpleNamespace(max_staleness=1.0),
        rotation=SimpleNamespace(scheduler=SimpleNamespace(work=work)),
    )
    background = Background(cast(Any, node))
    background.start()
    assert enough.wait(10)
    background.stop()
    assert all(limit is not None and 0 < limit <= 1_000 for limit in limits)


def test_nodes_that_were_started_together_do_not_work_together() -> None:
    pauses = [_about(30) for _ in range(200)]
    assert 15 <= min(pauses) < 20
    assert 40 < max(pauses) <= 45
    assert len(set(pauses)) > 150
