"""`/metrics`: who may read it, whether Prometheus takes it, and whether it says what happened."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Final

import pytest

import keyturn
from keyturn.domain.verdict import Code
from keyturn.server.metrics import is_local
from tests.contract.postgres_server import PostgresServer
from tests.contract.waiting import until
from tests.http.authorizing import gateway_of, put
from tests.http.raw import KEEP_ALIVE, Raw, request
from tests.http.served import UNKNOWN_ID, Served, another_source, unknown_token
from tests.ops.scraping import Metrics, promtool, read, scrape
from tests.running_server import RunningServer, prepared_postgres

VERIFIED: Final = "keyturn_verifications_total"
CALLS: Final = "keyturn_http_requests_total"


def more(served: Served, name: str, act: Callable[[], object], **labels: str) -> float:
    """By how much a value is higher after an act."""
    key = name, tuple(sorted(labels.items()))
    before = scrape(served).samples.get(key, 0.0)
    act()
    return scrape(served).samples.get(key, 0.0) - before


# -- who may read it --------------------------------------------------------------------------------------------------


def test_prometheus_on_the_same_machine_needs_no_key(served: Served) -> None:
    ((labels, value),) = scrape(served).all("keyturn_build_info").items()
    assert (dict(labels)["version"], value) == (keyturn.__version__, 1)


@pytest.mark.parametrize(
    "field", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "X-Forwarded-Proto", "X-Forwarded-Host"]
)
def test_what_a_proxy_passes_on_is_not_from_this_machine(served: Served, field: str) -> None:
    """A proxy connects from a loopback address, whoever asked it to."""
    for value in ("127.0.0.1", "192.0.2.1", ""):
        fields = [(field, value)]
        served.call("GET", "/metrics", key=None, fields=fields).problem(401, "unauthenticated")
        refused = served.call("GET", "/metrics", key=served.provision("keys.read"), fields=fields)
        assert "metrics.read" in refused.problem(403, "forbidden")["detail"]
        read(served.call("GET", "/metrics", key=served.provision("metrics.read"), fields=fields))


def test_a_key_that_is_sent_has_to_be_good(served: Served) -> None:
    """Or a key that is revoked in Prometheus' configuration would go unnoticed."""
    served.call("GET", "/metrics", key=unknown_token()).problem(401, "unauthenticated")
    served.call("GET", "/metrics", key=served.provision("keys.read")).problem(403, "forbidden")
    read(served.call("GET", "/metrics", key=served.provision("metrics.read")))


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("192.0.2.1", False), ("10.0.0.1", False),
     ("fe80::1%eth0", False), ("::ffff:192.0.2.1", False), ("", False)],
)  # fmt: skip
def test_only_a_loopback_address_is_this_machine(address: str, expected: bool) -> None:
    assert is_local({"client": (address, 1), "headers": []}) is expected
    assert is_local({"client": None, "headers": []}) is False


def test_metrics_are_read_only(served: Served) -> None:
    for method in ("POST", "PUT", "DELETE"):
        answer = served.call(method, "/metrics")
        answer.problem(405, "method_not_allowed")
        assert answer.field("allow") == "GET"


# -- whether Prometheus takes it --------------------------------------------------------------------------------------


def test_prometheus_own_checks_have_nothing_to_say(served: Served) -> None:
    served.verify(served.key)
    served.call("POST", "/v1/verify/batch", {"items": [{"key": served.key}]}).ok()
    served.call("GET", "/v1/keys").ok()
    served.call("GET", "/v1/verify").problem(405, "method_not_allowed")
    done = promtool("check", "metrics", given=scrape(served).text)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_that_tool_finds_what_is_wrong() -> None:
    """One that said nothing to everything would pass the test above for ever."""
    done = promtool(
        "check", "metrics", given="# HELP keyturn_uses Uses.\n# TYPE keyturn_uses counter\nkeyturn_uses 1\n"
    )
    assert done.returncode != 0
    assert "_total" in done.stderr


def test_every_family_says_what_it_is_and_no_label_holds_what_a_client_sent(served: Served) -> None:
    key = served.issue(owner="an owner", name="a name", tags=["a-tag"])
    served.verify(key["key"])
    served.call("GET", f"/v1/keys/{key['key_id']}").ok()
    served.call("GET", "/v1/a-path-that-there-is-not").problem(404, "not_found")
    served.call("GET", f"/v1/keys?q={key['key_id']}").ok()
    found = scrape(served)
    for secret in (
        key["key"],
        key["key_id"],
        "an owner",
        "a name",
        "a-tag",
        "a-path",
        "default",
        "127.0.0.1",
    ):
        assert secret not in found.text
    for name in found.types:
        assert name.startswith(("keyturn_", "process_"))
        assert name.endswith("_total") == (found.types[name] == "counter")


