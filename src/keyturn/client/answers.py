"""What the API answers: JSON as values of the library, and problems as its errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from keyturn.domain.bytestext import from_base64url
from keyturn.domain.instants import parse_rfc3339
from keyturn.domain.key import Algorithm, Key, KeyLength, KeyType
from keyturn.domain.lifecycle import KeyState, RevocationReason
from keyturn.domain.requirement import check_profile
from keyturn.domain.scope import KeyScope
from keyturn.domain.secret import Secret
from keyturn.domain.signature_check import SignatureCheck, SignatureCode
from keyturn.domain.verdict import Code, Verification
from keyturn.errors import (
    ConfigurationError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    KeyturnError,
    NotFoundError,
    PreconditionFailedError,
    StorageError,
    ThrottledError,
    UnauthenticatedError,
)
from keyturn.issuing.reading import KeyPage
from keyturn.signing.signer import Signature, SignedJwt

MAX_REPEATED: Final = 500  # characters of what a server says is wrong
_SUCCESS: Final = range(200, 300)
_FAILURE: Final = 500
_REDIRECTS: Final = range(300, 400)

_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedKey:
    """A new key.

    Attributes:
        metadata: what may be known of it.
        secret: its secret, this once; None for a key that has a public half.
        public_key: the public half, in PEM; None where there is none.
    """

    metadata: Key
    secret: Secret | None
    public_key: str | None = None

    @property
    def key_id(self) -> str:
        """Which key it is."""
        return self.metadata.key_id


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredKey:
    """What the answer to a verification says of the key behind a credential."""

    key_id: str
    version: int
    owner: str | None
    scope: KeyScope
    permissions: tuple[str, ...]
    metadata: Mapping[str, object]
    expires_at: datetime | None


def read(status: int, content: bytes) -> Any:
    """The JSON of an answer; the error that it says where it is no success."""
    if status not in _SUCCESS:
        raise error_of(status, content)
    try:
        return _parsed(content)
    except ValueError:
        raise _not_ours() from None


def _parsed(content: bytes) -> Any:
    """The JSON of an answer; ValueError for what is none, or nests deeper than any answer does."""
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def key_of(body: Any) -> Key:
    """A key's metadata."""
    return _reading(_key, body)


def issued_of(body: Any) -> IssuedKey:
    """A key as the answer shows it that makes it."""
    return _reading(_issued, body)


def verification_of(body: Any) -> Verification:
    """The answer to a verification. What does not read as one is an error, never a yes."""
    return _reading(_verification, body)


def signature_of(body: Any) -> Signature:
    """A signature over data."""
    return _reading(lambda said: Signature(from_base64url(said["signature"]), *_signed_by(said)), body)


def signed_jwt_of(body: Any) -> SignedJwt:
    """A signed token."""
    return _reading(lambda said: SignedJwt(str(said["token"]), *_signed_by(said)), body)


def signature_check_of(body: Any) -> SignatureCheck:
    """Whether a signature holds. What does not read as an answer is an error, never a yes."""
    return _reading(_signature_check, body)


def items_of(body: Any, read_item: Callable[[Any], _Read], *, count: int | None = None) -> list[_Read]:
    """The items of a list, or of a batch that has so many, in order."""
    items = [read_item(item) for item in _reading(lambda listed: list(listed["items"]), body)]
    if count is not None and len(items) != count:
        raise _not_ours()
    return items


def page_of(body: Any) -> KeyPage:
    """Some of the keys in a list."""
    return _reading(
        lambda listed: KeyPage(items=tuple(map(_key, listed["items"])), next_cursor=listed["next_cursor"]),
        body,
    )


def secret_of(body: Any) -> Secret:
    """A secret that is read back."""
    return _reading(lambda said: Secret(said["key"]), body)


def count_of(body: Any) -> int:
    """How many keys were revoked with their owner."""
    return _reading(lambda said: int(said["revoked"]), body)


def _reading(reader: Callable[[Any], _Read], body: Any) -> _Read:
    try:
        return reader(body)
    except (LookupError, TypeError, ValueError, AttributeError):
        raise _not_ours() from None


