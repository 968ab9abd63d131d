"""A guard that asks a server: how often it asks, how long it relies on an answer, and what it takes for one."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest

from keyturn import Verification
from keyturn.errors import (
    ConfigurationError,
    InvalidInputError,
    KeyturnError,
    StorageError,
    UnauthenticatedError,
)
from keyturn.integrations import Guard
from keyturn.integrations.remote import ANSWER_SECONDS, Remote
from keyturn.integrations.required import Required
from keyturn.integrations.together import MAX_REQUESTS, MAX_TOGETHER, Question, Together
from keyturn.serving.refusals import RefusedError
from tests.client.scripted import CLOSE, HANG, Scripted, answer, problem
from tests.fakes import ManualClock
from tests.http.served import Served, unknown_token
from tests.integrations.heads import bearer

KEY: Final = unknown_token()
READ: Final = Required.of("read", None)
NOTHING: Final = Required()
IP: Final = "203.0.113.9"
VALID: Final[dict[str, Any]] = {
    "valid": True, "code": "valid", "key_id": "key_0123456789ABCDEFGHIJKL", "version": 1, "owner": "acme",
    "scope": "read", "permissions": [], "metadata": {}, "expires_at": None, "rate_limits": [], "credits": None,
    "as_of": "log:1",
}  # fmt: skip
REVOKED: Final = {**VALID, "valid": False, "code": "revoked"}


class Way:
    """Verifies with a source: in a thread that waits, or on an event loop, whose requests are batches."""

    def __init__(self, name: str) -> None:
        self.is_on_a_loop = name == "on a loop"

    def __call__(
        self, source: Remote, token: str, required: Required = NOTHING, ip: str | None = IP
    ) -> Verification:
        if not self.is_on_a_loop:
            return source.verify(token, required, ip)

        async def once() -> Verification:
            try:
                return await source.verify_async(token, required, ip)
            finally:
                await source.aclose()

        return asyncio.run(once())

    def says(self, body: object) -> bytes:
        """A server's answer to one question."""
        return answer(200, {"items": [body]} if self.is_on_a_loop else body)

    def was_asked(self, request: bytes) -> Any:
        """The one question of a request."""
        head, _, body = request.partition(b"\r\n\r\n")
        path = b"/v1/verify/batch" if self.is_on_a_loop else b"/v1/verify"
        assert head.startswith(b"POST %s HTTP/1.1\r\n" % path)
        assert f"authorization: bearer {KEY}".lower().encode() in head.lower()
        asked = json.loads(body)
        return asked["items"][0] if self.is_on_a_loop else asked


@pytest.fixture(params=["waiting", "on a loop"])
def ask(request: pytest.FixtureRequest) -> Way:
    return Way(request.param)


def test_the_server_is_asked_what_the_route_requires(ask: Way) -> None:
    with Scripted(ask.says(VALID)) as server:
        source = Remote(server.url, key=KEY)
        assert ask(source, "token", Required.of("read_write", "documents.read"))
        assert ask(source, "token", NOTHING, None)
        assert [ask.was_asked(request) for request in server.requests] == [
            {"key": "token", "scope": "read_write", "permissions": "documents.read", "ip": IP},
            {"key": "token"},
        ]


def test_an_answer_is_used_again_within_the_bound_counted_from_before_it_was_asked_for(ask: Way) -> None:
    clock = ManualClock()
    with Scripted(ask.says(VALID), ask.says(REVOKED)) as server:
        source = Remote(server.url, key=KEY, max_staleness=1.0, clock=clock)
        assert ask(source, "token")
        clock.pass_time(0.9)
        assert ask(source, "token")
        assert len(server.requests) == 1
        clock.pass_time(0.1)
        assert ask(source, "token").code == "revoked"
        assert len(server.requests) == 2
        clock.pass_time(0.9)
        assert ask(source, "token").code == "revoked"
        assert len(server.requests) == 2


