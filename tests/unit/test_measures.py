"""Counting and measuring from many threads, and what is made of it."""

from __future__ import annotations

import math
import random
import threading
from bisect import bisect_left

import pytest

from keyturn.measures import SECONDS, Histogram, Histograms, Kind, Tally, counted, counter, gauge, spread
from keyturn.server.exposition import prometheus_text
from tests.ops.scraping import parsed

THREADS, EACH = 8, 5_000


def in_threads(work: object) -> None:
    assert callable(work)
    threads = [threading.Thread(target=lambda: [work() for _ in range(EACH)]) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_no_count_is_lost_among_threads() -> None:
    tally, histogram, several = Tally(), Histogram(), Histograms()

    def count() -> None:
        tally.add("a", "b")
        histogram.observe(0.01)
        several.observe(1.0, random.choice("ab"))

    in_threads(count)
    assert tally.read() == {("a", "b"): THREADS * EACH}
    assert histogram.read().count == THREADS * EACH
    assert histogram.read().total == pytest.approx(THREADS * EACH * 0.01)
    assert sum(seen.count for seen in several.read().values()) == THREADS * EACH


@pytest.mark.parametrize("value", [0.0, 0.0005, 0.00050001, 0.3, 10.0, 10.1, math.inf])
def test_a_bound_is_of_the_values_up_to_it(value: float) -> None:
    histogram = Histogram()
    histogram.observe(value)
    at = bisect_left(SECONDS, value)
    assert [index for index, count in enumerate(histogram.read().counts) if count] == [at]
    assert at == len(SECONDS) or value <= SECONDS[at]


def test_what_is_written_is_what_was_counted() -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 2.0):
        histogram.observe(value)
    found = parsed(
        prometheus_text(
            [
                gauge("a_gauge", "Says.", 1.5, one="two"),
                counter("a_total", "Says.", 2**60),
                counted("b_total", "Says.", ("x", "y"), {("1", "2"): 3, ("1", "3"): 4}),
                spread("c_seconds", "Says.", ("x",), {("1",): histogram.read()}),
            ]
        ).decode()
    )
    assert found.types == {
        "a_gauge": "gauge",
        "a_total": "counter",
        "b_total": "counter",
        "c_seconds": "histogram",
    }
    assert found.value("a_gauge", one="two") == 1.5
    assert str(2**60) in found.text, "whole numbers stay whole"
    assert found.value("b_total", x="1", y="3") == 4
    buckets = {dict(labels)["le"]: count for labels, count in found.all("c_seconds_bucket").items()}
    assert buckets == {"0.1": 2, "1.0": 3, "+Inf": 4}
    assert found.value("c_seconds_count", x="1") == 4
    assert found.value("c_seconds_sum", x="1") == 2.65


@pytest.mark.parametrize(
    ("value", "text"), [(math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN"), (0, "0")]
)
def test_numbers_that_are_none_are_written_as_the_format_says(value: float, text: str) -> None:
    assert prometheus_text([gauge("a", "Says.", value)]).decode().endswith(f"a {text}\n")


def test_what_stands_in_a_label_or_a_sentence_cannot_end_it() -> None:
    text = prometheus_text([gauge("a", "Says \\ and\nmore.", 1, b='c"\\\nd 2\n# TYPE')]).decode()
    assert text == '# HELP a Says \\\\ and\\nmore.\n# TYPE a gauge\na{b="c\\"\\\\\\nd 2\\n# TYPE"} 1\n'


def test_kinds_are_those_of_the_format() -> None:
    assert {kind.value for kind in Kind} == {"counter", "gauge", "histogram"}
