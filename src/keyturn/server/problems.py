"""Errors as problem details (RFC 9457): the one place where an error becomes an HTTP status."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson

from keyturn.errors import (
    ConfigurationError,
    ConflictError,
    ForbiddenError,
    IdempotencyMismatchError,
    IllegalTransitionError,
    IntegrityError,
    InvalidInputError,
    KeyturnError,
    NotFoundError,
    NotRecoverableError,
    PoolEmptyError,
    PreconditionFailedError,
    StaleError,
    StorageError,
    ThrottledError,
    UnauthenticatedError,
)
from keyturn.server.calls import current

CONTENT_TYPE: Final = "application/problem+json"

_STATUSES: Final[tuple[tuple[type[KeyturnError], int], ...]] = (
    (InvalidInputError, 422),
    (UnauthenticatedError, 401),
    (ForbiddenError, 403),
    (NotFoundError, 404),
    (ConflictError, 409),
    (IllegalTransitionError, 409),
    (NotRecoverableError, 409),
    (PreconditionFailedError, 412),
    (IdempotencyMismatchError, 422),
    (ThrottledError, 429),
    (PoolEmptyError, 503),
    (IntegrityError, 503),
    (StaleError, 503),
    (StorageError, 503),
    (ConfigurationError, 503),
)


def status_of(error: KeyturnError) -> int:
    """The HTTP status of an error; 500 for one that should not get here."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


def headers_of(error: KeyturnError) -> dict[str, str]:
    """The headers that the status asks for."""
    match error:
        case UnauthenticatedError():
            return {"WWW-Authenticate": 'Bearer realm="keyturn"'}
        case ThrottledError() | PoolEmptyError():
            return {"Retry-After": str(error.retry_after)}
        case StaleError() | StorageError():
            return {"Retry-After": "1"}
        case _:
            return {}


def problem(status: int, code: str, detail: str, fix: str, **more: Any) -> dict[str, Any]:
    """A problem's members."""
    return {
        "type": f"urn:keyturn:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "fix": fix,
        **more,
    }


def problem_of(error: KeyturnError) -> dict[str, Any]:
    """The problem that an error is."""
    more = {"field": error.field} if isinstance(error, InvalidInputError) and error.field else {}
    return problem(status_of(error), error.code, str(error), error.fix, **more)


def encoded(members: Mapping[str, Any]) -> bytes:
    """A problem's bytes, with the id of the call that it answers, unless that is among the members already."""
    call = current()
    if call is not None and "request_id" not in members:
        members = {**members, "request_id": call.request_id}
    return orjson.dumps(members)


INTERNAL: Final = problem(
    500,
    "internal",
    "the server failed",
    "Look for the request_id in its log; the request may be tried again.",
)
STOPPING: Final = problem(503, "stopping", "the server is stopping", "Read the current state, and try again.")
