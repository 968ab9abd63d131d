"""Verifications through the client: the same answers that the server gives anybody."""

from __future__ import annotations

from datetime import datetime

import pytest

from keyturn import Client, KeyScope, Secret, Verification
from keyturn.client.asking import Question
from keyturn.domain.instants import rfc3339
from keyturn.errors import ForbiddenError, InvalidInputError, UnauthenticatedError
from tests.http.asking import in_
from tests.http.served import Served, unknown_token


def test_a_valid_answer_tells_all_that_the_server_says(client: Client, served: Served) -> None:
    issued = served.issue(
        owner="acme",
        scope="read_write",
        permissions=["documents.*"],
        metadata={"plan": "pro"},
        expires_at=in_(hours=1),
    )
    answer = client.verify(issued["key"], scope=KeyScope.READ, permissions="documents.read", ip="203.0.113.9")
    assert isinstance(answer, Verification)
    assert answer
    said = served.verify(issued["key"])
    assert (answer.code, answer.key_id, answer.version) == ("valid", said["key_id"], 1)
    assert (answer.owner, answer.scope, answer.permissions) == ("acme", "read_write", ("documents.*",))
    assert (answer.metadata, answer.as_of.partition(":")[0]) == (
        {"plan": "pro"},
        said["as_of"].partition(":")[0],
    )
    assert isinstance(answer.expires_at, datetime)
    assert rfc3339(answer.expires_at) == said["expires_at"]


def test_refusals_are_false_and_say_why(client: Client, served: Served) -> None:
    narrow = served.issue(scope="read", permissions=["documents.read"], allowed_ips=["203.0.113.0/24"])["key"]
    inside = "203.0.113.9"
    codes = {
        "malformed": client.verify("nonsense"),
        "not_found": client.verify(unknown_token()),
        "ip_denied": client.verify(narrow, ip="198.51.100.1"),
        "insufficient_scope": client.verify(narrow, ip=inside, scope=KeyScope.WRITE),
        "insufficient_permissions": client.verify(narrow, ip=inside, permissions="documents.write"),
    }
    assert {code: answer.code for code, answer in codes.items()} == {code: code for code in codes}
    assert not any(codes.values())
    assert codes["not_found"].key_id is None
    assert codes["ip_denied"].key_id is not None


def test_a_secret_may_be_asked_about_without_revealing_it_first(client: Client, served: Served) -> None:
    assert client.verify(Secret(served.issue()["key"]))


def test_many_are_answered_in_order_beyond_what_one_request_takes(client: Client, served: Served) -> None:
    good, other = served.issue(owner="good"), served.issue(owner="other")
    asked: list[Question] = [
        {"key": good["key"], "scope": KeyScope.READ} if number % 3 == 0
        else {"key": Secret(other["key"])} if number % 3 == 1
        else {"key": good["key"], "scope": KeyScope.ADMIN}
        for number in range(2_001)
    ]  # fmt: skip
    answers = client.verify_many(asked)
    assert [answer.owner for answer in answers] == ["good", "other", "good"] * 667
    assert [bool(answer) for answer in answers] == [True, True, False] * 667
    assert client.verify_many([]) == []


def test_a_caller_that_may_not_ask_is_told_so(served: Served) -> None:
    key = served.issue()["key"]
    with (
        Client(served.server.url, served.provision("keys.read")) as client,
        pytest.raises(ForbiddenError) as forbidden,
    ):
        client.verify(key)
    assert "keys.verify" in forbidden.value.fix
    with Client(served.server.url, unknown_token()) as client, pytest.raises(UnauthenticatedError):
        client.verify(key)


def test_a_question_that_makes_no_sense_is_an_error_that_names_the_field(
    client: Client, served: Served
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        client.verify(served.key, ip="not an address")
    assert (refused.value.field, bool(refused.value.fix)) == ("ip", True)
