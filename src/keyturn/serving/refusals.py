"""What a verification's code means over HTTP to whoever presented the key: a status, and a problem (RFC 9457)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from keyturn.domain.verdict import Code

CONTENT_TYPE: Final = "application/problem+json"

Field = tuple[str, str]

# RFC 6750, section 3.1.
_BAD_TOKEN: Final = 'error="invalid_token"'
_TOO_LITTLE: Final = 'error="insufficient_scope"'

_AS_ISSUED: Final = "Send the whole key, as it was issued."
_ANOTHER: Final = "Use another key, or ask who issued this one."
_NO_GUESSING: Final = "Wait for the time in Retry-After, and stop sending keys that are refused."
_TELL: Final = "Tell whoever runs this service."


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a request does not pass.

    Attributes:
        challenge: parameters of the Bearer challenge that the answer has; None where it has none.
        retry_after: seconds after which to try again; None where waiting may not help.
    """

    status: int
    code: str
    detail: str
    fix: str
    challenge: str | None = None
    retry_after: int | None = None

    def headers_in(self, realm: str) -> tuple[Field, ...]:
        """The fields that the status asks for, beside the body's own, of a service with this name; empty for none."""
        found = []
        if self.challenge is not None:
            parameters = filter(None, (f'realm="{realm}"' if realm else "", self.challenge))
            found.append(("WWW-Authenticate", f"Bearer {', '.join(parameters)}".rstrip()))
        if self.retry_after is not None:
            found.append(("Retry-After", str(self.retry_after)))
        return tuple(found)

    @property
    def headers(self) -> tuple[Field, ...]:
        """The same, where no name is known."""
        return self.headers_in("")

    @property
    def phrase(self) -> str:
        """The status in words."""
        return HTTPStatus(self.status).phrase

    @property
    def problem(self) -> dict[str, object]:
        """The members of the problem."""
        return {
            "type": f"urn:keyturn:problem:{self.code}",
            "title": self.phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "fix": self.fix,
        }

    @property
    def body(self) -> bytes:
        """The problem as JSON."""
        return json.dumps(self.problem, separators=(",", ":")).encode()

    @property
    def fields(self) -> list[Field]:
        """All header fields of the answer."""
        return [("Content-Type", CONTENT_TYPE), ("Content-Length", str(len(self.body))), *self.headers]


class RefusedError(Exception):
    """A request does not pass; `refusal` is what to answer."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal


NO_KEY: Final = Refusal(
    status=401,
    code="unauthenticated",
    detail="the request carries no key",
    fix="Send one as 'Authorization: Bearer <key>', or as X-API-Key.",
    challenge="",
)
TWO_KEYS: Final = Refusal(
    status=400, code="two_credentials", detail="the request carries two different keys", fix="Send one key."
)
NO_ADDRESS: Final = Refusal(
    status=400,
    code="malformed_forwarded_for",
    detail="the proxy's X-Forwarded-For is no list of addresses",
    fix="Have the proxy append the client's address, without a port: 203.0.113.9 or 2001:db8::1.",
)
UNDECIDED: Final = Refusal(
    status=503,
    code="verification_unavailable",
    detail="keys cannot be verified at present",
    fix="Try again shortly; if it lasts, tell whoever runs this service.",
    retry_after=1,
)


def _of(
    status: int, code: Code, detail: str, fix: str, *, challenge: str | None = None, again: int | None = None
) -> Refusal:
    return Refusal(
        status=status, code=code.value, detail=detail, fix=fix, challenge=challenge, retry_after=again
    )


def _bad(code: Code, detail: str, fix: str) -> Refusal:
    return _of(401, code, detail, fix, challenge=_BAD_TOKEN)


_ALL: Final = (
    _bad(Code.MALFORMED, "what was sent is no key of this service", _AS_ISSUED),
    _bad(Code.NOT_FOUND, "the key is not known", _AS_ISSUED),
    _bad(Code.NOT_YET_VALID, "the key is not valid yet", "Wait until it is, or use another key."),
    _bad(Code.EXPIRED, "the key has expired", _ANOTHER),
    _bad(Code.SUSPENDED, "the key is suspended", _ANOTHER),
    _bad(Code.REVOKED, "the key was revoked", _ANOTHER),
    _of(403, Code.INSUFFICIENT_SCOPE, "the key's scope does not cover this", _ANOTHER, challenge=_TOO_LITTLE),
    _of(
        403,
        Code.INSUFFICIENT_PERMISSIONS,
        "the key lacks a permission for this",
        _ANOTHER,
        challenge=_TOO_LITTLE,
    ),
    _of(403, Code.IP_DENIED, "the key may not be used from this address", "Call from where it may be used."),
    _of(429, Code.RATE_LIMITED, "the key is used too often", "Wait for the time in Retry-After.", again=1),
    _of(
        429,
        Code.CREDITS_EXHAUSTED,
        "the key's credits are used up",
        "Ask whoever issued it for more.",
        again=1,
    ),
    _of(429, Code.THROTTLED, "too many keys from this address were refused", _NO_GUESSING, again=1),
    _of(
        503,
        Code.STALE,
        "it is not known recently enough whether the key holds",
        "Try again shortly.",
        again=1,
    ),
    _of(503, Code.INTEGRITY_FAILED, "what is stored of the key is not what was written", _TELL),
)
REFUSALS: Final = {Code(refusal.code): refusal for refusal in _ALL}
