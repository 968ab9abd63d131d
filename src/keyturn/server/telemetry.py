"""Whether traces and metrics are exported over OTLP, as the environment's OTEL_* variables say; where, is theirs too.

Nothing of OpenTelemetry is imported before that is known, and a server without the extra `otel` says so and serves.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from keyturn.measures import Family

if TYPE_CHECKING:
    from keyturn.server.otel import OpenTelemetry

SIGNALS: Final = ("TRACES", "METRICS")
PROTOCOL: Final = "http/protobuf"

_log = logging.getLogger("keyturn.telemetry")


def telemetry_from(
    environ: Mapping[str, str], collect: Callable[[], Iterable[Family]]
) -> OpenTelemetry | None:
    """What exports the signals that have an endpoint; None where none has, or the extra is not installed."""
    signals = frozenset(signal for signal in SIGNALS if _is_wanted(signal, environ))
    if not signals or environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    try:
        from keyturn.server.otel import OpenTelemetry  # noqa: PLC0415 - see above
    except ImportError as error:
        _log.warning("OTEL_* asks for export, and nothing is: %s. Run: pip install 'keyturn[otel]'", error)
        return None
    return OpenTelemetry(signals, collect)


def _is_wanted(signal: str, environ: Mapping[str, str]) -> bool:
    endpoint = environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT") or environ.get(
        "OTEL_EXPORTER_OTLP_ENDPOINT"
    )
    if not endpoint or environ.get(f"OTEL_{signal}_EXPORTER", "otlp") != "otlp":
        return False
    protocol = (
        environ.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL")
        or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or PROTOCOL
    )
    if protocol != PROTOCOL:
        _log.warning(
            "%s are not exported: this server speaks OTLP by %s, not %s", signal.lower(), PROTOCOL, protocol
        )
    return protocol == PROTOCOL
