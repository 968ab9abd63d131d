"""What a refused request is answered: a status for every code, and a problem that says what to do."""

import json

import pytest

from keyturn.domain.verdict import Code
from keyturn.serving.refusals import (
    CONTENT_TYPE,
    NO_ADDRESS,
    NO_KEY,
    REFUSALS,
    TWO_KEYS,
    UNDECIDED,
    Refusal,
    RefusedError,
)

STATUSES = {
    401: {"malformed", "not_found", "not_yet_valid", "expired", "suspended", "revoked"},
    403: {"insufficient_scope", "insufficient_permissions", "ip_denied"},
    429: {"throttled", "rate_limited", "credits_exhausted"},
    503: {"stale", "integrity_failed"},
}
ALL = [*REFUSALS.values(), NO_KEY, TWO_KEYS, NO_ADDRESS, UNDECIDED]


def test_every_code_but_valid_is_refused_with_its_status() -> None:
    assert REFUSALS.keys() == set(Code) - {Code.VALID}
    found: dict[int, set[str]] = {status: set() for status in STATUSES}
    for code, refusal in REFUSALS.items():
        assert refusal.code == code.value
        found[refusal.status].add(code.value)
    assert found == STATUSES


@pytest.mark.parametrize("refusal", ALL, ids=lambda refusal: refusal.code)
def test_a_refusal_is_a_problem_that_says_what_to_do(refusal: Refusal) -> None:
    problem = json.loads(refusal.body)
    assert problem == {
        "type": f"urn:keyturn:problem:{refusal.code}",
        "title": refusal.phrase,
        "status": refusal.status,
        "detail": refusal.detail,
        "code": refusal.code,
        "fix": refusal.fix,
    }
    assert all(problem.values())
    fields = dict(refusal.fields)
    assert (fields["Content-Type"], fields["Content-Length"]) == (CONTENT_TYPE, str(len(refusal.body)))
    # RFC 9110, section 11.6.1: a 401 names a challenge.
    assert ("WWW-Authenticate" in fields) >= (refusal.status == 401)
    assert fields.get("WWW-Authenticate", "Bearer").startswith("Bearer")


def test_whoever_should_try_again_is_told_when() -> None:
    assert {refusal.code for refusal in ALL if ("Retry-After", "1") in refusal.headers} == {
        "rate_limited", "credits_exhausted", "throttled", "stale", "verification_unavailable",
    }  # fmt: skip


def test_the_error_carries_the_refusal() -> None:
    error = RefusedError(NO_KEY)
    assert error.refusal is NO_KEY
    assert str(error) == NO_KEY.detail