def test_the_time_that_an_answer_was_on_its_way_counts(ask: Way) -> None:
    clock = ManualClock()

    def takes_its_time(_: bytes) -> bytes:
        clock.pass_time(0.9)
        return ask.says(VALID)

    with Scripted(takes_its_time, ask.says(REVOKED)) as server:
        source = Remote(server.url, key=KEY, max_staleness=1.0, clock=clock)
        assert ask(source, "token")
        clock.pass_time(0.2)
        assert ask(source, "token").code == "revoked"


def test_an_answer_is_used_for_the_same_question_only(ask: Way) -> None:
    with Scripted(ask.says(VALID)) as server:
        source = Remote(server.url, key=KEY, clock=ManualClock())
        questions = [("a", NOTHING, IP), ("a", READ, IP), ("a", NOTHING, None), ("b", NOTHING, IP)]
        for _ in range(2):
            for question in questions:
                assert ask(source, *question)
        assert len(server.requests) == len(questions)


def test_with_a_bound_of_nothing_every_request_asks(ask: Way) -> None:
    with Scripted(ask.says(VALID), ask.says(REVOKED)) as server:
        source = Remote(server.url, key=KEY, max_staleness=0, clock=ManualClock())
        assert ask(source, "token")
        assert ask(source, "token").code == "revoked"


@pytest.mark.parametrize(
    "counted",
    [
        {"rate_limits": [{"name": "requests"}]},
        {"credits": 5},
        {"credits": 0},
        {"valid": False, "code": "throttled"},
    ],
    ids=str,
)
def test_where_each_use_counts_each_is_asked_for(ask: Way, counted: dict[str, object]) -> None:
    with Scripted(ask.says({**VALID, **counted})) as server:
        source = Remote(server.url, key=KEY, clock=ManualClock())
        for _ in range(3):
            ask(source, "token")
        assert len(server.requests) == 3


def test_an_answer_that_took_too_long_is_not_used(ask: Way) -> None:
    """The process was stopped while it waited: the key may have been revoked long since."""
    clock = ManualClock()
    with Scripted(ask.says(VALID)) as server:
        source = Remote(server.url, key=KEY, max_staleness=60, clock=clock)
        clock.at_next("steady", lambda: None)
        clock.at_next("steady", lambda: clock.pass_time(ANSWER_SECONDS + 1))
        with pytest.raises(StorageError, match="too late"):
            ask(source, "token")
        assert ask(source, "token"), "and is not kept either"
        assert len(server.requests) == 2


def test_a_connection_that_is_lost_is_no_answer_and_is_tried_once_more(ask: Way) -> None:
    with Scripted(CLOSE, ask.says(VALID)) as server:
        assert ask(Remote(server.url, key=KEY), "token")
    with Scripted(CLOSE) as server:
        with pytest.raises(StorageError):
            ask(Remote(server.url, key=KEY), "token")
        assert len(server.requests) == 2


def test_a_server_that_says_nothing_is_given_up(ask: Way) -> None:
    with Scripted(HANG) as server:
        with pytest.raises(StorageError):
            ask(Remote(server.url, key=KEY), "token")
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (problem(401, "unauthenticated"), UnauthenticatedError),
        (problem(503, "stale", Retry_After="1"), KeyturnError),
        (answer(200, "not JSON"), ConfigurationError),
        (answer(200, {}), ConfigurationError),
        (answer(200, {"items": []}), ConfigurationError),
        (answer(302, "", Location="http://127.0.0.1:1/"), KeyturnError),
        (answer(502, "<html>", content_type="text/html"), StorageError),
    ],
)
def test_anything_else_is_never_a_yes(ask: Way, said: bytes, error: type[KeyturnError]) -> None:
    with Scripted(said) as server:
        source = Remote(server.url, key=KEY)
        for _ in range(2):
            with pytest.raises(error):
                ask(source, "token")
        assert len(server.requests) == 2, "nor is it kept"


