"""Families of values as Prometheus reads them: text format 0.0.4."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Final

from keyturn.measures import Distribution, Family, Sample

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_IN_HELP: Final = str.maketrans({"\\": r"\\", "\n": r"\n"})
_IN_LABEL: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def prometheus_text(families: Iterable[Family]) -> bytes:
    """The families, in their order."""
    return "".join(f"{line}\n" for family in families for line in _lines(family)).encode()


def _lines(family: Family) -> Iterator[str]:
    yield f"# HELP {family.name} {family.says.translate(_IN_HELP)}"
    yield f"# TYPE {family.name} {family.kind.value}"
    for sample in family.samples:
        if isinstance(sample.value, Distribution):
            yield from _histogram(family.name, sample, sample.value)
        else:
            yield f"{family.name}{_labels(sample.labels)} {_number(sample.value)}"


def _histogram(name: str, sample: Sample, seen: Distribution) -> Iterator[str]:
    for bound, count in zip((*seen.bounds, math.inf), accumulate(seen.counts), strict=True):
        yield f"{name}_bucket{_labels((*sample.labels, ('le', _number(bound))))} {count}"
    yield f"{name}_sum{_labels(sample.labels)} {_number(seen.total)}"
    yield f"{name}_count{_labels(sample.labels)} {seen.count}"


def _labels(labels: Iterable[tuple[str, str]]) -> str:
    pairs = ",".join(f'{name}="{value.translate(_IN_LABEL)}"' for name, value in labels)
    return f"{{{pairs}}}" if pairs else ""


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(value)
