"""Traces of management calls, and the metrics of `/metrics`, over OTLP. Needs the extra `otel`.

The SDK's providers are this server's own: nothing is registered globally, so that no library begins to trace what it
sees of requests.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind, StatusCode, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import keyturn
from keyturn.measures import Distribution, Family, Kind, Sample
from keyturn.server.calls import Call
from keyturn.server.exchange import Scope, fields_of
from keyturn.server.observing import Tracing, method_of, route_of

CLOSE_SECONDS: Final = 5.0  # for what waits to be exported when the server ends
_DEFAULT_INTERVAL: Final = 60.0  # seconds; the specification's

_FAILURE: Final = 500
_CUMULATIVE: Final = AggregationTemporality.CUMULATIVE
_TRACE_CONTEXT: Final = TraceContextTextMapPropagator()  # W3C traceparent and tracestate


class OpenTelemetry:
    """Exports the wanted signals, each from a thread of its own, until it is closed."""

    def __init__(self, signals: frozenset[str], collect: Callable[[], Iterable[Family]]) -> None:
        own = Resource({"service.name": "keyturn", "service.version": keyturn.__version__})
        resource = own.merge(
            OTELResourceDetector().detect()
        )  # OTEL_SERVICE_NAME and the like have the last word
        self._traces = _Traces(resource) if "TRACES" in signals else None
        self._metrics = _Metrics(resource, collect) if "METRICS" in signals else None

    @property
    def tracing(self) -> Tracing | None:
        """What traces a call; None where traces are not wanted."""
        return None if self._traces is None else self._traces.span

    def close(self) -> None:
        """Export what is left, for at most CLOSE_SECONDS: whoever takes it in may have gone."""
        parts = [part for part in (self._traces, self._metrics) if part is not None]
        closing = [threading.Thread(target=part.close, daemon=True) for part in parts]
        for thread in closing:
            thread.start()
        deadline = time.monotonic() + CLOSE_SECONDS
        for thread in closing:
            thread.join(max(0.0, deadline - time.monotonic()))


class _Traces:
    """Spans of calls. What a client sent is in none of them, but for the trace that it belongs to."""

    def __init__(self, resource: Resource) -> None:
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("keyturn", keyturn.__version__)

    @contextmanager
    def span(self, scope: Scope, call: Call) -> Iterator[None]:
        carrier = {
            name: fields_of(scope, name.encode())[0].decode("latin-1")
            for name in ("traceparent", "tracestate")
            if fields_of(scope, name.encode())
        }
        method = method_of(scope)
        span = self._tracer.start_span(
            method,
            context=_TRACE_CONTEXT.extract(carrier),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method, "keyturn.request_id": call.request_id},
        )
        call.trace_id = format_trace_id(span.get_span_context().trace_id)
        try:
            yield
        finally:
            route = route_of(scope)
            span.update_name(f"{method} {route}")
            span.set_attribute("http.route", route)
            if call.status is not None:
                span.set_attribute("http.response.status_code", call.status)
            if call.tenant is not None and call.actor is not None:
                span.set_attributes({"keyturn.tenant": call.tenant, "keyturn.actor": call.actor})
            if call.status is None or call.status >= _FAILURE:
                span.set_status(StatusCode.ERROR)
            span.end()

    def close(self) -> None:
        self._provider.shutdown()


class _Metrics:
    """All families, every OTEL_METRIC_EXPORT_INTERVAL milliseconds and once at the end."""

    def __init__(self, resource: Resource, collect: Callable[[], Iterable[Family]]) -> None:
        self._resource = resource
        self._collect = collect
        self._exporter = OTLPMetricExporter()
        self._interval = _interval(os.environ)
        self._began = time.time_ns()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._export_all, name="keyturn-metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._exporter.shutdown()

    def _export_all(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._stopping.wait(self._interval)
            self._exporter.export(self._data())

    def _data(self) -> MetricsData:
        now = time.time_ns()
        metrics = [_metric(family, self._began, now) for family in self._collect()]
        scope = ScopeMetrics(InstrumentationScope("keyturn", keyturn.__version__), metrics, "")
        return MetricsData([ResourceMetrics(self._resource, [scope], "")])


def _interval(environ: Mapping[str, str]) -> float:
    """Seconds between two exports; what is no number of milliseconds is as good as absent, says the specification."""
    text = environ.get("OTEL_METRIC_EXPORT_INTERVAL", "")
    return int(text) / 1_000 if text.isdecimal() and int(text) > 0 else _DEFAULT_INTERVAL


def _metric(family: Family, began: int, now: int) -> Metric:
    data: Histogram | Gauge | Sum
    if family.kind is Kind.HISTOGRAM:
        data = Histogram([_spread(sample, began, now) for sample in family.samples], _CUMULATIVE)
    elif family.kind is Kind.GAUGE:
        data = Gauge([_number(sample, began, now) for sample in family.samples])
    else:
        data = Sum([_number(sample, began, now) for sample in family.samples], _CUMULATIVE, is_monotonic=True)
    return Metric(family.name, family.says, _unit(family.name), data)


def _unit(name: str) -> str:
    """As UCUM writes it: names end in their unit."""
    words = name.removesuffix("_total").split("_")
    return {"seconds": "s", "bytes": "By"}.get(words[-1], "1")


def _number(sample: Sample, began: int, now: int) -> NumberDataPoint:
    assert not isinstance(sample.value, Distribution)
    return NumberDataPoint(dict(sample.labels), began, now, sample.value)


def _spread(sample: Sample, began: int, now: int) -> HistogramDataPoint:
    seen = sample.value
    assert isinstance(seen, Distribution)
    return HistogramDataPoint(
        attributes=dict(sample.labels),
        start_time_unix_nano=began,
        time_unix_nano=now,
        count=seen.count,
        sum=seen.total,
        bucket_counts=seen.counts,
        explicit_bounds=seen.bounds,
        min=None,  # type: ignore[arg-type]  # optional in the protocol, and not known
        max=None,  # type: ignore[arg-type]
    )
