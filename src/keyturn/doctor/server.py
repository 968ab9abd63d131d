"""A server that runs where the settings say: whether it is ready, and what it has yet to write."""

from __future__ import annotations

import http.client
import json
import re
import ssl
from typing import Any, Final

from keyturn.config import Settings
from keyturn.doctor.findings import Finding, doubtful, failed, in_order

_SECONDS: Final = 5.0
_MAX_BYTES: Final = 1 << 20
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what the settings may say
_METRIC: Final = "^{name} ([0-9.e+]+)$"
MANY_WAITING: Final = 100_000  # counts of uses: more than a second of a busy server


def server(settings: Settings) -> Finding:
    """What a server at the settings' address says of itself; it need not run."""
    host = _EVERYWHERE.get(settings.host, settings.host)
    where = f"{host}:{settings.port}"
    if settings.port == 0:
        return in_order("server", "on any free port: not looked for")
    try:
        status, body = _get(settings, host, "/readyz")
    except ConnectionRefusedError:
        return in_order("server", f"none runs at {where}")
    except (OSError, http.client.HTTPException) as error:
        return doubtful("server", f"{where} does not answer: {error}", "Look into the server's log.")
    said = _object(body)
    if status == http.HTTPStatus.OK and said.get("status") == "ready":
        return _ready(settings, host, f"{where} is ready, and has read the log to {said.get('as_of')}")
    if "code" in said:
        return failed("server", f"{where} is not ready: {said.get('detail')}", str(said.get("fix") or ""))
    return doubtful("server", f"what answers at {where} is not Keyturn", "Choose another KEYTURN_PORT.")


def _ready(settings: Settings, host: str, found: str) -> Finding:
    try:
        status, body = _get(settings, host, "/metrics")
    except (OSError, http.client.HTTPException):
        return in_order("server", found)
    if status != http.HTTPStatus.OK:
        return in_order("server", found)  # it asks for a key, which is not given away to find this out
    waiting, dropped = _value(body, "keyturn_uses_waiting"), _value(body, "keyturn_uses_dropped_total")
    found = f"{found}; {waiting:,.0f} counts of uses wait to be written"
    if dropped:
        fix = "Look into the server's log for why, and at the store's disk."
        return doubtful("server", f"{found}, and {dropped:,.0f} were dropped", fix)
    if waiting > MANY_WAITING:
        return doubtful("server", found, "Look whether the store takes writes.")
    return in_order("server", found)


def _value(body: bytes, name: str) -> float:
    found = re.search(_METRIC.format(name=name), body.decode(errors="replace"), re.MULTILINE)
    return float(found[1]) if found else 0.0


def _object(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _get(settings: Settings, host: str, path: str) -> tuple[int, bytes]:
    connection: http.client.HTTPConnection
    if settings.tls_cert is None:
        connection = http.client.HTTPConnection(host, settings.port, timeout=_SECONDS)
    else:
        # It is this machine's own server, and nothing is told to it: which name it shows makes no difference.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, settings.port, timeout=_SECONDS, context=context)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(_MAX_BYTES)
    finally:
        connection.close()