def test_histograms_are_whole(served: Served) -> None:
    served.verify(served.issue()["key"])
    found = scrape(served)
    for name in [name for name, kind in found.types.items() if kind == "histogram"]:
        for labels, count in found.all(f"{name}_count").items():
            buckets = {
                float(dict(each)["le"]): value
                for each, value in found.all(f"{name}_bucket").items()
                if tuple(pair for pair in each if pair[0] != "le") == labels
            }
            assert list(buckets) == sorted(buckets)
            assert list(buckets.values()) == sorted(buckets.values())
            assert buckets[math.inf] == count
            assert (found.samples[f"{name}_sum", labels] > 0) == (count > 0) or name.endswith("delay_seconds")


# -- whether it says what happened ------------------------------------------------------------------------------------


def test_verifications_are_counted_once_each_by_code_and_endpoint(served: Served) -> None:
    token = served.issue()["key"]
    served.verify(token)
    ways: tuple[tuple[str, Callable[[], object]], ...] = (
        ("verify", lambda: [served.verify(token) for _ in range(5)]),
        (
            "verify",
            lambda: [served.call("POST", "/v1/verify", {"key": token}, fields=KEEP_ALIVE) for _ in range(5)],
        ),
        ("batch", lambda: served.call("POST", "/v1/verify/batch", {"items": [{"key": token}] * 5})),
    )
    for endpoint, ask in ways:
        assert more(served, VERIFIED, ask, endpoint=endpoint, code="valid") == 5
    for code, asked in (
        ("malformed", {"key": "a"}),
        ("not_found", {"key": unknown_token()}),
        ("insufficient_scope", {"key": token, "scope": "admin"}),
    ):
        ask = partial(served.call, "POST", "/v1/verify", asked)
        assert more(served, VERIFIED, ask, endpoint="verify", code=code) == 1


@pytest.mark.parametrize("way", ["plain", "asgi"])
def test_what_gateways_ask_is_counted_by_code_too(served: Served, way: str) -> None:
    """What only gateways ask about would else look like a server that nobody uses, and nobody guesses at."""
    token = served.issue()["key"]
    for code, key, require in (
        ("valid", token, None),
        ("not_found", unknown_token(), None),
        ("insufficient_scope", token, "scope=admin"),
    ):
        asked = partial(put, served, way, key=key, require=require)
        assert more(served, VERIFIED, asked, endpoint="authorize", code=code) == 1
    for code, gateway, key in (
        ("unauthenticated", gateway_of(served), None),
        ("gateway_unauthenticated", unknown_token(), token),
        ("gateway_forbidden", served.provision("keys.read"), token),
    ):
        asked = partial(put, served, way, gateway, key=key, source=another_source())
        assert more(served, "keyturn_requests_refused_total", asked, code=code) == 1


def test_verifications_on_a_connection_that_is_kept_are_counted_too(served: Served) -> None:
    """Those whose head is known already take the shortest way of all."""
    question = request("POST", "/v1/verify", b'{"key": "%s"}' % served.key.encode(), key=served.key)

    def ask() -> None:
        with Raw(served.port) as client:
            for _ in range(20):
                assert client.send(question).answer().ok()["valid"]

    assert more(served, VERIFIED, ask, endpoint="verify", code="valid") == 20


@pytest.mark.parametrize("endpoint", ["verify", "batch", "authorize"])
def test_every_code_is_there_from_the_start(served: Served, endpoint: str) -> None:
    """A rate begins with the first refusal only where there was a zero before it."""
    codes = {
        dict(labels)["code"]
        for labels in scrape(served).all(VERIFIED)
        if dict(labels)["endpoint"] == endpoint
    }
    assert codes == {code.value for code in Code}


def test_a_refused_caller_is_no_verification(served: Served) -> None:
    def ask() -> None:
        served.call("POST", "/v1/verify", {"key": served.key}, key=None).problem(401, "unauthenticated")
        served.call("POST", "/v1/verify", [1]).problem(422, "invalid_request")

    before = scrape(served)
    ask()
    after = scrape(served)
    assert after.total(VERIFIED) == before.total(VERIFIED)
    for code in ("unauthenticated", "invalid_request"):
        labels = {"code": code}
        assert more(served, "keyturn_requests_refused_total", ask, **labels) == 1


def test_what_cannot_be_read_is_counted_as_refused(served: Served) -> None:
    def ask() -> None:
        with served.connect() as client:
            client.send_until_closed([b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * 40_000])
            client.last().problem(431, "head_too_large")

    assert more(served, "keyturn_requests_refused_total", ask, code="head_too_large") == 1


def test_only_what_memory_cannot_answer_is_timed(served: Served) -> None:
    token = served.issue()["key"]
    waited = "keyturn_verification_wait_seconds_count"
    assert more(served, waited, lambda: served.verify(token), endpoint="verify") == 1
    assert more(served, waited, lambda: served.verify(token), endpoint="verify") == 0
    gateway, another = gateway_of(served), served.issue()["key"]
    put(served, key=token)  # which makes the gateway known
    for key, once in ((another, 1), (another, 0)):
        ask = partial(put, served, gateway=gateway, key=key)
        assert more(served, waited, ask, endpoint="authorize") == once


