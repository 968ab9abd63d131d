"""Answers of a server are used again within their bound, in bounded memory, and never when they may be wrong."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keyturn.client.answers import AnsweredKey
from keyturn.domain.scope import KeyScope
from keyturn.domain.verdict import Code, Verification
from keyturn.integrations.answers import MAX_REFUSED, MAX_VALID, Answers, Asked
from keyturn.integrations.required import Required
from tests.fakes import BEGINNING, ManualClock

BOUND = 1.0
READ = Required.of("read", None)
PASSING = [Code.STALE, Code.INTEGRITY_FAILED, Code.THROTTLED, Code.RATE_LIMITED, Code.CREDITS_EXHAUSTED]


def key(expires_in: float | None = None) -> AnsweredKey:
    return AnsweredKey(
        key_id="key_x", version=1, owner=None, scope=KeyScope.READ, permissions=(), metadata={},
        expires_at=None if expires_in is None else BEGINNING + timedelta(seconds=expires_in),
    )  # fmt: skip


def said(code: Code, expires_in: float | None = None) -> Verification:
    return Verification(code, "log:1", key(expires_in))


def asked(token: str = "token", ip: str | None = None, required: Required = READ) -> Asked:
    return Asked.of(token, required, ip)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def answers(clock: ManualClock) -> Answers:
    return Answers(BOUND, clock)


@pytest.mark.parametrize("code", [code for code in Code if code not in PASSING])
def test_an_answer_is_used_within_the_bound_and_not_beyond_it(
    code: Code, answers: Answers, clock: ManualClock
) -> None:
    at = clock.steady()
    answer = said(code)
    answers.keep(asked(), answer, at)
    clock.set_steady(at + BOUND)
    assert answers.find(asked()) is answer
    assert answers.find(asked()) is None, "the bound has passed by a tick"


def test_an_answer_counts_from_before_it_was_asked_for(answers: Answers, clock: ManualClock) -> None:
    at = clock.steady()
    clock.pass_time(BOUND)  # so long was it on its way
    answers.keep(asked(), said(Code.VALID), at)
    assert answers.find(asked()) is None


def test_a_pause_between_the_look_and_the_answer_does_not_make_it_last(
    answers: Answers, clock: ManualClock
) -> None:
    """The process is stopped after it has found what it kept."""
    answers.keep(asked(), said(Code.VALID, expires_in=60), clock.steady())
    clock.at_next("now", lambda: clock.pass_time(BOUND))
    assert answers.find(asked()) is None


@pytest.mark.parametrize("code", PASSING)
def test_what_may_pass_in_a_moment_is_not_kept(code: Code, answers: Answers, clock: ManualClock) -> None:
    answers.keep(asked(), said(code), clock.steady())
    assert answers.find(asked()) is None


def test_another_question_is_not_answered(answers: Answers, clock: ManualClock) -> None:
    answers.keep(asked(ip="203.0.113.9"), said(Code.VALID), clock.steady())
    assert answers.find(asked(ip="203.0.113.9"))
    for other in (
        asked(), asked(ip="203.0.113.8"), asked("another", ip="203.0.113.9"),
        asked(ip="203.0.113.9", required=Required.of("write", None)),
        asked(ip="203.0.113.9", required=Required.of("read", "documents.read")),
    ):  # fmt: skip
        assert answers.find(other) is None


def test_a_key_that_expires_meanwhile_is_not_valid_any_more(answers: Answers, clock: ManualClock) -> None:
    answers.keep(asked(), said(Code.VALID, expires_in=0.5), clock.steady())
    assert answers.find(asked())
    clock.pass_time(0.5)
    assert answers.find(asked()) is None


def test_the_later_answer_stays_whichever_comes_first(answers: Answers, clock: ManualClock) -> None:
    """Two requests are under way at once, and between them the key is revoked."""
    early, late = clock.steady(), clock.steady()
    answers.keep(asked("a"), said(Code.REVOKED), late)
    answers.keep(asked("a"), said(Code.VALID), early)
    answers.keep(asked("b"), said(Code.VALID), early)
    answers.keep(asked("b"), said(Code.REVOKED), late)
    for token in ("a", "b"):
        found = answers.find(asked(token))
        assert found is not None
        assert found.code == "revoked"


def test_memory_is_bounded_and_refusals_take_no_room_from_valid_keys(
    answers: Answers, clock: ManualClock
) -> None:
    at = clock.steady()
    answers.keep(asked("good"), said(Code.VALID), at)
    for number in range(MAX_REFUSED * 2):
        answers.keep(asked(f"guess {number}"), Verification(Code.NOT_FOUND, "log:1"), at)
    assert answers.find(asked("good"))
    assert answers.find(asked("guess 0")) is None, "the oldest go first"
    assert answers.find(asked(f"guess {MAX_REFUSED * 2 - 1}")) is not None
    assert len(answers._refused) == MAX_REFUSED
    for number in range(MAX_VALID + 10):
        answers.keep(asked(f"other {number}"), said(Code.VALID), at)
    assert len(answers._valid) == MAX_VALID


def test_tokens_are_not_kept(answers: Answers, clock: ManualClock) -> None:
    answers.keep(asked("kt_a_secret"), said(Code.VALID), clock.steady())
    assert "kt_a_secret" not in repr(vars(answers))
