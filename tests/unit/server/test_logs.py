"""How lines are formed and written: by whom, in which form, and without what."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final, TextIO

import pytest

from keyturn.server.calls import answering
from keyturn.server.logs import MAX_WAITING, JsonLines, LineWriter, ReadableLines, lines_dropped, to_stderr
from tests.http.served import unknown_token

TOKEN: Final = unknown_token()


def record(
    message: str, *arguments: object, error: BaseException | None = None, **extra: Any
) -> logging.LogRecord:
    failure = None if error is None else (type(error), error, error.__traceback__)
    made = logging.LogRecord("keyturn.test", logging.ERROR, "file", 1, message, arguments, failure)
    made.__dict__ |= extra
    return made


def raised(message: str) -> Exception:
    secret_variable = "value of a variable"  # noqa: F841 - what a traceback must not show
    try:
        raise RuntimeError(message)
    except RuntimeError as error:
        return error


def as_json(made: logging.LogRecord) -> dict[str, Any]:
    line = JsonLines().format(made)
    assert "\n" not in line
    return dict(json.loads(line))


def test_a_traceback_is_one_member_of_its_line_without_the_values_of_variables() -> None:
    line = as_json(record("it failed", error=raised("why it failed")))
    assert "RuntimeError: why it failed" in line["exception"]
    assert "test_logs.py" in line["exception"]
    assert "value of a variable" not in line["exception"]


def test_for_people_a_traceback_follows_its_line_and_is_set_in() -> None:
    first, *rest = (
        ReadableLines().format(record("it failed", error=raised("why\n2026-01-01 INFO forged"))).split("\n")
    )
    assert first.endswith("ERROR it failed")
    assert len(rest) > 3
    assert all(line.startswith("  ") for line in rest)
    assert "  2026-01-01 INFO forged" in rest


@pytest.mark.parametrize("form", [JsonLines(), ReadableLines()])
def test_what_looks_like_a_secret_is_not_repeated(form: logging.Formatter) -> None:
    material = "A" * 20 + "_-" + "b" * 21
    for made in (
        record("refused %s", TOKEN),
        record(f"refused {material}"),
        record("failed", error=raised(f"input_value='{TOKEN}', {material}")),
    ):
        line = form.format(made)
        assert TOKEN not in line
        assert TOKEN[10:40] not in line
        assert material not in line
        assert "..." in line


@pytest.mark.parametrize(
    "text",
    [
        "a\nb",
        "a\r\nb",
        "a\x1b[31mb",
        "a\x00b",
        "a\x85b",
        "a\u2028b",
        "a\u202eb",
        "a\x7fb",
        "a\ud800b",
        "a\tb",
    ],
)
def test_nothing_in_a_message_begins_a_line_or_moves_a_terminal(text: str) -> None:
    readable = ReadableLines().format(record("said %s", text, fields={"client": text}, request_id=text))
    assert readable.isprintable()
    line = JsonLines().format(record("said %s", text, fields={"client": text}))
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["message"] == f"said {text}"


def test_a_line_carries_the_id_of_the_call_that_is_being_answered_in_threads_too() -> None:
    scope = {"headers": [(b"x-request-id", b"the-call")]}
    with answering(scope):
        assert as_json(record("one"))["request_id"] == "the-call"
        assert as_json(record("one", request_id="another"))["request_id"] == "another"
        assert ReadableLines().format(record("one")).endswith("ERROR one request_id=the-call")
    assert "request_id" not in as_json(record("one"))


def test_a_line_that_cannot_be_formed_does_not_fail_whoever_logs(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to(io.TextIOWrapper(io.BytesIO())):
        logging.getLogger("keyturn.test").error("%d", "no number")
    assert "Logging error" in capsys.readouterr().err


@contextmanager
def logging_to(stream: TextIO) -> Iterator[LineWriter]:
    """A writer that is the only handler of the root logger."""
    writer, root = LineWriter(stream), logging.getLogger()
    before, root.handlers = root.handlers, [writer]
    try:
        with closing(writer):
            yield writer
    finally:
        root.handlers = before


def test_lines_are_written_in_their_order_and_all_of_them_at_the_end() -> None:
    written = io.BytesIO()
    with io.TextIOWrapper(written) as stream, logging_to(stream):
        for number in range(1_000):
            logging.getLogger("keyturn.test").error("%d", number)
        logging.getLogger().handlers[0].close()
        assert written.getvalue().decode().split() == [str(number) for number in range(1_000)]


def test_a_reader_that_takes_nothing_in_keeps_nobody_waiting() -> None:
    """A pipe to a program that hangs: whoever logs goes on, and what no longer fits is counted."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream, logging_to(stream) as writer:
        log, line = logging.getLogger("keyturn.test"), "a" * 30 + " "
        began = time.monotonic()
        for _ in range(MAX_WAITING + 20_000):
            log.error(line * 4)
        assert time.monotonic() - began < 30
        assert 10_000 < writer.dropped < 20_000
        assert lines_dropped() == writer.dropped
        os.set_blocking(reading, False)
        drained = threading.Thread(target=_drain, args=(reading, writer))
        drained.start()
    drained.join(30)
    os.close(reading)


def _drain(reading: int, writer: LineWriter) -> None:
    while writer._thread.is_alive():
        try:
            os.read(reading, 1_000_000)
        except BlockingIOError:
            time.sleep(0.001)


def test_a_reader_that_has_gone_fails_nobody() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream, logging_to(stream):
        logging.getLogger("keyturn.test").error("nobody hears this")


def test_a_thread_that_fails_is_told_of_in_the_same_form(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise RuntimeError("nobody foresaw this")

    with to_stderr(is_production=True):
        for name in ("keyturn-follow_log", "keyturn-record"):
            thread = threading.Thread(target=fail, name=name)
            thread.start()
            thread.join()
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["message"].partition(" ")[0] for line in lines] == ["keyturn-follow_log", "keyturn-record"]
    assert all("nobody foresaw this" in line["exception"] for line in lines)


def test_what_waits_is_written_before_the_block_ends(capfd: pytest.CaptureFixture[str]) -> None:
    with to_stderr(is_production=True):
        for number in range(5_000):
            logging.getLogger("keyturn.test").error("%d", number)
    assert not [thread for thread in threading.enumerate() if thread.name == "keyturn-log"]
    assert len(capfd.readouterr().err.splitlines()) == 5_000


def test_logging_is_as_it_was_afterwards() -> None:
    root = logging.getLogger()
    before = (list(root.handlers), root.level, threading.excepthook, sys.stderr)
    with to_stderr(is_production=False):
        assert root.handlers != before[0]
    assert (list(root.handlers), root.level, threading.excepthook, sys.stderr) == before


def test_a_process_that_was_forked_off_writes_by_itself(capfd: pytest.CaptureFixture[str]) -> None:
    with to_stderr(is_production=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of forks beside threads
            child = os.fork()
        if child == 0:
            logging.getLogger("keyturn.test").error("from the child")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    assert "from the child" in capfd.readouterr().err