@pytest.mark.parametrize(
    "body", [{"valid": True}, {**VALID, "code": "revoked"}, {**VALID, "valid": False}, None]
)
def test_an_answer_that_contradicts_itself_is_never_a_yes(ask: Way, body: object) -> None:
    with Scripted(ask.says(body)) as server, pytest.raises(ConfigurationError):
        ask(Remote(server.url, key=KEY), "token")


def test_a_refusal_does_not_say_why_nobody_could_decide(caplog: pytest.LogCaptureFixture) -> None:
    with Scripted(problem(401, "unauthenticated")) as server:
        guard = Guard(server.url, key=KEY)
        for _ in range(3):
            with pytest.raises(RefusedError) as refused:
                guard.check(bearer("token"), NOTHING)
            assert (refused.value.refusal.status, refused.value.refusal.code) == (
                503,
                "verification_unavailable",
            )
    assert [record.levelname for record in caplog.records if record.name == "keyturn.integrations"] == [
        "ERROR"
    ]
    assert "it says do this" in caplog.text
    assert KEY not in caplog.text


# -- together


def several(source: Remote, *asked: tuple[str, Required]) -> list[Verification | BaseException]:
    """What each is answered of those that ask at the same time."""

    async def all_of_them() -> list[Verification | BaseException]:
        questions = (source.verify_async(token, required, IP) for token, required in asked)
        try:
            return await asyncio.gather(*questions, return_exceptions=True)
        finally:
            await source.aclose()

    return asyncio.run(all_of_them())


def test_questions_that_are_asked_at_once_travel_together_and_equal_ones_once() -> None:
    tokens = [f"token {number}" for number in range(MAX_TOGETHER + 20)]
    said = [{**VALID, "owner": token} for token in tokens]
    most, rest = said[:MAX_TOGETHER], said[MAX_TOGETHER:]
    with Scripted(answer(200, {"items": most}), answer(200, {"items": rest})) as server:
        found = several(Remote(server.url, key=KEY), *((token, NOTHING) for token in tokens + tokens))
        assert [each.owner for each in found if isinstance(each, Verification)] == tokens + tokens
        assert len(server.requests) == 2


def test_no_more_requests_are_under_way_than_a_few(served: Served) -> None:
    """Each requirement goes by itself, and there are more of them than requests may be."""
    guard = Guard(served.server.url, key=served.provision("keys.verify"))
    token, before = served.issue(permissions=["*"])["key"], served.open_sockets()

    async def all_of_them() -> list[Verification]:
        required = [Required.of(None, f"permission.{number}") for number in range(5 * MAX_REQUESTS)]
        found = await asyncio.gather(*(guard.check_async(bearer(token), each) for each in required))
        assert served.open_sockets() - before <= MAX_REQUESTS
        await guard.stop()
        return found

    assert all(asyncio.run(all_of_them()))


def test_what_goes_wrong_with_one_question_is_not_the_others_trouble() -> None:
    odd = {**VALID, "code": "from_the_future"}
    # What the server refuses as a whole has one requirement; an answer that makes no sense is one answer.
    said = answer(200, {"items": [VALID, odd, VALID]})

    def by_requirement(request: bytes) -> bytes:
        return problem(422, "invalid_request") if b'"scope":"read"' in request else said

    asked = ("refused", READ), ("a", NOTHING), ("odd", NOTHING), ("b", NOTHING)
    with Scripted(by_requirement) as server:
        refused, a, odd_one, b = several(Remote(server.url, key=KEY), *asked)
        assert isinstance(refused, InvalidInputError)
        assert isinstance(odd_one, ConfigurationError)
        assert isinstance(a, Verification)
        assert isinstance(b, Verification)


