"""`/metrics` as Prometheus reads it, strictly, and as its own program judges it.

metrics = scrape(served)
assert metrics.value("keyturn_verifications_total", endpoint="verify", code="valid") == 1
assert promtool("check", "metrics", given=metrics.text).returncode == 0
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import Final

from tests.http.raw import Answer
from tests.http.served import Served

TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_HELP: Final = re.compile(r"# HELP ([a-z_]+) (\S.*)")
_TYPE: Final = re.compile(r"# TYPE ([a-z_]+) (counter|gauge|histogram)")
_SAMPLE: Final = re.compile(r"([a-z_]+)(?:\{([^}]*(?:\{[^}]*\}[^}]*)*)\})? (\S+)")
_LABEL: Final = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Metrics:
    """What was scraped. Each sample stands below the HELP and TYPE of its family, and nothing is there twice."""

    text: str
    types: dict[str, str]
    samples: dict[tuple[str, Labels], float]

    def value(self, name: str, **labels: str) -> float:
        """One sample; the labels are all that it has."""
        return self.samples[name, tuple(sorted(labels.items()))]

    def all(self, name: str) -> dict[Labels, float]:
        """The samples of one name."""
        return {labels: value for (found, labels), value in self.samples.items() if found == name}

    def total(self, name: str) -> float:
        """The sum of the samples of one name."""
        return sum(self.all(name).values())


def parsed(text: str) -> Metrics:
    """The metrics of an exposition; AssertionError where a line is none."""
    types: dict[str, str] = {}
    samples: dict[tuple[str, Labels], float] = {}
    assert text.endswith("\n")
    lines = iter(text.splitlines())
    family = ""
    for line in lines:
        if line.startswith("# HELP"):
            head, kind = _HELP.fullmatch(line), _TYPE.fullmatch(next(lines))
            assert head is not None, line
            assert kind is not None, line
            assert head[1] == kind[1] not in types
            family, types[kind[1]] = kind[1], kind[2]
            continue
        sample = _SAMPLE.fullmatch(line)
        assert sample is not None, line
        suffixes = ("_bucket", "_sum", "_count") if types[family] == "histogram" else ("",)
        assert sample[1] in {family + suffix for suffix in suffixes}, line
        key = sample[1], tuple(sorted(_LABEL.findall(sample[2] or "")))
        assert key not in samples, line
        samples[key] = float(sample[3])
    return Metrics(text, types, samples)


def scrape(served: Served) -> Metrics:
    """What the server tells somebody on its own machine."""
    return read(served.call("GET", "/metrics", key=None))


def read(answer: Answer) -> Metrics:
    """The metrics that an answer must be."""
    assert answer.status == 200, answer
    assert answer.field("content-type") == TYPE
    return parsed(answer.body.decode())


def promtool(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run Prometheus' own tool; on Debian it comes with the package `prometheus`."""
    program = shutil.which("promtool")
    assert program is not None, "promtool is not installed: make test-programs"
    return subprocess.run(
        [program, *arguments], input=given, capture_output=True, text=True, check=False, timeout=60
    )
