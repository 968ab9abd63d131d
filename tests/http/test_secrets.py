"""Secrets that are read back: which, by whom, and with an entry in the log before anybody has them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from keyturn.audit.trail import KeyUsageEvent
from keyturn.domain.instants import parse_rfc3339
from tests.contract.waiting import until
from tests.http.raw import Answer
from tests.http.served import Served


def secret(served: Served, key: dict[str, Any], *, by: str | None = None) -> Answer:
    return served.call("GET", f"/v1/keys/{key['key_id']}/secret", key=by or served.key)


def retrievals(served: Served, key: dict[str, Any]) -> list[KeyUsageEvent]:
    with served.node() as node:
        events = node.trail.events({"default"}, key_id=key["key_id"], limit=1_000)
    return [event for event in events if event.type == "key_retrieved"]


@pytest.mark.parametrize(
    "wanted",
    [
        {"recoverable": True},
        {"recoverable": True, "type": "provisioning", "prefix": "acme_live", "length": 8_192},
        {"type": "hmac"},
        {"type": "hmac", "length": 128, "scope": "write"},
    ],
    ids=str,
)
def test_a_secret_that_was_kept_comes_back_as_it_was_issued(served: Served, wanted: dict[str, Any]) -> None:
    key = served.issue(**wanted)
    answer = secret(served, key)
    assert answer.ok() == {name: key[name] for name in ("key_id", "version", "type", "key")}
    assert answer.field("cache-control") == "no-store"
    assert answer.field("etag") is None


def test_each_time_is_an_entry_that_says_who_has_it(served: Served) -> None:
    key, other = served.issue(recoverable=True), served.issue(recoverable=True)
    caller = served.provision("keys.reveal")
    for by in (served.key, caller, caller):
        secret(served, key, by=by).ok()
    found = retrievals(served, key)
    actors = [f"key:{served.verify(by)['key_id']}" for by in (served.key, caller, caller)]
    assert [event.actor for event in found] == actors
    assert {event.subjects for event in found} == {(key["key_id"],)}
    assert retrievals(served, other) == []


def test_what_is_refused_leaves_no_entry(served: Served) -> None:
    key = served.issue(recoverable=True, permissions=["documents.read"], scope="write")
    for by, status in ((served.provision("keys.read"), 403), (served.provision("keys.reveal"), 403)):
        assert secret(served, key, by=by).status == status
    served.act(key["key_id"], "suspend").ok()
    secret(served, key).problem(409, "illegal_transition")
    assert retrievals(served, key) == []


@pytest.mark.parametrize("kind", ["api_token", "provisioning"])
@pytest.mark.parametrize("act", [None, "suspend", "revoke", "destroy"])
def test_a_token_that_was_not_issued_as_recoverable_never_comes_back(
    served: Served, kind: str, act: str | None
) -> None:
    key = served.issue(type=kind)
    if act is not None:
        served.act(key["key_id"], act).ok()
    problem = secret(served, key).problem(409, "not_recoverable")
    assert "recoverable" in problem["fix"]
    assert retrievals(served, key) == []


@pytest.mark.parametrize("wanted", [{"recoverable": True}, {"type": "hmac"}], ids=str)
def test_no_secret_comes_back_of_a_key_that_does_not_serve(served: Served, wanted: dict[str, Any]) -> None:
    def refused(key: dict[str, Any]) -> None:
        answer = secret(served, key)
        answer.problem(409, "illegal_transition")
        assert key["key"].encode() not in answer.body

    for acts in (["suspend"], ["revoke"], ["destroy"], ["suspend", "revoke"]):
        key = served.issue(**wanted)
        for act in acts:
            served.act(key["key_id"], act).ok()
        refused(key)
    owned = served.issue(**wanted, owner=f"owner of {wanted}")
    served.call("POST", f"/v1/owners/{owned['owner'].replace(' ', '%20')}/revoke").ok()
    refused(owned)
    late = served.issue(**wanted, expires_in=1)
    until(lambda: datetime.now(UTC) > parse_rfc3339(late["expires_at"]))
    refused(late)


def test_a_key_that_serves_again_gives_its_secret_again(served: Served) -> None:
    key = served.issue(recoverable=True)
    for act in ("suspend", "resume"):
        served.act(key["key_id"], act).ok()
    assert secret(served, key).ok()["key"] == key["key"]


@pytest.mark.parametrize(
    "wanted",
    [{"permissions": ["*"]}, {"permissions": ["keys.create"]}, {"scope": "full"}, {"scope": "admin"}],
    ids=str,
)
@pytest.mark.parametrize("kind", ["provisioning", "api_token"])
def test_nobody_reads_the_secret_of_a_mightier_key(served: Served, kind: str, wanted: dict[str, Any]) -> None:
    """Whoever has the secret may do what its key may: reading it is as good as being granted that."""
    caller = served.provision("keys.reveal", "documents.*", scope="read_write")
    mighty = served.issue(type=kind, recoverable=True, **wanted)
    answer = secret(served, mighty, by=caller)
    answer.problem(403, "forbidden")
    assert mighty["key"].encode() not in answer.body
    lesser = served.issue(type=kind, recoverable=True, permissions=["documents.read"], scope="write")
    assert secret(served, lesser, by=caller).ok()["key"] == lesser["key"]
    assert retrievals(served, mighty) == []


def test_a_secret_is_read_and_its_key_revoked_at_once_and_the_log_has_them_in_order(served: Served) -> None:
    """Nobody who reads it is recorded after the revocation."""
    for _ in range(5):
        key = served.issue(recoverable=True)
        with ThreadPoolExecutor(9) as pool:
            reading = [pool.submit(secret, served, key) for _ in range(8)]
            served.act(key["key_id"], "revoke").ok()
            answers = [each.result() for each in reading]
        with served.node() as node:
            events = node.trail.events({"default"}, key_id=key["key_id"])
        types = [event.type for event in events]
        assert types[0] == "key_created"
        assert types[-1] == "key_revoked"
        assert types.count("key_retrieved") == sum(answer.status == 200 for answer in answers)
        assert {answer.status for answer in answers} <= {200, 409}


def test_a_secret_is_not_to_be_had_by_another_method(served: Served) -> None:
    key = served.issue(recoverable=True)
    for method in ("HEAD", "POST", "PUT", "PATCH", "DELETE"):
        answer = served.call(method, f"/v1/keys/{key['key_id']}/secret")
        assert answer.status == 405
    assert retrievals(served, key) == []


def test_without_the_store_no_secret_is_handed_out(served: Served) -> None:
    """An entry that cannot be written is a secret that is not given."""
    key = served.issue(recoverable=True)
    with served.locked():
        answer = secret(served, key)
    answer.problem(503, "storage_busy")
    assert key["key"].encode() not in answer.body
    assert retrievals(served, key) == []
