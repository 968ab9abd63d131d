"""What a server counts of its requests. On the way of a plain verification that is one addition."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from keyturn.domain.verdict import Code
from keyturn.measures import Family, Histogram, Histograms, Tally, counted, gauge, spread

LOOP_SECONDS: Final = 0.25  # between two looks at how late the event loop is

ENDPOINTS: Final = ("verify", "batch", "authorize")  # that answer with a verdict
WAITING: Final = ("verify", "authorize")  # those of one verdict a request

Verdicts = dict[Code, int]
"""Answers by code; only the event loop's thread counts in it."""


class Measured:
    """Counters of one server.

    Attributes:
        verdicts: answers by endpoint; of a batch one for each of its items.
        waited: seconds of verifications that memory could not answer, by endpoint.
        batches: seconds of whole batches.
        calls: management calls by method, route and status, with their `call_seconds` by method and route.
        refused: requests that were refused before any of these began, by the problem's code.
        connections: gives how many are open.
        tls: gives what is to be told of TLS, where the server speaks it.
    """

    def __init__(self) -> None:
        self.verdicts: dict[str, Verdicts] = {endpoint: dict.fromkeys(Code, 0) for endpoint in ENDPOINTS}
        self.waited = {endpoint: Histogram() for endpoint in WAITING}
        self.batches = Histogram()
        self.calls = Tally()
        self.call_seconds = Histograms()
        self.refused = Tally()
        self.late = Histogram()
        self.connections: Callable[[], int] = lambda: 0
        self.tls: Callable[[], Iterable[Family]] = tuple

    async def watch_loop(self) -> None:
        """Measure, until cancelled, how much later than it should the event loop gets to something."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LOOP_SECONDS
            await asyncio.sleep(LOOP_SECONDS)
            self.late.observe(max(0.0, loop.time() - due))

    def families(self) -> Iterator[Family]:
        """All of it."""
        yield counted(
            "keyturn_verifications_total",
            "Verifications answered, by endpoint and code.",
            ("endpoint", "code"),
            {
                (endpoint, code.value): count
                for endpoint, verdicts in self.verdicts.items()
                for code, count in verdicts.items()
            },
        )
        yield spread(
            "keyturn_verification_wait_seconds",
            "Time to the answer of verifications at /v1/verify and /v1/authorize that memory could not answer. All "
            "others take microseconds and are counted, not timed: see keyturn_event_loop_delay_seconds.",
            ("endpoint",),
            {(endpoint,): waited.read() for endpoint, waited in self.waited.items()},
        )
        yield spread(
            "keyturn_verification_batch_duration_seconds",
            "Time to the answer of whole batches at /v1/verify/batch.",
            (),
            {(): self.batches.read()},
        )
        yield spread(
            "keyturn_event_loop_delay_seconds",
            f"How late the event loop got to what was due, looked at every {LOOP_SECONDS} s.",
            (),
            {(): self.late.read()},
        )
        yield counted(
            "keyturn_http_requests_total",
            "Requests answered by method, route and status; verifications and /livez are not among them.",
            ("method", "route", "status"),
            self.calls.read(),
        )
        yield spread(
            "keyturn_http_request_duration_seconds",
            "Time to the answer of the same requests, by method and route.",
            ("method", "route"),
            self.call_seconds.read(),
        )
        yield counted(
            "keyturn_requests_refused_total",
            "Verification requests, and requests that could not be read, refused with a problem, by its code.",
            ("code",),
            self.refused.read(),
        )
        yield gauge("keyturn_connections", "Connections of clients that are open.", self.connections())
        yield from self.tls()
