"""Endpoints of notices over HTTP, and a real server that delivers to a real receiver."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from tests.contract.waiting import until
from tests.http.served import Served
from tests.http.test_etags import tag_of
from tests.notices.receiver import receiving
from tests.running_server import RunningServer

SECONDS = 30.0
NEW = {"url": "https://hooks.example.org/keyturn", "events": ["key_revoked", "key_created"]}


def test_the_secret_is_in_the_answer_that_makes_it_and_nowhere_later(served: Served) -> None:
    made = served.call("POST", "/v1/webhooks", NEW).ok(201)
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    path = f"/v1/webhooks/{made['endpoint_id']}"
    assert served.call("GET", path).ok() == made
    assert made["events"] == ["key_created", "key_revoked"]
    listed = served.call("GET", "/v1/webhooks").ok()["items"]
    assert made in listed
    assert secret not in json.dumps(listed)
    again = served.call("POST", f"{path}/rotate-secret", {"overlap": 60}).ok(201)
    assert again["secret"] not in (None, secret)
    assert again["former_secret_until"] is not None


def test_an_endpoint_is_made_once_for_an_idempotency_key(served: Served) -> None:
    fields = [("Idempotency-Key", "webhook-1")]
    first, second = (served.call("POST", "/v1/webhooks", NEW, fields=fields).ok(201) for _ in range(2))
    assert first == second


def test_of_ed25519_the_public_key_is_shown(served: Served) -> None:
    made = served.call("POST", "/v1/webhooks", {**NEW, "signing": "ed25519"}).ok(201)
    assert made["secret"] is None
    assert made["public_key"].startswith("whpk_")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"url": "ftp://example.org/", "every_event": True}, "url"),
        ({"url": "https://user:pw@example.org/", "every_event": True}, "url"),
        ({"url": "https://example.org/"}, "events"),
        ({"url": "https://example.org/", "every_event": True, "events": ["key_created"]}, "events"),
        ({"url": "mailto:ops@example.org", "every_event": True}, "url"),  # the server has no mail server
        ({"url": "call:audit", "every_event": True}, "url"),
        ({"url": "https://a..b/", "every_event": True}, "url"),
    ],
)
def test_what_cannot_be_meant_is_refused(served: Served, body: dict[str, object], field: str) -> None:
    served.call("POST", "/v1/webhooks", body).problem(422, "invalid_request", field=field)


def test_an_endpoint_is_changed_and_deleted(served: Served) -> None:
    path = f"/v1/webhooks/{served.endpoint()}"
    changed = served.call("PATCH", path, {"paused": True, "every_event": True}).ok()
    assert (changed["paused"], changed["every_event"], changed["events"]) == (True, True, [])
    refused = served.call("PATCH", path, {"url": "mailto:ops@example.org"})
    assert "stays of the kind" in refused.problem(422, "invalid_request", field="url")["detail"]
    assert (
        "paused"
        in served.call("PATCH", path, {"url": None}).problem(422, "invalid_request")["fix"].split()[-2]
    )
    served.call("PATCH", path, {}).problem(422, "invalid_request")
    assert served.call("DELETE", path).status == 204
    served.call("GET", path).problem(404, "not_found")


def test_who_says_where_notices_go_may_read_the_log(served: Served) -> None:
    blind = served.provision("webhooks.update", "webhooks.read")
    fix = served.call("POST", "/v1/webhooks", NEW, key=blind).problem(403, "forbidden")["fix"]
    assert "audit.read" in fix
    path = f"/v1/webhooks/{served.endpoint()}"
    for change in (
        {"url": "https://elsewhere.example.org/"},
        {"every_event": True},
        {"events": ["key_used"]},
    ):
        served.call("PATCH", path, change, key=blind).problem(403, "forbidden")
    served.call("PATCH", path, {"paused": True}, key=blind).ok()
    served.call("POST", "/v1/webhooks", NEW, key=served.provision("webhooks.update", "audit.read")).ok(201)


def test_deliveries_that_were_given_up_can_be_dismissed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'keys.db'}"
    with receiving() as receiver, RunningServer(url, KEYTURN_NOTICES_ALLOW="127.0.0.0/8") as server:
        key = server.first_key
        wanted = {"url": receiver.url, "events": ["key_created"]}
        made = server.call("POST", "/v1/webhooks", wanted, key=key)[1]
        receiver.statuses = [410]
        server.call("POST", "/v1/keys", {}, key=key)
        path = f"/v1/webhooks/{made['endpoint_id']}"
        until(lambda: bool(server.call("GET", f"{path}/deliveries", key=key)[1]["dead"]), SECONDS)
        assert server.call("POST", f"{path}/dismiss", {"positions": [1]}, key=key)[0] == 404
        status, left = server.call("POST", f"{path}/dismiss", {}, key=key)
        assert (status, left["dead"], left["stalled"]) == (200, [], None)


JWK = {"kty": "OKP", "crv": "X25519", "x": "3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08"}
TO_ACME = {
    "url": "https://hooks.example.org/keyturn",
    "events": ["rotation_started"],
    "receiver": {"public_key": JWK, "owners": ["acme"]},
}


def test_an_endpoint_has_a_receiver_for_new_secrets_and_loses_it_by_null(served: Served) -> None:
    made = served.call("POST", "/v1/webhooks", TO_ACME).ok(201)
    told = {"public_key": {**JWK, "alg": "ECDH-ES+A256KW"}, "owners": ["acme"], "every_owner": False}
    assert made["receiver"] == told
    path = f"/v1/webhooks/{made['endpoint_id']}"
    assert served.call("PATCH", path, {"paused": True}).ok()["receiver"] == told
    all_of_them = {"public_key": JWK, "every_owner": True}
    assert served.call("PATCH", path, {"receiver": all_of_them}).ok()["receiver"]["every_owner"] is True
    assert served.call("PATCH", path, {"receiver": None}).ok()["receiver"] is None


@pytest.mark.parametrize(
    ("receiver", "field"),
    [
        ({"public_key": {**JWK, "d": "AAAA"}, "owners": ["acme"]}, "receiver.public_key"),
        ({"public_key": {"kty": "oct", "k": "AAAA"}, "owners": ["acme"]}, "receiver.public_key"),
        ({"public_key": {**JWK, "x": "A" * 43}, "owners": ["acme"]}, "receiver.public_key"),
        ({"public_key": JWK}, "receiver.owners"),
        ({"public_key": JWK, "owners": ["acme"], "every_owner": True}, "receiver.owners"),
        ({"public_key": JWK, "owners": ["acme"], "more": 1}, "receiver.more"),
    ],
)
def test_a_receiver_that_cannot_be_meant_is_refused(
    served: Served, receiver: dict[str, object], field: str
) -> None:
    body = {**TO_ACME, "receiver": receiver}
    served.call("POST", "/v1/webhooks", body).problem(422, "invalid_request", field=field)


def test_a_key_that_cannot_issue_every_key_names_no_receiver(served: Served) -> None:
    weak = served.provision("webhooks.*", "rotation.*", "audit.read")
    served.call("POST", "/v1/webhooks", TO_ACME, key=weak).problem(403, "forbidden")
    without = {name: value for name, value in TO_ACME.items() if name != "receiver"}
    path = f"/v1/webhooks/{served.call('POST', '/v1/webhooks', without, key=weak).ok(201)['endpoint_id']}"
    served.call("PATCH", path, {"receiver": TO_ACME["receiver"]}, key=weak).problem(403, "forbidden")


def test_a_server_delivers_to_what_is_allowed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'keys.db'}"
    with receiving() as receiver, RunningServer(url, KEYTURN_NOTICES_ALLOW="127.0.0.0/8") as server:
        key = server.first_key
        made = server.call("POST", "/v1/webhooks", {"url": receiver.url, "events": ["key_created"]}, key=key)[
            1
        ]
        receiver.statuses = [503]
        issued = server.call("POST", "/v1/keys", {}, key=key)[1]
        until(lambda: len(receiver.got) == 2, SECONDS)
        told = Webhook(made["secret"]).verify(receiver.got[1].body, receiver.got[1].fields)
        assert told["data"]["subjects"] == [issued["key_id"]]
        path = f"/v1/webhooks/{made['endpoint_id']}/deliveries"
        until(lambda: bool(server.call("GET", path, key=key)[1]["delivered"]), SECONDS)
        assert server.call("GET", path, key=key)[1]["delivered"][0]["attempts"] == 2
        assert issued["key"] not in str([got.body for got in receiver.got])


def test_a_server_makes_no_request_into_its_own_network_by_itself(tmp_path: Path) -> None:
    with receiving() as receiver, RunningServer(f"sqlite:///{tmp_path / 'keys.db'}") as server:
        key = server.first_key
        paths = []
        for url in (receiver.url, receiver.url.replace("http:", "https:"), "http://169.254.169.254/latest/"):
            made = server.call("POST", "/v1/webhooks", {"url": url, "events": ["key_created"]}, key=key)[1]
            paths.append(f"/v1/webhooks/{made['endpoint_id']}/deliveries")
        server.call("POST", "/v1/keys", {}, key=key)

        def whys() -> list[str]:
            answers = [server.call("GET", path, key=key)[1] for path in paths]
            return [each["why"] for answer in answers for each in answer["pending"]]

        until(lambda: len([why for why in whys() if why]) == len(paths), SECONDS)
        assert all("allowed" in why for why in whys())
        assert receiver.got == []


# -- changes to what was seen -----------------------------------------------------------------------------------------


def test_an_endpoint_that_was_seen_is_not_sent_again(served: Served) -> None:
    answer = served.call("POST", "/v1/webhooks", NEW)
    path, tag = f"/v1/webhooks/{answer.ok(201)['endpoint_id']}", tag_of(answer)
    again = served.call("GET", path, fields=[("If-None-Match", tag)])
    assert (again.status, again.body, tag_of(again)) == (304, b"", tag)


@pytest.mark.parametrize(
    ("method", "body"),
    [("PATCH", {"paused": True}), ("DELETE", None)],
)
def test_a_change_is_made_only_to_the_endpoint_that_was_seen(served: Served, method: str, body: Any) -> None:
    answer = served.call("POST", "/v1/webhooks", NEW)
    path, tag = f"/v1/webhooks/{answer.ok(201)['endpoint_id']}", tag_of(answer)
    served.call("PATCH", path, {"events": ["key_updated"]}).ok()
    late = served.call(method, path, body, fields=[("If-Match", tag)])
    refused = late.problem(412, "precondition_failed")
    assert "the endpoint is" in refused["detail"]
    now = tag_of(served.call("GET", path))
    assert served.call(method, path, body, fields=[("If-Match", now)]).status in (200, 204)
    assert served.call(method, path, body, fields=[("If-Match", now)]).status in (404, 412)


def test_of_many_changes_to_an_endpoint_with_one_etag_exactly_one_is_made(served: Served) -> None:
    answer = served.call("POST", "/v1/webhooks", NEW)
    path, fields = f"/v1/webhooks/{answer.ok(201)['endpoint_id']}", [("If-Match", tag_of(answer))]
    with ThreadPoolExecutor(8) as pool:
        sent = [
            pool.submit(served.call, "PATCH", path, {"paused": n % 2 == 0}, fields=fields) for n in range(24)
        ]
    assert sorted(each.result().status for each in sent) == [200] + [412] * 23
