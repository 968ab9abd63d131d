"""What is open to everybody: whether the server lives, whether it can decide, and how it is to be used."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import pytest

import keyturn
from keyturn.adapters.ledger.sqlite.location import parse_url
from tests.contract.postgres_server import PostgresServer
from tests.contract.waiting import until
from tests.http.raw import PROBLEM, request
from tests.http.served import Served, unknown_token
from tests.running_server import RunningServer, prepared_postgres

CALLS: Final = {
    "/livez": {"get"},
    "/readyz": {"get"},
    "/metrics": {"get"},
    "/v1/keys": {"get", "post"},
    "/v1/keys/batch": {"post"},
    "/v1/keys/{key_id}/secret": {"get"},
    "/v1/keys/{key_id}/usage": {"get"},
    "/v1/keys/{key_id}/versions": {"get"},
    "/v1/keys/{key_id}": {"get", "patch"},
    "/v1/keys/{key_id}/revoke": {"post"},
    "/v1/keys/{key_id}/suspend": {"post"},
    "/v1/keys/{key_id}/resume": {"post"},
    "/v1/keys/{key_id}/destroy": {"post"},
    "/v1/owners/{owner}/revoke": {"post"},
    "/v1/verify": {"post"},
    "/v1/verify/batch": {"post"},
}


# -- alive and ready --------------------------------------------------------------------------------------------------


FOR_EVERYBODY = (
    "/v1/tenants/{tenant}/jwks.json",
    "/v1/pick-ups",
)  # what they ask for is public, or a code opens it


def test_a_server_that_lives_says_so_to_everybody(served: Served) -> None:
    for key in (None, "nonsense", unknown_token(), served.key):
        answer = served.call("GET", "/livez", key=key)
        assert answer.ok() == {"status": "live"}
    assert served.call("HEAD", "/livez", key=None).status == 200


def test_a_server_that_can_decide_says_how_far_it_has_read(served: Served) -> None:
    ready = served.call("GET", "/readyz", key=None).ok()
    assert ready == {"status": "ready", "as_of": ready["as_of"]}
    log, _, position = ready["as_of"].partition(":")
    served.issue()
    later = served.call("GET", "/readyz", key=None).ok()["as_of"]
    assert later.partition(":")[0] == log
    assert int(later.partition(":")[2]) > int(position)


def test_a_store_that_somebody_else_writes_to_makes_nobody_unready(served: Served) -> None:
    with served.locked():
        assert served.call("GET", "/livez", key=None).status == 200
        assert served.call("GET", "/readyz", key=None).status == 200
        assert served.verify(served.key)["valid"]


def test_a_server_whose_log_was_altered_lives_and_decides_nothing_any_more(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'keys.db'}"
    with RunningServer(url) as server:
        served = Served(server, url)
        key = served.issue()
        assert served.verify(key["key"])["valid"]
        store = sqlite3.connect(parse_url(url))
        with store:
            store.execute(
                "INSERT INTO log (position, entry, seal, hash) SELECT max(position) + 1, entry, seal, hash FROM log"
            )
        store.close()
        until(lambda: served.call("GET", "/readyz", key=None).status != 200)
        problem = served.call("GET", "/readyz", key=None).problem(503, "integrity_failed")
        assert "log" in problem["detail"]
        assert served.call("GET", "/livez", key=None).ok() == {"status": "live"}
        # Callers' keys are decided on like others: whoever asks learns why nothing is answered.
        for fields in ((), (("Connection", "keep-alive"),)):
            answer = served.call("POST", "/v1/verify", {"key": key["key"]}, fields=fields).ok()
            assert (answer["valid"], answer["code"], answer["key_id"]) == (False, "integrity_failed", None)
        items = {"items": [{"key": key["key"]}]}
        served.call("POST", "/v1/verify/batch", items).problem(503, "integrity_failed")
        for method, path in (("GET", "/v1/keys"), ("POST", "/v1/keys"), ("GET", f"/v1/keys/{key['key_id']}")):
            served.call(method, path, {}).problem(503, "integrity_failed")


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A server of PostgreSQL that may be frozen."""
    with PostgresServer() as server:
        yield server


def test_a_server_that_is_cut_off_from_its_store_lives_and_says_stale_until_it_is_not(
    postgres: PostgresServer,
) -> None:
    database = postgres.create_database()
    first = prepared_postgres(database)
    with RunningServer(database.app_url, first_key=first) as server:
        served = Served(server, database.app_url)
        key = served.issue()
        assert served.verify(key["key"])["valid"]
        postgres.freeze()
        try:
            until(lambda: served.call("GET", "/readyz", key=None).status != 200)
            answer = served.call("GET", "/readyz", key=None)
            answer.problem(503, "stale")
            assert answer.field("retry-after") == "1"
            assert served.call("GET", "/livez", key=None).ok() == {"status": "live"}
            for fields in ((), (("Connection", "keep-alive"),)):
                answer = served.call("POST", "/v1/verify", {"key": key["key"]}, fields=fields)
                assert {name: answer.ok()[name] for name in ("valid", "code", "key_id", "owner", "permissions")} == {
                    "valid": False, "code": "stale", "key_id": None, "owner": None, "permissions": []
                }  # fmt: skip
            for method, path, body in (
                ("POST", "/v1/verify/batch", {"items": [{"key": key["key"]}]}),
                ("GET", "/v1/keys", {}),
                ("POST", "/v1/keys", {}),
                ("POST", f"/v1/keys/{key['key_id']}/revoke", {}),
            ):
                answer = served.call(method, path, body)
                answer.problem(503, "stale")
                assert answer.field("retry-after") == "1"
        finally:
            postgres.thaw()
        until(lambda: served.call("GET", "/readyz", key=None).status == 200)
        assert served.verify(key["key"])["valid"]
        assert served.show(key["key_id"])["state"] == "active"


