"""What a server writes of what it does: one line a call, for programs or for people, and no secret in any of them."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.cli.program import PROGRAM
from tests.contract.postgres_server import PostgresServer
from tests.contract.waiting import until
from tests.http.raw import KEEP_ALIVE, Raw, ask, request
from tests.http.served import UNKNOWN_ID, Served
from tests.ops.log_lines import READABLE, call_of, calls, json_lines, new_calls
from tests.running_server import STOP_SECONDS, RunningServer, prepared_postgres, program_environment

MADE: Final = re.compile("[0-9a-f]{32}")


def named(request_id: str) -> list[tuple[str, str]]:
    return [("X-Request-Id", request_id)]


# -- one line a call --------------------------------------------------------------------------------------------------


def test_in_production_every_line_is_a_json_object_with_time_level_and_message(in_production: Served) -> None:
    in_production.issue()
    for line in json_lines(in_production):
        assert {"time", "level", "logger", "message"} <= line.keys()
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["time"])


def test_a_call_is_one_line_that_says_who_did_what_and_how_it_ended(in_production: Served) -> None:
    served = in_production
    began = time.monotonic()
    served.call("GET", f"/v1/keys/{UNKNOWN_ID}", fields=named("one-line"))
    line = call_of(served, "one-line")
    assert {name: line[name] for name in ("method", "route", "status", "tenant", "client", "level")} == {
        "method": "GET", "route": "/v1/keys/{key_id}", "status": 404, "tenant": "default", "client": "127.0.0.1",
        "level": "info",
    }  # fmt: skip
    assert line["actor"] == f"key:{served.verify(served.key)['key_id']}"
    assert 0 < line["duration_ms"] < (time.monotonic() - began) * 1_000


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/keys", None, 401),
        ("GET", "/v1/nowhere", None, 404),
        ("PUT", "/v1/keys", None, 405),
        ("POST", "/v1/keys", b"{", 400),
        ("POST", "/v1/keys", b'{"other": 1}', 422),
        ("POST", "/v1/keys", b" " * 1_100_000, 413),
        ("GET", "/v1/keys/%ff", None, 400),
        ("GET", "/docs", None, 200),
    ],
)
def test_a_call_that_is_refused_anywhere_on_the_way_is_a_line_too(
    in_production: Served, method: str, path: str, body: bytes | None, status: int
) -> None:
    request_id = f"refused-{method}-{status}-{len(body or b'')}"
    key = None if status in (200, 401) else in_production.key
    arguments = () if body is None else (body,)
    answer = in_production.call(method, path, *arguments, key=key, fields=named(request_id))
    assert answer.status == status
    assert answer.field("x-request-id") == request_id
    assert call_of(in_production, request_id)["status"] == status


def test_a_caller_that_lacks_the_right_is_named(in_production: Served) -> None:
    issued = in_production.issue(type="provisioning", scope="full", permissions=["keys.read"])
    in_production.call("POST", "/v1/keys", {}, key=issued["key"], fields=named("forbidden")).problem(
        403, "forbidden"
    )
    line = call_of(in_production, "forbidden")
    assert (line["actor"], line["tenant"]) == (f"key:{issued['key_id']}", "default")


def test_verifications_and_probes_are_no_lines(in_production: Served) -> None:
    served = in_production
    token = served.issue()["key"]

    def ask() -> None:
        for fields in ((), KEEP_ALIVE):
            served.call("POST", "/v1/verify", {"key": token}, fields=fields).ok()
            served.call("POST", "/v1/verify", {"key": token}, key=None, fields=fields).problem(
                401, "unauthenticated"
            )
        served.call("POST", "/v1/verify/batch", {"items": [{"key": token}]}).ok()
        for path in ("/livez", "/readyz", "/metrics"):
            assert served.call("GET", path, key=None).status == 200

    assert new_calls(served, ask) == []


def test_a_client_that_goes_away_is_no_line(in_production: Served) -> None:
    def leave() -> None:
        for _ in range(20):
            with in_production.connect() as client:
                client.send(
                    request("POST", "/v1/keys", key=in_production.key, fields=[("Content-Length", "100")])
                )

    assert new_calls(in_production, leave) == []


# -- request ids ------------------------------------------------------------------------------------------------------


A_TOKEN = "kt_POZtqqpdb55sxEQb3w7mxOxTQQsLhdEfBdZn6SrB6xZMd893GKA5PPtz9C72jL7rS"


@pytest.mark.parametrize(
    "request_id", ["a", "A.b_c-9", "0" * 128, "..", "6f1e3c1a-93b2-4c0e-8a53-0a8f5d1f1c11"]
)
def test_a_client_s_own_id_is_kept(in_production: Served, request_id: str) -> None:
    answer = in_production.call("GET", f"/v1/keys/{UNKNOWN_ID}", fields=named(request_id))
    assert answer.problem(404, "not_found")["request_id"] == request_id
    assert (
        in_production.call("GET", "/v1/keys?limit=1", fields=named(request_id)).field("x-request-id")
        == request_id
    )


@pytest.mark.parametrize(
    "request_id", ["", "0" * 129, "a b", "a;b", 'a"', "a\tb", "é", "a/b", "{}", "%0a", A_TOKEN, "a,b"]
)
def test_an_id_that_is_none_or_looks_like_a_key_is_replaced(in_production: Served, request_id: str) -> None:
    answer = in_production.call("GET", f"/v1/keys/{UNKNOWN_ID}", fields=named(request_id))
    assert MADE.fullmatch(answer.problem(404, "not_found")["request_id"])
    assert request_id not in {line.get("request_id") for line in json_lines(in_production)}


def test_of_two_ids_neither_is_taken(in_production: Served) -> None:
    answer = in_production.call("GET", "/v1/keys?limit=1", fields=[*named("one"), *named("two")])
    assert MADE.fullmatch(answer.field("x-request-id") or "")


def test_calls_that_name_no_id_have_one_of_their_own(in_production: Served) -> None:
    with in_production.connect() as client:
        client.send(request("GET", "/v1/keys?limit=1", key=in_production.key) * 20)
        ids = [client.answer().field("x-request-id") for _ in range(20)]
    assert len(set(ids)) == 20
    for request_id in ids:
        assert request_id is not None
        assert call_of(in_production, request_id)["status"] == 200


def test_ids_of_requests_that_wait_for_their_turn_are_not_mixed_up(in_production: Served) -> None:
    """The next one is begun while the one before it is being answered."""
    paths = [f"/v1/keys/{UNKNOWN_ID}", "/v1/verify/batch", "/v1/keys?limit=1", "/v1/verify"] * 5
    with in_production.connect() as client:
        client.send(b"".join(
            request("GET", path, key=in_production.key, fields=named(f"turn-{number}"))
            for number, path in enumerate(paths)
        ))  # fmt: skip
        for number, path in enumerate(paths):
            answer = client.answer()
            assert answer.field("x-request-id") == f"turn-{number}", path
            assert answer.status == 200 or answer.any_problem()["request_id"] == f"turn-{number}"


def test_a_plain_answer_has_none(in_production: Served) -> None:
    """Every byte of it is counted."""
    answer = in_production.call("POST", "/v1/verify", {"key": in_production.key}, fields=named("plain"))
    assert answer.field("x-request-id") is None


# -- what may not stand in a line -------------------------------------------------------------------------------------


def test_no_line_holds_a_secret_a_query_or_a_header(in_production: Served) -> None:
    served = in_production
    token = served.issue(name="quiet-name", owner="quiet-owner")["key"]
    fields = [("X-Quiet", "quiet-header"), ("User-Agent", "quiet-agent"), ("Cookie", "quiet-cookie")]
    for path in (
        f"/v1/keys?q=quiet-query&owner={token}",
        f"/v1/keys/{token}",
        f"/v1/{token}",
        f"/v1/keys?{token}=1",
    ):
        served.call("GET", path, fields=fields)
    served.call("POST", "/v1/keys", {"name": token, token: 1}, fields=fields)
    served.call("GET", "/v1/keys", key=token, fields=fields)
    new_calls(served, lambda: None)
    written = served.server.stderr
    assert token not in written
    assert token[10:50] not in written
    assert served.key not in written
    assert "quiet-" not in written


def test_nothing_that_a_client_sends_makes_a_line(in_production: Served, in_development: Served) -> None:
    forged = '2026-01-01T00:00:00.000000Z INFO forged\\n{"level":"forged"}'
    for served in (in_production, in_development):
        before = len(served.server.stderr.splitlines())
        for path in (
            f"/v1/keys/a%0a{forged.replace(' ', '%20')}",
            "/v1/%0d%0aforged",
            "/v1/keys?q=%0aforged",
        ):
            served.call("GET", path)
        served.call(
            "POST", "/v1/keys", {"name": f"a\n{forged}", "owner": "a\r\x1b[31mforged\x85\u2028forged"}
        )
        served.call(
            "PATCH", "/v1/keys/a%0Aforged", {"name": "\nforged"}, fields=[("X-Forwarded-For", "\tforged")]
        )
        until(lambda served=served, before=before: len(served.server.stderr.splitlines()) == before + 5)  # type: ignore[misc]
        assert "forged" not in served.server.stderr
        assert served.server.stderr.isprintable() or not any(
            not (character.isprintable() or character == "\n") for character in served.server.stderr
        )


# -- for people -------------------------------------------------------------------------------------------------------


def test_in_development_lines_are_for_people(in_development: Served) -> None:
    in_development.call("GET", f"/v1/keys/{UNKNOWN_ID}", fields=named("for-people"))
    until(lambda: "for-people" in in_development.server.stderr)
    for line in in_development.server.stderr.splitlines():
        assert READABLE.fullmatch(line), line
    (line,) = (line for line in in_development.server.stderr.splitlines() if "for-people" in line)
    assert " INFO GET /v1/keys/{key_id} 404 " in line
    assert " tenant=default actor=key:key_" in line
    assert re.search(r" duration_ms=[0-9.]+ ", line)


# -- what is not about a call -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def frozen() -> Iterator[Served]:
    """A server whose store went away for a while, and came back."""
    with PostgresServer() as postgres:
        database = postgres.create_database()
        with RunningServer(database.app_url, first_key=prepared_postgres(database)) as server:
            served = Served(server, database.app_url)
            served.verify(served.key)
            postgres.freeze()
            try:
                until(lambda: served.call("GET", "/readyz", key=None, fields=named("unready")).status == 503)
                served.call("GET", "/v1/keys", fields=named("stale")).problem(503, "stale")
            finally:
                postgres.thaw()
            until(lambda: served.call("GET", "/readyz", key=None).status == 200)
            until(lambda: "the store answers again" in server.stderr)
            yield served


def test_warnings_of_the_background_have_the_same_form(frozen: Served) -> None:
    warnings = [line for line in json_lines(frozen) if line["level"] == "warning"]
    said = {line["message"] for line in warnings if line["logger"] == "keyturn.background"}
    assert "the store answers again" in said
    assert any(message.startswith("the log cannot be read") for message in said)
    for line in warnings:
        assert ("request_id" in line) == (line["logger"] == "keyturn.calls"), line


def test_a_call_that_the_server_could_not_answer_is_a_warning(frozen: Served) -> None:
    assert (call_of(frozen, "stale")["level"], call_of(frozen, "stale")["status"]) == ("warning", 503)


def test_a_probe_that_fails_is_a_line(frozen: Served) -> None:
    assert [line for line in calls(frozen) if line["route"] == "/readyz"]
    assert all(line["status"] == 503 for line in calls(frozen) if line["route"] == "/readyz")


def test_what_is_written_last_is_not_lost(tmp_path_factory: pytest.TempPathFactory) -> None:
    url = f"sqlite:///{tmp_path_factory.mktemp('last') / 'keys.db'}"
    with RunningServer(url) as server:
        Served(server, url).call("GET", "/v1/nowhere", fields=named("the-last"))
        assert server.stop() == 0
        assert "the-last" in server.stderr
        assert "Finished server process" in server.stderr.splitlines()[-1]


def test_a_server_whose_lines_nobody_reads_answers_and_ends_all_the_same(tmp_path: Path) -> None:
    environment = program_environment(f"sqlite:///{tmp_path / 'keys.db'}")
    with subprocess.Popen(
        [*PROGRAM, "serve"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:  # fmt: skip
        assert process.stdout is not None
        address = next(line for line in process.stdout if line.startswith("API:")).split()[1]
        port = int(address.rpartition(":")[2])
        until(lambda: ask(port, request("GET", "/livez")).status == 200)
        with Raw(port) as client:
            for _ in range(1_000):  # each leaves some 200 bytes, and a pipe holds 65,536
                assert client.send(request("GET", "/v1/keys")).answer().status == 401
        process.terminate()
        assert process.wait(STOP_SECONDS) == 0


def test_json_is_not_for_people_nor_the_other_way_round(
    in_production: Served, in_development: Served
) -> None:
    with pytest.raises(json.JSONDecodeError):
        json_lines(in_development)
    assert not any(READABLE.fullmatch(line) for line in in_production.server.stderr.splitlines())
