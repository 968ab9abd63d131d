"""OpenTelemetry: what a collector is sent where the environment names one, and nothing where it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

import keyturn
from tests.contract.waiting import until
from tests.http.served import UNKNOWN_ID, Served
from tests.ops.log_lines import call_of
from tests.ops.made import made_store
from tests.ops.otlp_receiver import OtlpReceiver, attributes
from tests.running_server import RunningServer

SPANS_AFTER, METRICS_AFTER = "100", "300"  # milliseconds
TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT: Final = f"00-{TRACE}-00f067aa0ba902b7-01"


@dataclass(frozen=True)
class Scene:
    """A server, and who it tells."""

    served: Served
    receiver: OtlpReceiver

    def span(self, request_id: str) -> Span:
        """The one span of a call."""
        until(lambda: self._spans(request_id))
        (span,) = self._spans(request_id)
        return span

    def _spans(self, request_id: str) -> list[Span]:
        spans = list(self.receiver.spans)
        return [span for span in spans if attributes(span.attributes)["keyturn.request_id"] == request_id]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    url, first = made_store(tmp_path_factory.mktemp("otel"))
    with (
        OtlpReceiver() as receiver,
        RunningServer(
            url, first_key=first, KEYTURN_ENV="production", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
            OTEL_BSP_SCHEDULE_DELAY=SPANS_AFTER, OTEL_METRIC_EXPORT_INTERVAL=METRICS_AFTER,
        ) as server,
    ):  # fmt: skip
        yield Scene(Served(server, url), receiver)


def named(request_id: str, **more: str) -> list[tuple[str, str]]:
    return [("X-Request-Id", request_id), *more.items()]


# -- traces -----------------------------------------------------------------------------------------------------------


def test_a_management_call_is_a_span_that_says_who_did_what(scene: Scene) -> None:
    scene.served.call("GET", f"/v1/keys/{UNKNOWN_ID}", fields=named("a-span"))
    span = scene.span("a-span")
    assert (span.name, span.kind) == ("GET /v1/keys/{key_id}", Span.SpanKind.SPAN_KIND_SERVER)
    assert attributes(span.attributes) == {
        "http.request.method": "GET",
        "http.route": "/v1/keys/{key_id}",
        "http.response.status_code": 404,
        "keyturn.request_id": "a-span",
        "keyturn.tenant": "default",
        "keyturn.actor": f"key:{scene.served.verify(scene.served.key)['key_id']}",
    }
    assert span.status.code == Status.StatusCode.STATUS_CODE_UNSET
    assert span.end_time_unix_nano > span.start_time_unix_nano


def test_a_span_belongs_to_the_caller_s_trace(scene: Scene) -> None:
    """W3C Trace Context."""
    scene.served.call(
        "GET", "/v1/keys?limit=1", fields=named("a-child", traceparent=PARENT, tracestate="a=b")
    )
    span = scene.span("a-child")
    assert span.trace_id.hex() == TRACE
    assert span.parent_span_id.hex() == PARENT.split("-")[2]
    assert span.trace_state == "a=b"
    assert call_of(scene.served, "a-child")["trace_id"] == TRACE


@pytest.mark.parametrize(
    "parent", ["", "nonsense", f"00-{'0' * 32}-00f067aa0ba902b7-01", f"ff-{TRACE}-00f067aa0ba902b7-01"]
)
def test_what_is_no_trace_begins_a_new_one(scene: Scene, parent: str) -> None:
    request_id = f"orphan-{len(parent)}-{parent[:2] or 'none'}"
    scene.served.call("GET", "/v1/keys?limit=1", fields=named(request_id, traceparent=parent))
    span = scene.span(request_id)
    assert span.parent_span_id == b""
    assert span.trace_id.hex() != TRACE
    assert call_of(scene.served, request_id)["trace_id"] == span.trace_id.hex()


def test_a_caller_that_is_not_sampled_is_not_traced(scene: Scene) -> None:
    scene.served.call("GET", "/v1/keys?limit=1", fields=named("unsampled", traceparent=f"{PARENT[:-2]}00"))
    scene.served.call("GET", "/v1/keys?limit=1", fields=named("sampled"))
    scene.span("sampled")
    assert scene._spans("unsampled") == []


def test_verifications_are_no_spans_and_nothing_that_a_client_sent_is_in_one(scene: Scene) -> None:
    served = scene.served
    token = served.issue(name="quiet-name", owner="quiet-owner")["key"]
    assert served.verify(token)["valid"]
    for path in (f"/v1/keys?q=quiet-query&owner={token}", f"/v1/keys/{token}", f"/v1/{token}"):
        served.call("GET", path, fields=[("X-Quiet", "quiet-header"), ("User-Agent", "quiet-agent")])
    served.call("GET", "/v1/keys?limit=1", fields=named("the-last-of-these"))
    scene.span("the-last-of-these")
    sent = b"".join(scene.receiver.bodies)
    for secret in (token, served.key, "quiet-", "keyturn.test"):
        assert secret.encode() not in sent
    assert not any("verify" in span.name for span in scene.receiver.spans)


def test_it_says_what_it_is(scene: Scene) -> None:
    scene.served.call("GET", "/v1/keys?limit=1", fields=named("a-resource"))
    scene.span("a-resource")
    for resource in scene.receiver.resources:
        assert resource["service.name"] == "keyturn"
        assert resource["service.version"] == keyturn.__version__


# -- metrics ----------------------------------------------------------------------------------------------------------


def test_metrics_are_those_that_prometheus_reads(scene: Scene) -> None:
    token = scene.served.issue()["key"]
    for _ in range(3):
        assert scene.served.verify(token)["valid"]
    exports = scene.receiver.exports
    seen = len(exports)
    until(lambda: len(exports) > seen + 1)
    text = scene.served.call("GET", "/metrics", key=None).body.decode()
    named_there = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert exports[-1].keys() == named_there
    verifications = exports[-1]["keyturn_verifications_total"].sum
    assert verifications.is_monotonic
    valid: dict[Any, Any] = {
        tuple(sorted(attributes(point.attributes).items())): point for point in verifications.data_points
    }
    point = valid[("code", "valid"), ("endpoint", "verify")]
    assert point.as_int >= 3
    assert point.start_time_unix_nano < point.time_unix_nano
    waited = exports[-1]["keyturn_verification_wait_seconds"]
    (spread,) = (
        each for each in waited.histogram.data_points if attributes(each.attributes) == {"endpoint": "verify"}
    )
    assert (waited.unit, sum(spread.bucket_counts)) == ("s", spread.count)
    assert len(spread.bucket_counts) == len(spread.explicit_bounds) + 1
    assert exports[-1]["keyturn_log_position"].gauge.data_points[0].as_int >= 2
    assert exports[-1]["process_resident_memory_bytes"].unit == "By"


# -- off, and on its way out ------------------------------------------------------------------------------------------


def test_what_is_left_is_exported_when_the_server_ends(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'keys.db'}"
    with (
        OtlpReceiver() as receiver,
        RunningServer(
            url, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, OTEL_SERVICE_NAME="keys of a test"
        ) as server,
    ):
        Served(server, url).issue()
        assert server.stop() == 0
        assert [span.name for span in receiver.spans] == ["POST /v1/keys"]
        assert receiver.exports[-1]["keyturn_http_requests_total"].sum.data_points[0].as_int == 1
        assert {resource["service.name"] for resource in receiver.resources} == {"keys of a test"}


def test_a_collector_that_is_not_there_keeps_nobody_waiting(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'keys.db'}"
    with RunningServer(
        url, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_BSP_SCHEDULE_DELAY=SPANS_AFTER,
        OTEL_METRIC_EXPORT_INTERVAL=METRICS_AFTER,
    ) as server:  # fmt: skip
        served = Served(server, url)
        for _ in range(50):
            served.issue()
        assert served.verify(served.key)["valid"]
        assert server.stop() == 0


def test_one_signal_can_be_had_without_the_other(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'keys.db'}"
    with (
        OtlpReceiver() as receiver,
        RunningServer(url, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{receiver.url}/v1/traces") as server,
    ):
        Served(server, url).issue()
        assert server.stop() == 0
        assert (len(receiver.spans), receiver.exports) == (1, [])


_WITHOUT: Final = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")):
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Absent())
"""


