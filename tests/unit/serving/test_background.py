"""What goes on beside answering goes on after an error that nobody thought of."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from keyturn.errors import IntegrityError
from keyturn.serving.background import Background


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
