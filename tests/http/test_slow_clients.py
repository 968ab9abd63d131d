"""Time that a client can take of the server: so much and no more, and others do not notice it.

They began with the first of the tests in this folder: see `slow_clients` there.
"""

from __future__ import annotations

from typing import Final

import pytest

from tests.http.slow_clients import SlowClients

LATE: Final = 12.0  # seconds that a busy machine may add
EARLY: Final = {60: 20.0, 75: 5.0}  # a client that is deaf notices later than the server that nothing moves

REFUSED: Final = {
    10: ("half a head", "a head without end", "fields without end", "half a line", "half a head after an answer",
         "half a head after an answer by ASGI", "half a question", "a question byte by byte"),
    30: ("half a change", "a change byte by byte", "a change in chunks without end", "a question in chunks without end",
         "a batch byte by byte", "a body that was asked for and does not come"),
}  # fmt: skip
CLOSED: Final = {
    60: ("deaf", "nearly deaf"),
    75: ("nothing", "nothing after an answer", "nothing after an answer by ASGI", "empty lines without end",
         "a body that nobody asked for"),
}  # fmt: skip


@pytest.fixture
def clients(slow_clients: SlowClients | None) -> SlowClients:
    assert slow_clients is not None
    return slow_clients


@pytest.mark.parametrize(
    ("seconds", "name"), [(seconds, name) for seconds in REFUSED for name in REFUSED[seconds]]
)
def test_what_does_not_come_in_time_is_refused_with_408_and_closed(
    clients: SlowClients, seconds: int, name: str
) -> None:
    end = clients.ended(name)
    assert end.answer is not None
    problem = end.answer.problem(408, "request_timeout")
    assert f"{seconds} s" in problem["detail"]
    assert end.answer.closes
    assert end.answered is not None
    assert seconds - 0.5 <= end.answered <= seconds + LATE
    assert end.closed is not None
    assert end.closed <= seconds + LATE
    assert clients.served.verify(clients.served.key)["valid"]


@pytest.mark.parametrize(("name", "status", "seconds"), [("a slow head", 200, 6), ("a slow change", 201, 15)])
def test_what_comes_slowly_and_in_time_is_answered(
    clients: SlowClients, name: str, status: int, seconds: int
) -> None:
    end = clients.ended(name)
    assert end.answer is not None
    assert end.answer.ok(status)
    assert end.answered is not None
    assert seconds - 1 <= end.answered <= seconds + LATE


@pytest.mark.parametrize(
    ("seconds", "name"), [(seconds, name) for seconds in CLOSED for name in CLOSED[seconds]]
)
def test_who_asks_nothing_or_takes_no_answer_is_disconnected(
    clients: SlowClients, seconds: int, name: str
) -> None:
    """Not within 60 s where nothing is asked: so long common proxies keep connections, and they should close first."""
    end = clients.ended(name)
    if end.answer is not None:
        assert end.answer.ok() == {"status": "live"}
    assert end.closed is not None
    assert seconds - EARLY[seconds] <= end.closed <= seconds + LATE
    assert clients.served.verify(clients.served.key)["valid"]


def test_a_client_that_takes_no_answers_keeps_no_server_from_stopping(clients: SlowClients) -> None:
    end = clients.ended("deaf to the end")
    assert end.closed is not None
    assert end.closed < 10 + LATE


def test_none_of_them_was_an_error_to_the_server(clients: SlowClients) -> None:
    for names in (*REFUSED.values(), *CLOSED.values()):
        for name in names:
            clients.ended(name)
    assert "Traceback" not in clients.served.server.stderr