def _not_ours() -> ConfigurationError:
    return ConfigurationError(
        "the answer is not one that this client knows",
        fix="Check that the URL is that of a Keyturn server, and that this library is not older than the server.",
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else parse_rfc3339(text)


def _plain(value: Any) -> Any:
    return value


def _algorithm(name: str | None) -> Algorithm | None:
    return None if name is None else Algorithm(name)


# How each member of a key is read.
_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(
        (
            "key_id",
            "version",
            "tenant",
            "name",
            "owner",
            "prefix",
            "metadata",
            "recoverable",
            "rotation",
            "rotation_policy_id",
            "published_for",
        ),
        _plain,
    ),
    **dict.fromkeys(("permissions", "allowed_ips", "tags"), tuple),
    **dict.fromkeys(
        ("state_changed_at", "created_at", "updated_at", "not_before", "expires_at", "rotated_at"), _time
    ),
    "type": KeyType,
    "scope": KeyScope,
    "length": KeyLength,
    "algorithm": _algorithm,
    "profile": lambda profile: None if profile is None else check_profile(profile),
    "state": KeyState,
    "reason": lambda reason: None if reason is None else RevocationReason(reason),
}


def _key(body: Any) -> Key:
    return Key(**{name: reader(body[name]) for name, reader in _READERS.items()})


def _issued(body: Any) -> IssuedKey:
    secret = body.get("key")
    return IssuedKey(
        metadata=_key(body),
        secret=None if secret is None else Secret(secret),
        public_key=body.get("public_key"),
    )


def _verification(body: Any) -> Verification:
    code = Code(body["code"])
    if body["valid"] is not (code is Code.VALID):
        raise ValueError("an answer that contradicts itself")
    return Verification(code, body["as_of"], None if body["key_id"] is None else _answered(body))


def _signed_by(body: Any) -> tuple[str, int, Algorithm]:
    return body["key_id"], body["version"], Algorithm(body["algorithm"])


def _signature_check(body: Any) -> SignatureCheck:
    check = SignatureCheck(
        code=SignatureCode(body["code"]),
        key_id=body["key_id"],
        version=body["version"],
        algorithm=_algorithm(body["algorithm"]),
        claims=body["claims"],
    )
    if body["valid"] is not bool(check):
        raise ValueError("an answer that contradicts itself")
    return check


def _answered(body: Any) -> AnsweredKey:
    return AnsweredKey(
        key_id=body["key_id"],
        version=body["version"],
        owner=body["owner"],
        scope=KeyScope(body["scope"]),
        permissions=tuple(body["permissions"]),
        metadata=dict(body["metadata"]),
        expires_at=_time(body["expires_at"]),
    )


def _all_below(kind: type[KeyturnError]) -> list[type[KeyturnError]]:
    return [kind, *(lower for child in kind.__subclasses__() for lower in _all_below(child))]


# Those of the tree in keyturn.errors; other modules have kinds of their own below them, with the same codes.
_BY_CODE: Final = {
    kind.code: kind for kind in _all_below(KeyturnError) if kind.__module__ == KeyturnError.__module__
}
# For codes that this library has no error for: what a caller can do about it is the same.
_BY_STATUS: Final[Mapping[int, type[KeyturnError]]] = {
    401: UnauthenticatedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    412: PreconditionFailedError,
    429: ThrottledError,
}


def error_of(status: int, content: bytes) -> KeyturnError:
    """The error that a problem (RFC 9457) stands for, found by its `code`; by its status where that is not known."""
    if status in _REDIRECTS:
        # It is not followed, and what was sent was in order.
        return ConfigurationError(
            f"the server answered with status {status}, which sends callers to another URL",
            fix="Give the URL at which the Keyturn server itself answers; perhaps https:// in place of http://.",
        )
    problem = _problem(content)
    code, fix = problem.get("code", ""), problem.get("fix")
    message = problem.get("detail") or f"the server answered with status {status}"
    kind = _BY_CODE.get(code)
    if kind is None:
        kind = _kind_by(status)
        message += f" ({code})" if code else ""
    if issubclass(kind, InvalidInputError):
        return kind(message, field=problem.get("field", ""), fix=fix)
    return kind(message, fix=fix)


def _kind_by(status: int) -> type[KeyturnError]:
    if status >= _FAILURE:
        return StorageError
    return _BY_STATUS.get(status, InvalidInputError)


def _problem(content: bytes) -> dict[str, str]:
    """The texts of a problem; none of them where something else on the way has answered."""
    try:
        found = _parsed(content)
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: value[:MAX_REPEATED] for name, value in found.items() if isinstance(value, str)}
