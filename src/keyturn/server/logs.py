"""What the server writes to standard error: JSON lines in production, readable lines in development.

    with to_stderr(is_production=True):
        logging.getLogger("keyturn.calls").info("GET %s %d", "/v1/keys", 200)
    # {"time": "2026-11-26T15:20:01.204518Z", "level": "info", "logger": "keyturn.calls", "message": "GET /v1/keys 200"}

Nothing that a client sent can begin a line of its own, and what looks like a secret is not repeated. A thread writes:
a terminal or a pipe that takes nothing in keeps nobody waiting, and lines that no longer fit are counted and left out.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from queue import Full, Queue
from typing import IO, Any, Final, TextIO

from keyturn.domain.instants import rfc3339
from keyturn.server.calls import current

MAX_WAITING: Final = 10_000  # lines
LAST_SECONDS: Final = 2.0  # for what waits when the server ends
_AGAIN_SECONDS: Final = 0.05

# Tokens and encoded material are at least so long; ids, and the server's own words, are shorter.
_SECRETIVE: Final = re.compile(r"[0-9A-Za-z_-]{40,}")

_log = logging.getLogger("keyturn.server")


@contextmanager
def to_stderr(*, is_production: bool) -> Iterator[None]:
    """Log there, and nowhere else, for as long as the block runs."""
    root = logging.getLogger()
    before, level = root.handlers, root.level
    handler = LineWriter(sys.stderr)
    handler.setFormatter(JsonLines() if is_production else ReadableLines())
    hook = threading.excepthook
    threading.excepthook = _log_failure
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.handlers = before
        root.setLevel(level)
        threading.excepthook = hook
        handler.close()


def lines_dropped() -> int:
    """How many lines did not fit since the start."""
    return sum(handler.dropped for handler in logging.getLogger().handlers if isinstance(handler, LineWriter))


def _log_failure(failed: threading.ExceptHookArgs) -> None:
    if failed.exc_value is None or isinstance(failed.exc_value, SystemExit):
        return
    name = "a thread" if failed.thread is None else failed.thread.name
    _log.error("%s ended with an error", name, exc_info=failed.exc_value)


class LineWriter(logging.Handler):
    """Has a thread of its own write each line to a stream."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.dropped = 0
        # Python's own buffer has a lock, and a thread that is kept waiting for ever must not hold that to the end.
        self._stream: IO[bytes] = getattr(stream.buffer, "raw", stream.buffer)
        self._waiting: Queue[str | None] = Queue(MAX_WAITING)
        self._thread = threading.Thread(target=self._write_all, name="keyturn-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record's line. What it says is settled here, in the thread that says it."""
        try:
            line = self.format(record)
            if self._thread.is_alive():
                self._waiting.put_nowait(line)
            else:
                self._write_line(line)  # in a process that was forked from this one there is no such thread
        except Full:
            self.dropped += 1
        except Exception:  # noqa: BLE001 - as every handler: whoever logs must not fail because of it
            self.handleError(record)

    def close(self) -> None:
        """Write what waits, for at most LAST_SECONDS."""
        super().close()
        with suppress(Full):
            self._waiting.put(None, timeout=LAST_SECONDS)
        self._thread.join(LAST_SECONDS)

    def _write_all(self) -> None:
        while (line := self._waiting.get()) is not None:
            self._write_line(line)

    def _write_line(self, line: str) -> None:
        data = f"{line}\n".encode(errors="backslashreplace")
        with suppress(OSError, ValueError):  # nobody reads any more
            while data:
                count: int | None = self._stream.write(data)
                if count is None:  # a descriptor that somebody set to non-blocking
                    time.sleep(_AGAIN_SECONDS)
                data = data[count or 0 :]


class JsonLines(logging.Formatter):
    """One JSON object a line, for programs."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        members: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _discreet(record.getMessage()),
            **_request(record),
            **getattr(record, "fields", {}),
        }
        failure = _failure(self, record)
        if failure:
            members["exception"] = failure
        return json.dumps(members, default=str)


class ReadableLines(logging.Formatter):
    """One line for people; a traceback follows on lines of its own, which are set in."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        named = {**getattr(record, "fields", {}), **_request(record)}
        parts = [_time(record), record.levelname, _discreet(record.getMessage())]
        # The message of a call has its method, route and status already.
        parts += [
            f"{name}={value}"
            for name, value in named.items()
            if value is not None and name not in ("method", "route", "status")
        ]
        lines = [" ".join(parts), *(f"  {line}" for line in _failure(self, record).splitlines())]
        return "\n".join(map(_printable, lines))


def _time(record: logging.LogRecord) -> str:
    return rfc3339(datetime.fromtimestamp(record.created, UTC))


def _request(record: logging.LogRecord) -> dict[str, str]:
    """Which call the record is about: the one it names, or the one that is being answered."""
    named = getattr(record, "request_id", None)
    if named is not None:
        return {"request_id": named}
    call = current()
    if call is None:
        return {}
    return {"request_id": call.request_id} | ({"trace_id": call.trace_id} if call.trace_id else {})


def _failure(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """The traceback, without the values of variables."""
    if not record.exc_info or record.exc_info[1] is None:
        return ""
    return _discreet(formatter.formatException(record.exc_info))


def _discreet(text: str) -> str:
    return _SECRETIVE.sub("...", text)


def _printable(text: str) -> str:
    """The text with whatever a terminal might obey, or not show, written as an escape."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
