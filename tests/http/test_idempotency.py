"""Idempotency keys: what was made once is not made twice, whoever asks again and however many at once."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from keyturn.domain.instants import rfc3339
from tests.contract.postgres_server import PostgresDatabase
from tests.contract.waiting import until
from tests.http.raw import Answer
from tests.http.served import Served, another_source
from tests.running_server import RunningServer, prepared_postgres, program_environment, run_program

MANY: Final = 200
BATCH: Final = "/v1/keys/batch"
CREATING: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    # Where, and what to send: every call that creates.
    "a key": ("/v1/keys", {"owner": "idempotent", "recoverable": True}),
    "a batch": (BATCH, {"items": [{"owner": "idempotent"}, {"type": "hmac", "scope": "write"}]}),
}
every_creation = pytest.mark.parametrize("what", CREATING)


def send(
    served: Served, path: str, body: object, idempotency_key: str | None, *, key: str | None = None
) -> Answer:
    fields = [] if idempotency_key is None else [("Idempotency-Key", idempotency_key)]
    return served.call("POST", path, body, key=key or served.key, fields=fields)


def fresh() -> str:
    return str(uuid.uuid4())


def count_of(served: Served, owner: str) -> int:
    return len(served.call("GET", f"/v1/keys?owner={owner}&limit=1000").ok()["items"])


def but_for_the_mark(answer: Answer) -> Answer:
    return answer.without("date", "idempotent-replayed")


@every_creation
def test_a_request_that_is_sent_again_has_the_same_answer_secrets_included(served: Served, what: str) -> None:
    path, body = CREATING[what]
    key = fresh()
    first = send(served, path, body, key)
    assert first.status == 201
    assert first.field("idempotent-replayed") is None
    for _ in range(3):
        again = send(served, path, body, key)
        assert again.field("idempotent-replayed") == "true"
        assert but_for_the_mark(again) == but_for_the_mark(first)
    items = first.json.get("items", [first.json])
    assert all(served.verify(item["key"])["valid"] for item in items if item["type"] == "api_token")


@every_creation
def test_without_an_idempotency_key_each_request_is_a_new_one(served: Served, what: str) -> None:
    path, body = CREATING[what]
    first, second = (send(served, path, body, None) for _ in range(2))
    assert first.field("idempotent-replayed") is None
    assert first.json != second.json


@every_creation
def test_another_idempotency_key_is_another_request(served: Served, what: str) -> None:
    path, body = CREATING[what]
    key = fresh()
    answers = [send(served, path, body, each) for each in (key, key.upper(), f"{key}.", f'"{key}"', key[:-1])]
    assert all(answer.status == 201 for answer in answers)
    assert len({answer.body for answer in answers}) == len(answers)


@pytest.mark.parametrize(
    "other",
    [
        {"owner": "idempotent", "scope": "write"},
        {"owner": "Idempotent"},
        {},
        {"owner": "idempotent", "name": None},
        {"owner": "idempotent", "metadata": {"a": 1}},
    ],
    ids=str,
)
def test_the_same_key_with_another_body_is_refused_and_nothing_is_made(served: Served, other: object) -> None:
    key, body = fresh(), {"owner": "idempotent"}
    first = send(served, "/v1/keys", body, key).ok(201)
    before = served.call("GET", "/v1/keys?limit=1").ok()
    problem = send(served, "/v1/keys", other, key).problem(422, "idempotency_mismatch")
    assert "fresh Idempotency-Key" in problem["fix"]
    assert served.call("GET", "/v1/keys?limit=1").ok() == before
    assert send(served, "/v1/keys", body, key).ok(201) == first


def test_the_same_key_for_another_call_is_refused(served: Served) -> None:
    key = fresh()
    send(served, BATCH, {"items": [{}]}, key).ok(201)
    send(served, "/v1/keys", {}, key).problem(422, "idempotency_mismatch")


def test_the_same_request_may_be_written_otherwise(served: Served) -> None:
    """Some programs write the members of an object in another order each time."""
    key = fresh()
    first = send(served, "/v1/keys", b'{"owner":"idempotent","tags":["a","b"]}', key)
    again = send(served, "/v1/keys", b' {"tags": ["a", "b"],\n "owner": "idempot\\u0065nt"}', key)
    assert but_for_the_mark(again) == but_for_the_mark(first)
    send(served, "/v1/keys", b'{"owner":"idempotent","tags":["b","a"]}', key).problem(
        422, "idempotency_mismatch"
    )


def test_an_expiry_that_has_passed_meanwhile_is_no_reason_to_refuse_the_answer(served: Served) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1)
    key, body = fresh(), {"expires_at": rfc3339(soon)}
    first = send(served, "/v1/keys", body, key)
    assert first.status == 201
    until(lambda: datetime.now(UTC) > soon)
    send(served, "/v1/keys", body, fresh()).problem(422, "invalid_request", field="expires_at")
    assert but_for_the_mark(send(served, "/v1/keys", body, key)) == but_for_the_mark(first)


def test_what_was_refused_is_not_kept(served: Served) -> None:
    key = fresh()
    for wrong in ({"prefix": "A"}, {"scope": "none"}, {"metadata": {"a": 1.5}}, b"{"):
        assert send(served, "/v1/keys", wrong, key).status in (400, 422)
    first = send(served, "/v1/keys", {"prefix": "a"}, key)
    assert first.field("idempotent-replayed") is None
    first.ok(201)


# -- whose it is ------------------------------------------------------------------------------------------------------


def test_another_caller_with_the_same_idempotency_key_makes_its_own(served: Served) -> None:
    key, body = fresh(), {"owner": "idempotent"}
    callers = [served.key, served.provision("keys.create"), served.provision("*"), served.foreigner]
    made = [send(served, "/v1/keys", body, key, key=caller).ok(201) for caller in callers]
    assert len({each["key_id"] for each in made}) == len(callers)
    assert [each["tenant"] for each in made] == ["default"] * 3 + ["elsewhere"]
    assert [send(served, "/v1/keys", body, key, key=caller).ok(201) for caller in callers] == made


@pytest.mark.parametrize("loses", ["permission", "suspended", "revoked"])
def test_a_caller_that_has_lost_its_permission_is_not_answered_again(served: Served, loses: str) -> None:
    caller = served.provision("keys.create", "keys.read")
    own = served.verify(caller)["key_id"]
    key = fresh()
    send(served, "/v1/keys", {}, key, key=caller).ok(201)
    if loses == "permission":
        served.call("PATCH", f"/v1/keys/{own}", {"permissions": ["keys.read"]}).ok()
        send(served, "/v1/keys", {}, key, key=caller).problem(403, "forbidden")
        served.call("PATCH", f"/v1/keys/{own}", {"permissions": ["keys.create"]}).ok()
        assert send(served, "/v1/keys", {}, key, key=caller).field("idempotent-replayed") == "true"
    else:
        served.act(own, {"suspended": "suspend", "revoked": "revoke"}[loses]).ok()
        fields = [("Idempotency-Key", key)]
        source = another_source()
        answer = served.call("POST", "/v1/keys", {}, key=caller, fields=fields, source=source)
        answer.problem(401, "unauthenticated")


@every_creation
def test_a_caller_that_may_no_longer_grant_what_it_granted_is_not_answered_again(
    served: Served, what: str
) -> None:
    caller = served.provision("keys.create", "documents.read", scope="read_write")
    own = served.verify(caller)["key_id"]
    wanted = {"permissions": ["documents.read"], "scope": "read_write"}
    path, body = ("/v1/keys", wanted) if what == "a key" else (BATCH, {"items": [{}, wanted]})
    key = fresh()
    first = send(served, path, body, key, key=caller).ok(201)
    for lost in ({"permissions": ["keys.create"]}, {"scope": "read"}):
        served.call("PATCH", f"/v1/keys/{own}", lost).ok()
        send(served, path, body, key, key=caller).problem(403, "forbidden")
        given = {"permissions": ["keys.create", "documents.read"], "scope": "read_write"}
        served.call("PATCH", f"/v1/keys/{own}", given).ok()
        assert send(served, path, body, key, key=caller).ok(201) == first


def test_the_secret_of_a_key_that_was_destroyed_does_not_come_back_this_way(served: Served) -> None:
    key = fresh()
    made = send(served, BATCH, {"items": [{"type": "hmac"}, {}]}, key).ok(201)["items"]
    for act in ("suspend", "revoke"):  # their secrets are still what they were
        served.act(made[0]["key_id"], act).ok()
        assert send(served, BATCH, {"items": [{"type": "hmac"}, {}]}, key).status == 201
    served.act(made[0]["key_id"], "destroy").ok()
    answer = send(served, BATCH, {"items": [{"type": "hmac"}, {}]}, key)
    assert made[0]["key_id"] in answer.problem(409, "illegal_transition")["detail"]
    assert made[1]["key"].encode() not in answer.body


# -- the header -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["a", "~", "!", "a" * 255, '"quoted"', "a,b", "%00", "ключ".encode().hex()])
def test_an_idempotency_key_is_any_visible_ascii(served: Served, value: str) -> None:
    body = {"name": value[:20]}
    first = send(served, "/v1/keys", body, value).ok(201)
    assert send(served, "/v1/keys", body, value).ok(201) == first


@every_creation
@pytest.mark.parametrize("value", ["", " ", "a" * 256, "a b", "é", "\xff", "a\tb", "\x80"])
def test_what_is_no_idempotency_key_is_refused(served: Served, what: str, value: str) -> None:
    path, body = CREATING[what]
    before = served.call("GET", "/v1/keys?limit=1").ok()
    problem = send(served, path, body, value).problem(400, "malformed_header")
    assert "Idempotency-Key" in problem["detail"]
    assert served.call("GET", "/v1/keys?limit=1").ok() == before


def test_two_idempotency_keys_are_one_too_many(served: Served) -> None:
    fields = [("Idempotency-Key", "a"), ("Idempotency-Key", "a")]
    served.call("POST", "/v1/keys", {}, fields=fields).problem(400, "duplicate_header")


def test_who_may_not_create_is_told_so_first(served: Served) -> None:
    for value in ("", "a b", "fine"):
        fields = [("Idempotency-Key", value)]
        served.call("POST", "/v1/keys", {}, key=None, fields=fields).problem(401, "unauthenticated")
        caller = served.provision("keys.read")
        served.call("POST", "/v1/keys", {}, key=caller, fields=fields).problem(403, "forbidden")


# -- many at once -----------------------------------------------------------------------------------------------------


def ask_many(ways: list[Callable[[], Answer]]) -> list[Answer]:
    with ThreadPoolExecutor(len(ways)) as pool:
        return [future.result() for future in [pool.submit(way) for way in ways]]


def assert_one_was_made(answers: list[Answer]) -> None:
    assert {answer.status for answer in answers} == {201}, {answer.body for answer in answers}
    assert len({answer.body for answer in answers}) == 1
    assert len({answer.field("etag") for answer in answers}) == 1
    assert sorted(answer.field("idempotent-replayed") or "" for answer in answers) == [
        "",
        *["true"] * (MANY - 1),
    ]


def test_two_hundred_requests_at_once_make_one_key(served: Served) -> None:
    key, body = fresh(), {"owner": "two-hundred"}
    assert_one_was_made(ask_many([lambda: send(served, "/v1/keys", body, key)] * MANY))
    assert count_of(served, "two-hundred") == 1
    with served.node() as node:
        created = [
            event for event in node.trail.events({"default"}, limit=1_000) if event.type == "key_created"
        ]
        incidents = node.trail.events({"system"}, limit=1_000)
    issued = served.call("GET", "/v1/keys?owner=two-hundred").ok()["items"][0]["key_id"]
    assert [event.subjects for event in created].count((issued,)) == 1
    assert [event for event in incidents if event.type == "integrity_failed"] == []


def test_two_hundred_batches_at_once_make_one(served: Served) -> None:
    key, body = fresh(), {"items": [{"owner": "batches"}] * 3}
    assert_one_was_made_of_a_batch(ask_many([lambda: send(served, BATCH, body, key)] * MANY))
    assert count_of(served, "batches") == 3


def assert_one_was_made_of_a_batch(answers: list[Answer]) -> None:
    assert {answer.status for answer in answers} == {201}
    assert len({answer.body for answer in answers}) == 1


@pytest.fixture(params=["sqlite", "postgres"])
def two(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Served, Served]]:
    """Two server processes on one store."""
    if request.param == "sqlite":
        url, first_key = f"sqlite:///{tmp_path / 'keys.db'}", None
    else:
        database: PostgresDatabase = request.getfixturevalue("postgres_database")
        url, first_key = database.app_url, prepared_postgres(database)
    with RunningServer(url, first_key=first_key) as one, RunningServer(url, first_key=first_key) as other:
        other._first_key = one.first_key
        yield Served(one, url), Served(other, url)


def test_two_hundred_requests_to_two_servers_make_one_key(two: tuple[Served, Served]) -> None:
    one, other = two
    for round_ in range(3):
        key, body = fresh(), {"owner": f"round-{round_}"}
        ways: list[Callable[[], Answer]] = [
            lambda key=key, body=body: send(one, "/v1/keys", body, key),  # type: ignore[misc]
            lambda key=key, body=body: send(other, "/v1/keys", body, key, key=one.key),  # type: ignore[misc]
        ] * (MANY // 2)
        assert_one_was_made(ask_many(ways))
        assert count_of(one, f"round-{round_}") == count_of(other, f"round-{round_}") == 1


# -- what is kept -----------------------------------------------------------------------------------------------------


def test_nothing_of_the_idempotency_key_and_of_the_secret_stands_in_the_store(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'keys.db'}"
    key = f"invoice-of-{fresh()}"
    with RunningServer(url) as server:
        served = Served(server, url)
        made = send(served, "/v1/keys", {"recoverable": True}, key).ok(201)
        send(served, "/v1/keys", {"recoverable": True}, key).ok(201)
        send(served, "/v1/keys", {}, key).problem(422, "idempotency_mismatch")
        written = server.stdout + server.stderr
        server.stop()
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert made["key_id"].encode() in stored, "this looks into the store"
    for text in (key, made["key"]):
        assert text.encode() not in stored
        assert text not in written


def test_the_answer_is_there_after_the_server_was_killed(tmp_path: Path) -> None:
    """The answer to a request may be lost on the way; that is when a client sends it again."""
    url = f"sqlite:///{tmp_path / 'keys.db'}"
    key = fresh()
    with RunningServer(url) as server:
        served = Served(server, url)
        first = send(served, "/v1/keys", {}, key)
        server.kill()
        server.start()
        again = send(served, "/v1/keys", {}, key)
    assert again.field("idempotent-replayed") == "true"
    assert but_for_the_mark(again) == but_for_the_mark(first)


def test_an_answer_that_was_altered_is_not_given(tmp_path: Path) -> None:
    """Neither is another key made: the client would have two, and its operator no notice."""
    url = f"sqlite:///{tmp_path / 'keys.db'}"
    keys = [fresh(), fresh()]
    with RunningServer(url) as server:
        served = Served(server, url)
        for key in keys:
            send(served, "/v1/keys", {"owner": "altered"}, key).ok(201)
        with closing(sqlite3.connect(tmp_path / "keys.db", isolation_level=None)) as database:
            found = database.execute("SELECT id, material FROM rows WHERE kind = 'answer'").fetchall()
            (one, first), (other, second) = found
            database.executemany("UPDATE rows SET material = ? WHERE id = ?", [(second, one), (first, other)])
        for key in keys:
            send(served, "/v1/keys", {"owner": "altered"}, key).problem(503, "integrity_failed")
        assert count_of(served, "altered") == 2


def test_the_command_line_reads_a_store_with_kept_answers(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'keys.db'}"
    with RunningServer(url) as server:
        send(Served(server, url), "/v1/keys", {"owner": "kept"}, fresh()).ok(201)
        server.stop()
    listed = run_program(program_environment(url), "list", "--json")
    assert listed.returncode == 0, listed.stderr
    assert [item["owner"] for item in json.loads(listed.stdout)["items"]] == ["kept", None]
