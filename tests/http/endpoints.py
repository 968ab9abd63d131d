"""Everything that takes a body, and how to send it one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pytest

from tests.http.raw import Answer
from tests.http.served import Served

# Everything that takes a body.
ENDPOINTS: Final[Mapping[str, tuple[str, str]]] = {
    "issue": ("POST", "/v1/keys"),
    "issue many": ("POST", "/v1/keys/batch"),
    "update": ("PATCH", "/v1/keys/{key_id}"),
    "revoke": ("POST", "/v1/keys/{key_id}/revoke"),
    "suspend": ("POST", "/v1/keys/{key_id}/suspend"),
    "owner": ("POST", "/v1/owners/nobody/revoke"),
    "verify": ("POST", "/v1/verify"),
    "batch": ("POST", "/v1/verify/batch"),
}
LIMITS: Final = {"verify": 16_384}  # bytes of a body; a batch may have more than the 1 MiB of the others

every_endpoint = pytest.mark.parametrize("name", ENDPOINTS)


def send(served: Served, name: str, key_id: str, body: bytes, *fields: tuple[str, str]) -> Answer:
    """The answer to a body, whatever it is."""
    method, path = ENDPOINTS[name]
    return served.call(method, path.format(key_id=key_id), body, fields=fields)


def assert_withstood(answer: Answer) -> None:
    """No failure of the server, and a problem where it is a refusal."""
    assert answer.status < 500, answer
    if answer.status >= 400:
        answer.any_problem()
