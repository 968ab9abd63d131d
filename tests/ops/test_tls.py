"""TLS as a client meets it: what is agreed on, what is refused, and that answers are the same as without."""

from __future__ import annotations

import json
import socket
import ssl
import warnings
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import pytest

from tests.http.raw import request
from tests.ops.certificates import Authority
from tests.ops.made import serving
from tests.ops.tls_clients import HOST, SECONDS, answer_on, connected, rest_of
from tests.running_server import RunningServer

LIVE: Final = request("GET", "/livez")


def test_a_client_that_knows_the_authority_is_served(secure: RunningServer, authority: Authority) -> None:
    with connected(secure.port, authority) as client:
        assert client.version() == "TLSv1.3"
        client.sendall(LIVE)
        assert answer_on(client) == (200, {"status": "live"})
    assert f"https://127.0.0.1:{secure.port}" in secure.stdout
    assert "http://" not in secure.stdout


def test_a_client_that_does_not_know_it_is_not(secure: RunningServer) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        connected(secure.port, Authority())


def test_plain_http_gets_no_answer(secure: RunningServer) -> None:
    with socket.create_connection((HOST, secure.port), SECONDS) as client:
        client.sendall(LIVE)
        assert b"HTTP" not in rest_of(client)


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_what_is_agreed_on_is_modern(secure: RunningServer, authority: Authority, version: str) -> None:
    context = authority.trusted()
    context.maximum_version = context.minimum_version = {
        "TLSv1.2": ssl.TLSVersion.TLSv1_2,
        "TLSv1.3": ssl.TLSVersion.TLSv1_3,
    }[version]
    context.set_alpn_protocols(["h2", "http/1.1"])
    with connected(secure.port, authority, context) as client:
        cipher = client.cipher()
        assert cipher is not None
        assert "GCM" in cipher[0] or "CHACHA20" in cipher[0]
        assert client.selected_alpn_protocol() == "http/1.1"
        assert client.compression() is None


@pytest.mark.parametrize(
    ("version", "ciphers"),
    [("TLSv1", "ALL"), ("TLSv1_1", "ALL"), ("TLSv1_2", "AES128-SHA"), ("TLSv1_2", "AES128-GCM-SHA256"),
     ("TLSv1_2", "ECDHE-ECDSA-AES128-SHA256")],
)  # fmt: skip
def test_what_is_old_is_refused(
    secure: RunningServer, authority: Authority, version: str, ciphers: str
) -> None:
    context = authority.trusted()
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connected(secure.port, authority, context)
    assert secure.call("GET", "/livez")[0] == 200


def test_every_way_to_be_answered_works(secure: RunningServer, authority: Authority) -> None:
    """The short one, ASGI and the framework, on one connection that is kept, pipelined and byte by byte."""
    key = secure.issue(owner="acme")
    question = request("POST", "/v1/verify", json.dumps({"key": key["key"]}).encode(), key=secure.first_key)
    longer = request(
        "POST", "/v1/verify", json.dumps({"key": key["key"]}).encode(), key=secure.first_key,
        fields=[("Connection", "keep-alive")],
    )  # fmt: skip
    shown = request("GET", f"/v1/keys/{key['key_id']}", key=secure.first_key)
    with connected(secure.port, authority) as client:
        client.sendall((question + longer + shown + LIVE) * 5)
        for _ in range(5):
            for _ in range(2):
                assert answer_on(client)[1]["owner"] == "acme"
            assert answer_on(client)[1]["key_id"] == key["key_id"]
            assert answer_on(client)[1] == {"status": "live"}
        for number in range(len(question)):
            client.sendall(question[number : number + 1])
        assert answer_on(client)[1]["valid"] is True
        with connected(secure.port, authority) as other:
            other.sendall(question)
            assert answer_on(other)[1]["valid"] is True


def test_a_large_answer_and_a_large_request_pass(secure: RunningServer) -> None:
    tokens = [{"key": secure.first_key}] * 1_000
    status, answer = secure.call("POST", "/v1/verify/batch", {"items": tokens}, key=secure.first_key)
    assert status == 200
    assert [item["valid"] for item in answer["items"]] == [True] * 1_000


def test_a_client_that_sends_too_much_is_told_why(secure: RunningServer, authority: Authority) -> None:
    with connected(secure.port, authority) as client:
        client.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000)
        status, problem = answer_on(client)
        assert (status, problem["code"]) == (431, "head_too_large")
        assert rest_of(client) == b""


def test_clients_that_end_are_no_error_and_keep_no_server_from_ending(
    authority: Authority, tmp_path: Path
) -> None:
    with serving(authority.issue(tmp_path), tmp_path) as server:
        for _ in range(20):
            client = connected(server.port, authority)
            client.sendall(request("GET", "/v1/keys", key=server.first_key))
            client.setblocking(False)
            with suppress(ssl.SSLError):  # nothing has come back yet, or the answer has
                client.unwrap()  # says that nothing more will come, and does not wait for the same from the server
            client.close()
        with (
            connected(server.port, authority) as idle,
            socket.create_connection((HOST, server.port)) as silent,
        ):
            assert server.call("GET", "/livez")[0] == 200
            assert server.stop() == 0
            assert rest_of(idle) == rest_of(silent) == b""
        assert "Traceback" not in server.stderr
        assert "eof_received" not in server.stderr
        assert " ERROR " not in server.stderr


def test_the_certificate_and_the_handshakes_are_told_of(secure: RunningServer, authority: Authority) -> None:
    before = _metrics(secure)
    with socket.create_connection((HOST, secure.port), SECONDS) as client:
        client.sendall(b"nonsense")
        rest_of(client)
    connected(secure.port, authority).close()
    after = _metrics(secure)
    assert _value(after, 'keyturn_tls_handshakes_total{result="failed"}') == (
        _value(before, 'keyturn_tls_handshakes_total{result="failed"}') + 1
    )
    assert _value(after, 'keyturn_tls_handshakes_total{result="done"}') >= (
        _value(before, 'keyturn_tls_handshakes_total{result="done"}') + 2
    )
    assert _value(after, "keyturn_tls_certificate_end_timestamp_seconds") > 1_700_000_000


def _metrics(server: RunningServer) -> str:
    with closing(server._connection(SECONDS)) as connection:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()


def _value(metrics: str, name: str) -> float:
    (line,) = (line for line in metrics.splitlines() if line.startswith(f"{name} "))
    return float(line.rpartition(" ")[2])