def test_loads_and_hits_of_memory_are_told_apart(served: Served) -> None:
    token = served.issue()["key"]
    loads, hits = "keyturn_cache_loads_total", "keyturn_cache_hits_total"
    before = scrape(served)
    served.verify(token)  # the caller's key is in memory, the other one is not
    loaded = scrape(served)
    assert loaded.value(loads, result="found") - before.value(loads, result="found") == 1
    assert loaded.value(hits) - before.value(hits) == 1
    assert loaded.value("keyturn_cache_entries") - before.value("keyturn_cache_entries") == 1
    served.verify(token)
    again = scrape(served)
    assert again.value(loads, result="found") == loaded.value(loads, result="found")
    assert again.value(hits) - loaded.value(hits) == 2
    served.verify(unknown_token())
    absent = scrape(served)
    assert absent.value(loads, result="absent") - again.value(loads, result="absent") == 1
    assert absent.value("keyturn_failing_sources") == again.value(
        "keyturn_failing_sources"
    )  # no address was named


def test_management_calls_are_counted_and_timed_by_template_and_status(served: Served) -> None:
    def call() -> None:
        served.call("GET", f"/v1/keys/{UNKNOWN_ID}").problem(404, "not_found")
        served.call("GET", "/v1/nowhere").problem(404, "not_found")
        assert served.call("GET", "/static-offline-docs/swagger-ui.css", key=None).status == 200
        served.call("POST", "/v1/owners/a%2Fb/revoke", {}).ok()
        served.call("POST", "/v1/keys", b"{").problem(400, "malformed_json")

    for method, route, status in (
        ("GET", "/v1/keys/{key_id}", "404"),
        ("GET", "unmatched", "404"),
        ("GET", "/static-offline-docs", "200"),
        ("POST", "/v1/owners/{owner}/revoke", "200"),
        ("POST", "/v1/keys", "400"),
    ):
        assert more(served, CALLS, call, method=method, route=route, status=status) == 1
        assert (
            more(served, "keyturn_http_request_duration_seconds_count", call, method=method, route=route) == 1
        )


def test_the_log_s_position_and_the_store_s_calls_are_told(served: Served) -> None:
    before = scrape(served)
    served.issue()
    after = scrape(served)
    assert after.value("keyturn_log_position") - before.value("keyturn_log_position") == 1
    assert after.value("keyturn_log_unread_entries") == 0
    assert after.value("keyturn_log_intact") == 1
    assert (
        0
        <= after.value("keyturn_log_read_age_seconds")
        <= after.value("keyturn_log_read_age_limit_seconds")
        == 1
    )
    commits = "keyturn_ledger_call_duration_seconds_count"
    assert after.value(commits, call="commit") - before.value(commits, call="commit") == 1


def test_uses_wait_and_are_written(served: Served) -> None:
    with served.locked():
        for _ in range(3):
            served.verify(served.key)
        assert scrape(served).value("keyturn_uses_waiting") > 0
    until(lambda: scrape(served).value("keyturn_uses_waiting") == 0)
    assert scrape(served).value("keyturn_uses_dropped_total") == 0


def test_connections_that_are_open_are_told(served: Served) -> None:
    before = scrape(served).value("keyturn_connections")
    clients = [served.connect() for _ in range(5)]
    until(lambda: scrape(served).value("keyturn_connections") == before + 5)
    for client in clients:
        client.socket.close()
    until(lambda: scrape(served).value("keyturn_connections") == before)


def test_the_process_is_told_of(served: Served) -> None:
    found = scrape(served)
    assert found.value("process_resident_memory_bytes") > 10_000_000
    assert found.value("process_open_fds") >= served.open_sockets()
    assert found.value("process_cpu_seconds_total") > 0
    assert found.value("process_start_time_seconds") > 1_700_000_000
    until(lambda: scrape(served).value("keyturn_event_loop_delay_seconds_count") > 2)


def test_metrics_are_told_while_the_store_is_away_and_say_so() -> None:
    with PostgresServer() as postgres:
        database = postgres.create_database()
        first = prepared_postgres(database)
        with RunningServer(database.app_url, first_key=first) as server:
            served = Served(server, database.app_url)
            served.verify(served.key)
            assert scrape(served).value("keyturn_log_unread_entries") == 0
            postgres.freeze()
            try:
                until(lambda: _is_stale(scrape(served)))
                assert served.verify(served.key)["code"] == "stale"
                away = scrape(served)
                assert away.all("keyturn_log_unread_entries") == {}
                assert away.value(VERIFIED, endpoint="verify", code="stale") >= 1
                errors = {dict(labels)["call"] for labels in away.all("keyturn_ledger_errors_total")}
                assert "read_log" in errors
                assert promtool("check", "metrics", given=away.text).returncode == 0
            finally:
                postgres.thaw()
            until(lambda: not _is_stale(scrape(served)))


def _is_stale(metrics: Metrics) -> bool:
    return metrics.value("keyturn_log_read_age_seconds") > metrics.value("keyturn_log_read_age_limit_seconds")