def test_one_who_gives_up_does_not_take_the_answer_from_another() -> None:
    async def one_gives_up(source: Remote) -> Verification:
        first, second = (asyncio.create_task(source.verify_async("token", NOTHING, IP)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        try:
            return await second
        finally:
            assert first.cancelled()
            await source.aclose()

    with Scripted(answer(200, {"items": [VALID]})) as server:
        assert asyncio.run(one_gives_up(Remote(server.url, key=KEY)))
        assert len(server.requests) == 1


def test_what_nobody_waits_for_any_more_is_neither_kept_nor_sent() -> None:
    """A server that hangs for a while must not find all that was asked meanwhile before what is asked now."""
    sent: list[str] = []

    async def say_nothing(questions: Sequence[Question]) -> list[Verification | KeyturnError]:
        sent.extend(question.token for question in questions)
        await released.wait()
        return [StorageError("it hung") for _ in questions]

    async def scene() -> None:
        together = Together(say_nothing)
        # Each requirement goes by itself: the first few are under way, and the others wait.
        busy = [asked(together, f"busy {each}", f"permission.{each}") for each in range(MAX_REQUESTS)]
        late = [asked(together, f"late {each}") for each in range(50)]
        patient = [asked(together, "late 7"), asked(together, "patient")]
        await asyncio.sleep(0.01)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        released.set()
        await asyncio.gather(*busy, *patient, return_exceptions=True)

    def asked(together: Together, token: str, permissions: str | None = None) -> asyncio.Task[Verification]:
        return asyncio.create_task(together.ask(Question(token, Required.of(None, permissions), IP)))

    released = asyncio.Event()
    asyncio.run(scene())
    assert sorted(sent) == sorted([*(f"busy {each}" for each in range(MAX_REQUESTS)), "late 7", "patient"])


# -- against a real server


def test_a_revoked_key_is_refused_at_its_very_next_request_where_each_is_asked_for(served: Served) -> None:
    guard = Guard(served.server.url, key=served.provision("keys.verify"), max_staleness=0)
    for _ in range(10):
        issued = served.issue()
        assert guard.check(bearer(issued["key"]), READ)
        served.act(issued["key_id"], "revoke").ok()
        with pytest.raises(RefusedError) as refused:
            guard.check(bearer(issued["key"]), READ)
        assert refused.value.refusal.code == "revoked"
    guard.close()


def test_two_hundred_at_once_share_a_few_connections(served: Served) -> None:
    guard = Guard(served.server.url, key=served.provision("keys.verify"), max_staleness=0)
    tokens = {f"owner {number}": served.issue(owner=f"owner {number}")["key"] for number in range(20)}
    before = served.open_sockets()

    async def on_a_loop(number: int) -> tuple[str, str | None]:
        owner = f"owner {number % 20}"
        return owner, (await guard.check_async(bearer(tokens[owner]), READ)).owner

    async def all_at_once() -> Counter[bool]:
        asked = asyncio.gather(*(on_a_loop(number) for number in range(200)))
        found = Counter(owner == said for owner, said in await asked)
        assert served.open_sockets() - before <= 64
        await guard.stop()
        return found

    def waiting(number: int) -> bool:
        owner = f"owner {number % 20}"
        return guard.check(bearer(tokens[owner]), READ).owner == owner

    assert asyncio.run(all_at_once()) == {True: 200}
    with ThreadPoolExecutor(40) as threads:
        assert Counter(threads.map(waiting, range(200))) == {True: 200}
    guard.close()


def test_a_guard_may_be_used_on_one_loop_after_another_and_after_it_was_closed(served: Served) -> None:
    guard = Guard(served.server.url, key=served.provision("keys.verify"))
    for number in range(3):
        token = served.issue(owner=f"loop {number}")["key"]

        async def once(token: str = token) -> str | None:
            found = await guard.check_async(bearer(token), READ)
            await guard.stop()
            return found.owner

        assert asyncio.run(once()) == f"loop {number}"
        assert guard.check(bearer(token), READ)
        guard.close()
