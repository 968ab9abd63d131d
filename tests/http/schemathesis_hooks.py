"""What Schemathesis needs to know of Keyturn beyond its OpenAPI document. It imports this in a process of its own.

The document says which requests are well-formed; whether one can be meant depends at times on the present time, on
other fields, or on what is stored. Those reasons are listed here, and any other refusal of a request that keeps to the
document is a failure: of the document, or of the server.
"""

from __future__ import annotations

import os
import re
from typing import Any, Final

import schemathesis
from hypothesis import strategies as st

SPARED: Final = "SPARED_KEY_IDS"  # of the key that Schemathesis calls with, and of those that tests need
_UNKNOWN: Final = "key_" + "0" * 22

_TAGS: Final = st.from_regex(r'\A"[!#-~]{0,40}"\Z')
schemathesis.openapi.format(
    "etag", _TAGS | st.just("*") | st.lists(_TAGS, min_size=1, max_size=3).map(", ".join)
)

_OF_A_POLICY: Final = (
    "overlap|max_overlap|retire_unused_after|shares|dwell|pause_above|lead|requires_check|rollback_window|max_age"
    "|notices|blackouts|keys|types|scopes|owners|cron|time_zone|frequency|strategy|compromised"
)
# By the problem's code and the field that it names, what its detail says. List positions are left out of fields.
_EXCUSES: Final[tuple[tuple[str, str, str], ...]] = (
    # What is stored.
    ("precondition_failed", "", ""),
    ("idempotency_mismatch", "", ""),
    ("invalid_request", "cursor", "is not one that this list gave"),
    # The present time, and other fields.
    ("invalid_request", "expires_(in|at)", "exclude each other|in the past|a century away|not after not_before"),
    ("invalid_request", "expires_at|not_before|expires_before|unused_since|from|to", "that exists|1970 to 2255"),
    ("invalid_request", "to|from|period", "not after 'from'|at most 400 days|at most 1,500"),
    ("invalid_request", "length|algorithm", "^a (.* key|key of type .*) has "),
    ("invalid_request", "prefix|recoverable|profile", "has no prefix|for tokens|has no profile"),
    ("invalid_request", "expires_in", "for claims without exp"),
    ("invalid_request", "", "either data or claims|data and a signature, or a token"),
    ("invalid_request", "import", "hash|salt|start|scrypt|Argon2|PBKDF2"),
    ("invalid_request", "type|length|prefix", "only tokens of type|no length to choose|token has no prefix"),
    # To JSON Schema 60.0 is an integer.
    ("invalid_request", "expires_in|length|limit|lifetime|overlap|published_for", "should be a valid integer"),
    # Grammars of their own, of which a document's pattern says the outline.
    ("invalid_request", "allowed_ips|ip|permissions|profile|metadata|data|signature", ""),
    ("invalid_request", "claims", "seconds since 1970|deep|bytes"),
    ("invalid_request", "", "floats have no place|an integer lies outside|nest at most"),
    ("invalid_request", "owner", "no part that is '.' or '..'"),
    ("invalid_request", "key_id", ""),
    # What a policy or a rotation says depends on its strategy, on its frequency, and on the keys that there are.
    ("invalid_request", _OF_A_POLICY, ""),
    ("invalid_request", "", "there is nothing to change|a selection has a condition"),
    ("invalid_request", "key", "not the rotation's new token"),
    ("invalid_request", "published_for", "no public half"),
    # Where notices go and which public keys there are has grammars of its own; some events and all exclude each other.
    ("invalid_request", "url|receiver", ""),
    ("invalid_request", "events", "told of some events, or of all"),
    ("invalid_request", "signing", "webhooks are signed, and nothing else is"),
)  # fmt: skip


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Spare the key that calls: without it, all that follows would be refused."""
    if (case.path_parameters or {}).get("key_id") in os.environ.get(SPARED, "").split():
        case.path_parameters = {**case.path_parameters, "key_id": _UNKNOWN}


@schemathesis.check
def the_server_does_not_fail(context: Any, response: Any, case: Any) -> None:
    """In place of `not_a_server_error`, which does not know that RSA keys may have to be waited for."""
    if response.status_code >= 500 and response.json().get("code") != "pool_empty":
        raise AssertionError(
            f"{case.method} {case.path} was answered with {response.status_code}: {response.text}"
        )


@schemathesis.check
def schema_valid_requests_are_accepted(context: Any, response: Any, case: Any) -> None:
    """In place of `positive_data_acceptance`, which knows of no reasons."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    status = response.status_code
    if status < 400 or status in (401, 403, 404, 409, 429, 503):
        return
    problem = response.json()
    field = re.sub(r"^items\.[0-9]+\.?", "", re.sub(r"\.[0-9]+$", "", problem.get("field", "")))
    for code, fields, detail in _EXCUSES:
        if (
            problem["code"] == code
            and re.fullmatch(fields, field.partition(".")[0])
            and re.search(detail, problem["detail"])
        ):
            return
    raise AssertionError(f"refused, though it keeps to the document: {problem}")


@schemathesis.check
def nobody_is_let_in_without_a_key(context: Any, response: Any, case: Any) -> None:
    """Where Schemathesis has no key to call with."""
    is_open = {} in case.operation.definition.raw.get("security", [{}])
    if SPARED not in os.environ and not is_open and response.status_code < 400:
        raise AssertionError(f"{case.method} {case.path} was answered with {response.status_code}")