# -- documentation ----------------------------------------------------------------------------------------------------


class References(HTMLParser):
    """Where a page takes its parts from."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("src", "href", "action", "data") and value]


@pytest.mark.parametrize("path", ["/docs", "/docs/oauth2-redirect"])
def test_the_documentation_needs_nothing_from_elsewhere(served: Served, path: str) -> None:
    page = served.call("GET", path, key=None)
    assert page.status == 200
    assert (page.field("content-type") or "").startswith("text/html")
    text = page.body.decode()
    assert "http://" not in text
    assert "https://" not in text
    assert not re.search(r"""["'(]//""", text)
    references = References()
    references.feed(text)
    assert path != "/docs" or len(references.found) >= 3
    for reference in references.found:
        assert reference.startswith("/")
        part = served.call("GET", reference, key=None)
        assert part.status == 200, reference
        kind = {".css": "text/css", ".js": "text/javascript", ".png": "image/png"}[Path(reference).suffix]
        assert (part.field("content-type") or "").partition(";")[0] == kind
        if kind == "text/css":
            for url in re.findall(rb"url\(\s*([^)]{0,40})", part.body):
                assert url.strip(b"\"'").startswith((b"data:", b"#")), url
            assert b"@import" not in part.body


def test_the_documentation_shows_what_the_server_describes(served: Served) -> None:
    assert b"url: '/openapi.json'" in served.call("GET", "/docs", key=None).body


@pytest.fixture(scope="module")
def described(served: Served) -> dict[str, Any]:
    document = served.call("GET", "/openapi.json", key=None).ok()
    assert isinstance(document, dict)
    return document


def operations(described: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def shown(described: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """An answer of an operation, or the one that it refers to."""
    shared: dict[str, dict[str, Any]] = described["components"]["responses"]
    return shared[answer["$ref"].rpartition("/")[2]] if "$ref" in answer else answer


def test_the_description_is_of_this_version(described: dict[str, Any]) -> None:
    assert described["openapi"].startswith("3.")
    assert described["info"]["title"] == "Keyturn"
    assert described["info"]["version"] == keyturn.__version__


@pytest.mark.parametrize("path", CALLS)
def test_every_call_is_described(described: dict[str, Any], path: str) -> None:
    assert CALLS[path] <= described["paths"].get(path, {}).keys()


def test_every_description_is_of_a_call_that_there_is(served: Served, described: dict[str, Any]) -> None:
    for path, method, _ in operations(described):
        address = path
        for name, value in (("key_id", "key_" + "0" * 22), ("tenant", "nobody")):
            address = address.replace(f"{{{name}}}", value)
        answer = served.call(method.upper(), address, b"{}", key=None)
        assert answer.status in (200, 401), (method, path)


def test_every_reference_in_the_description_leads_somewhere(described: dict[str, Any]) -> None:
    found = re.findall(r"'\$ref': '([^']+)'", repr(described))
    assert found
    for reference in found:
        target: Any = described
        for name in reference.removeprefix("#/").split("/"):
            target = target[name]


def test_the_description_says_how_a_caller_proves_itself(described: dict[str, Any]) -> None:
    """Without it nothing can be tried out in the documentation: there is no place for the key."""
    schemes = described["components"].get("securitySchemes", {})
    bearers = {
        name
        for name, scheme in schemes.items()
        if (scheme["type"], scheme.get("scheme")) == ("http", "bearer")
    }
    assert bearers
    for path, method, operation in operations(described):
        if path.startswith("/v1/") and path not in FOR_EVERYBODY:
            named = {name for needed in operation.get("security", []) for name in needed}
            assert named & bearers, (method, path)


def test_the_description_says_that_refusals_are_problems(described: dict[str, Any]) -> None:
    for path, method, operation in operations(described):
        refusals = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        assert bool(refusals) != (path == "/livez"), (method, path)
        for answer in refusals.values():
            assert list(shown(described, answer)["content"]) == [PROBLEM], (method, path)


def test_the_description_says_which_answers_carry_an_id(served: Served, described: dict[str, Any]) -> None:
    for path, method, operation in operations(described):
        is_plain = path in ("/v1/verify", "/v1/verify/batch", "/livez")
        is_gateways = path.startswith("/v1/authorize")
        for status, answer in operation["responses"].items():
            has_id = not is_gateways and (status >= "400" or not is_plain)
            assert ("X-Request-Id" in shown(described, answer).get("headers", {})) == has_id, (
                method,
                path,
                status,
            )
    assert "request_id" in described["components"]["schemas"]["ProblemBody"]["required"]
    metrics = described["paths"]["/metrics"]["get"]["responses"]["200"]["content"]
    assert list(metrics) == [served.call("GET", "/metrics", key=None).field("content-type")]


def test_documentation_and_description_are_read_only(served: Served) -> None:
    for path in ("/docs", "/openapi.json", "/livez", "/readyz", "/static-offline-docs/swagger-ui.css"):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            served.call(method, path, {}).problem(405, "method_not_allowed")


def test_health_is_told_on_a_connection_that_is_kept(served: Served) -> None:
    with served.connect() as client:
        for _ in range(50):
            client.send(request("GET", "/livez") + request("GET", "/readyz"))
            assert client.answer().ok() == {"status": "live"}
            assert client.answer().ok()["status"] == "ready"
