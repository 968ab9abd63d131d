"""ETags: what a caller has seen of a key, and changes that are made to that or not at all."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest

from tests.contract.postgres_server import PostgresDatabase
from tests.http.raw import Answer
from tests.http.served import UNKNOWN_ID, Served
from tests.running_server import RunningServer, prepared_postgres

ACTS: Final = ("revoke", "suspend", "resume", "destroy")
CHANGES: Final[dict[str, tuple[str, str, object]]] = {
    # Method, what follows the key's path, and a body.
    "update": ("PATCH", "", {"name": "changed"}),
    **{act: ("POST", f"/{act}", {}) for act in ACTS},
}
every_change = pytest.mark.parametrize("change", CHANGES)
OLD: Final = '"1-AAAAAAAAAAAAAAAAAAAAAA"'


def tag_of(answer: Answer) -> str:
    tag = answer.field("etag")
    assert tag is not None
    assert tag.startswith('"')
    assert tag.endswith('"')
    return tag


def got(served: Served, key_id: str, *fields: tuple[str, str]) -> Answer:
    return served.call("GET", f"/v1/keys/{key_id}", fields=fields)


def changed(served: Served, key_id: str, change: str, *fields: tuple[str, str]) -> Answer:
    method, tail, body = CHANGES[change]
    return served.call(method, f"/v1/keys/{key_id}{tail}", body, fields=fields)


def ready(served: Served, change: str) -> dict[str, Any]:
    """A key to which this change can be made."""
    key = served.issue()
    if change == "resume":
        served.act(key["key_id"], "suspend").ok()
    return key


# -- what they are ----------------------------------------------------------------------------------------------------


def test_a_key_has_the_same_etag_wherever_it_is_shown_until_it_changes(served: Served) -> None:
    issued = served.call("POST", "/v1/keys", {"name": "a"})
    key_id = issued.ok(201)["key_id"]
    tags = [tag_of(issued)]
    assert tag_of(got(served, key_id)) == tag_of(got(served, key_id)) == tags[0]
    for change in ("update", "suspend", "resume", "revoke", "destroy"):
        answer = changed(served, key_id, change)
        answer.ok()
        tags.append(tag_of(answer))
        assert tag_of(got(served, key_id)) == tags[-1]
    assert len(set(tags)) == len(tags)


def test_a_change_that_changes_nothing_is_a_change(served: Served) -> None:
    """It has an entry in the log, and whoever comes with the ETag before it has not seen that."""
    issued = served.call("POST", "/v1/keys", {"name": "a"})
    path = f"/v1/keys/{issued.ok(201)['key_id']}"
    again = served.call("PATCH", path, {"name": "a"})
    assert tag_of(again) != tag_of(issued)


def test_revoking_again_changes_nothing_and_has_the_same_etag(served: Served) -> None:
    key_id = served.issue()["key_id"]
    first, second = changed(served, key_id, "revoke"), changed(served, key_id, "revoke")
    assert first.without("date") == second.without("date")


def test_two_keys_that_are_alike_have_etags_of_their_own(served: Served) -> None:
    tags = {tag_of(served.call("POST", "/v1/keys", {"name": "alike"})) for _ in range(5)}
    assert len(tags) == 5


def test_two_servers_give_a_key_the_same_etag(two: tuple[Served, Served]) -> None:
    one, other = two
    key_id = one.issue(metadata={"é": [1, None, "🔑"]})["key_id"]
    answers = [served.call("GET", f"/v1/keys/{key_id}", key=one.key) for served in two]
    assert answers[0].without("date") == answers[1].without("date")
    tag_of(other.call("PATCH", f"/v1/keys/{key_id}", {"name": "a"}, key=one.key))


# -- If-None-Match ----------------------------------------------------------------------------------------------------


def test_who_has_the_key_as_it_is_need_not_read_it_again(served: Served) -> None:
    key_id = served.issue()["key_id"]
    tag = tag_of(got(served, key_id))
    for sent in (tag, f"W/{tag}", f"{OLD}, {tag}", f'{tag},"b"', f'"a" , {tag} , "b"', "*"):
        answer = got(served, key_id, ("If-None-Match", sent))
        assert (answer.status, answer.body, tag_of(answer)) == (304, b"", tag), sent
        assert answer.field("content-length") is None
    answer = got(served, key_id, ("If-None-Match", OLD), ("If-None-Match", tag))
    assert answer.status == 304, "several of this field are one list (RFC 9110, section 5.3)"
    served.call("PATCH", f"/v1/keys/{key_id}", {"name": "a"}).ok()
    assert got(served, key_id, ("If-None-Match", tag)).ok()["name"] == "a"
    assert got(served, key_id, ("If-None-Match", OLD)).ok()["name"] == "a"


def test_the_connection_goes_on_after_an_answer_without_a_body(served: Served) -> None:
    key_id = served.issue()["key_id"]
    tag = tag_of(got(served, key_id))
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    try:
        for number in range(6):
            fields = {"Authorization": f"Bearer {served.key}"} | (
                {"If-None-Match": tag} if number % 2 else {}
            )
            connection.request("GET", f"/v1/keys/{key_id}", headers=fields)
            answer = connection.getresponse()
            body = answer.read()
            assert (answer.status, bool(body)) == ((304, False) if number % 2 else (200, True))
    finally:
        connection.close()


def test_an_etag_tells_nobody_that_a_foreign_key_is_there(served: Served) -> None:
    theirs = served.issue_elsewhere()["key_id"]
    tag = tag_of(served.call("GET", f"/v1/keys/{theirs}", key=served.foreigner))
    for sent in (tag, "*", OLD):
        for name, change in (("If-None-Match", None), *(("If-Match", change) for change in CHANGES)):
            fields = [(name, sent)]
            answers = [
                got(served, key_id, *fields) if change is None else changed(served, key_id, change, *fields)
                for key_id in (theirs, UNKNOWN_ID)
            ]
            answers[0].problem(404, "not_found")
            assert answers[0].without("date") == answers[1].without("date")


# -- If-Match ---------------------------------------------------------------------------------------------------------


@every_change
def test_a_change_is_made_to_the_key_that_was_seen(served: Served, change: str) -> None:
    key_id = ready(served, change)["key_id"]
    tag = tag_of(got(served, key_id))
    answer = changed(served, key_id, change, ("If-Match", tag))
    assert answer.ok() == served.show(key_id)
    assert tag_of(answer) != tag


@every_change
@pytest.mark.parametrize("sent", [OLD, "W/{}", '"a", "b"', '""', 'W/"a", W/{}'])
def test_no_change_is_made_to_a_key_that_was_not_seen(served: Served, change: str, sent: str) -> None:
    """Weak tags never match here: RFC 9110, section 13.1.1."""
    key_id = ready(served, change)["key_id"]
    before = got(served, key_id)
    answer = changed(served, key_id, change, ("If-Match", sent.format(tag_of(before))))
    assert "ETag" in answer.problem(412, "precondition_failed")["fix"]
    assert got(served, key_id).without("date") == before.without("date")


@every_change
@pytest.mark.parametrize("sent", ["*", "{}", '"a", {}', '{},"b"', " {} "])
def test_one_tag_of_several_is_enough_and_a_star_is_any(served: Served, change: str, sent: str) -> None:
    key_id = ready(served, change)["key_id"]
    tag = tag_of(got(served, key_id))
    changed(served, key_id, change, ("If-Match", sent.format(tag))).ok()


@every_change
def test_without_a_condition_a_change_is_made_to_whatever_is_there(served: Served, change: str) -> None:
    key_id = ready(served, change)["key_id"]
    changed(served, key_id, "update").ok()
    changed(served, key_id, change).ok()


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "a",
        '"a',
        'a"',
        '"a" "b"',
        '*, "a"',
        '"a", *',
        "**",
        "'a'",
        '"a"b',
        '"a b"',
        '"é"',
        'w/"a"',
        '"a",',
    ],
)
def test_what_is_no_list_of_etags_is_refused(served: Served, sent: str) -> None:
    key_id = served.issue()["key_id"]
    for answer in (
        got(served, key_id, ("If-None-Match", sent)),
        *(changed(served, key_id, change, ("If-Match", sent)) for change in CHANGES),
    ):
        problem = answer.problem(400, "malformed_header")
        assert "quotes included" in problem["fix"]
    assert served.show(key_id)["state"] == "active"


def test_what_cannot_be_meant_is_refused_before_the_condition_is_looked_at(served: Served) -> None:
    """RFC 9110, section 13.2.1: where the request fails anyway, its conditions are not what it fails for."""
    key_id = served.issue()["key_id"]
    path, fields = f"/v1/keys/{key_id}", [("If-Match", OLD)]
    served.call("PATCH", path, {"tags": ["a", "a"]}, fields=fields).problem(422, "invalid_request")
    served.call("PATCH", path, {"name": 1}, fields=fields).problem(422, "invalid_request")
    served.call("PATCH", path, {}, key=None, fields=fields).problem(401, "unauthenticated")
    served.call("PATCH", path, {}, key=served.provision(), fields=fields).problem(403, "forbidden")


def test_a_key_that_has_ended_is_revoked_again_only_if_it_was_seen(served: Served) -> None:
    key_id = served.issue()["key_id"]
    tag = tag_of(changed(served, key_id, "revoke"))
    changed(served, key_id, "revoke", ("If-Match", OLD)).problem(412, "precondition_failed")
    assert tag_of(changed(served, key_id, "revoke", ("If-Match", tag))) == tag


# -- many at once -----------------------------------------------------------------------------------------------------

MANY: Final = 40


def at_once(ways: list[Callable[[], Answer]]) -> list[Answer]:
    with ThreadPoolExecutor(len(ways)) as pool:
        return [future.result() for future in [pool.submit(way) for way in ways]]


def assert_one_has_won(servers: tuple[Served, ...], key: str) -> None:
    """Of many who change a key, all with the same ETag."""
    issued = servers[0].call("POST", "/v1/keys", {"name": "before"}, key=key)
    path, tag = f"/v1/keys/{issued.ok(201)['key_id']}", tag_of(issued)

    def change(number: int) -> Callable[[], Answer]:
        served = servers[number % len(servers)]
        return lambda: served.call(
            "PATCH", path, {"name": f"{number}", "tags": [f"{number}"]}, key=key, fields=[("If-Match", tag)]
        )

    answers = at_once([change(number) for number in range(MANY)])
    assert sorted(answer.status for answer in answers) == [200] + [412] * (MANY - 1)
    (winner,) = [answer for answer in answers if answer.status == 200]
    for served in servers:
        shown = served.call("GET", path, key=key)
        assert shown.json == winner.json
        assert tag_of(shown) == tag_of(winner)
        assert shown.json["tags"] == [shown.json["name"]], "all of one change, and nothing of another"


def test_of_many_changes_with_one_etag_exactly_one_is_made(served: Served) -> None:
    for _ in range(5):
        assert_one_has_won((served,), served.key)


def test_of_many_acts_with_one_etag_exactly_one_is_done(served: Served) -> None:
    """Though revoking a key that is suspended is allowed, and the other way round it is not."""
    issued = served.call("POST", "/v1/keys", {})
    key_id, tag = issued.ok(201)["key_id"], tag_of(issued)
    acts = ["update", "suspend", "revoke", "destroy"] * 10
    answers = at_once([lambda act=act: changed(served, key_id, act, ("If-Match", tag)) for act in acts])  # type: ignore[misc]
    done = [answer for answer in answers if answer.status == 200]
    assert len(done) == 1
    assert served.show(key_id) == done[0].json
    assert {answer.status for answer in answers} <= {200, 409, 412}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def two(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Served, Served]]:
    """Two server processes on one store."""
    if request.param == "sqlite":
        url, first_key = f"sqlite:///{tmp_path_factory.mktemp('two') / 'keys.db'}", None
    else:
        server = request.getfixturevalue("postgres_server")
        database: PostgresDatabase = server.create_database()
        url, first_key = database.app_url, prepared_postgres(database)
    with RunningServer(url, first_key=first_key) as one, RunningServer(url, first_key=first_key) as other:
        yield Served(one, url), Served(other, url)


def test_of_many_changes_on_two_servers_with_one_etag_exactly_one_is_made(two: tuple[Served, Served]) -> None:
    for _ in range(5):
        assert_one_has_won(two, two[0].key)


def test_changes_without_a_condition_are_all_made_on_two_servers(two: tuple[Served, Served]) -> None:
    one, other = two
    key_id = one.issue()["key_id"]
    path = f"/v1/keys/{key_id}"
    ways: list[Callable[[], Answer]] = [
        lambda: one.call("PATCH", path, {"name": "a"}),
        lambda: other.call("PATCH", path, {"tags": ["b"]}, key=one.key),
        lambda: one.call("PATCH", path, {"metadata": {"c": 1}}),
        lambda: other.call("PATCH", path, {"permissions": ["d"]}, key=one.key),
    ]
    for answer in at_once(ways):
        answer.ok()
    shown = one.show(key_id)
    assert (shown["name"], shown["tags"], shown["metadata"], shown["permissions"]) == (
        "a",
        ["b"],
        {"c": 1},
        ["d"],
    )