def test_without_the_extra_a_server_says_so_and_serves(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(_WITHOUT)
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    url = f"sqlite:///{tmp_path / 'keys.db'}"
    with RunningServer(url, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", PYTHONPATH=path) as server:
        assert Served(server, url).verify(server.first_key)["valid"]
        assert "pip install 'keyturn[otel]'" in server.stderr


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_SDK_DISABLED": "TRUE"}, ""),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a", "OTEL_TRACES_EXPORTER": "none"}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "not grpc"),
        ({"OTEL_SERVICE_NAME": "a"}, ""),
    ],
)  # fmt: skip
def test_nothing_is_loaded_where_nothing_is_wanted(settings: dict[str, str], said: str) -> None:
    program = (
        "import sys, keyturn.server.serving; from keyturn.server.telemetry import telemetry_from;"
        f"assert telemetry_from({settings!r}, lambda: ()) is None;"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
    assert said in done.stderr
    assert bool(said) == bool(done.stderr)


def test_the_framework_s_own_telemetry_stays_off(tmp_path: Path) -> None:
    """It would send paths and query strings, in which callers put what they should not."""
    url = f"sqlite:///{tmp_path / 'keys.db'}"
    with (
        OtlpReceiver() as receiver,
        RunningServer(
            url, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, FASTAPI_OTEL_AUTO_CONFIGURE="true",
            OTEL_BSP_SCHEDULE_DELAY="100",
        ) as server,
    ):  # fmt: skip
        Served(server, url).call("GET", "/v1/keys?q=quiet-query")
        assert server.stop() == 0
        assert len(receiver.spans) == 1
        assert b"quiet-query" not in b"".join(receiver.bodies)
