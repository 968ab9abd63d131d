"""The calls of the API as methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Unpack
from urllib.parse import quote

from keyturn.client.answers import (
    IssuedKey,
    count_of,
    issued_of,
    items_of,
    key_of,
    page_of,
    secret_of,
    signature_check_of,
    signature_of,
    signed_jwt_of,
    verification_of,
)
from keyturn.client.asking import KeyChanges, NewKey, Question, Wanted, written
from keyturn.client.sending import Call, Sender, is_visible, pool_settings
from keyturn.domain.bytestext import to_base64url
from keyturn.domain.ids import KEY, is_id
from keyturn.domain.key import Key as KeyMetadata
from keyturn.domain.lifecycle import RevocationReason
from keyturn.domain.scope import KeyScope
from keyturn.domain.secret import Secret
from keyturn.domain.signature_check import SignatureCheck
from keyturn.domain.verdict import Verification
from keyturn.errors import InvalidInputError
from keyturn.issuing.cursors import DEFAULT_LIMIT, MAX_LIMIT
from keyturn.issuing.reading import KeyPage
from keyturn.signing.signer import Signature, SignedJwt

DEFAULT_TIMEOUT: Final = 10.0  # seconds
MAX_TOGETHER: Final = 1_000  # verifications in one request

_VISIBLE: Final = {
    "idempotency_key": "Use a UUID, as text.",
    "if_match": "Give what get_key_with_etag returned.",
}


class Client:
    """Calls a Keyturn server. Safe to use from several threads; close it, or use it as a context manager.

        with Client("https://keys.example.com", provisioning_key) as client:
            for key in client.iterate_keys(owner="acme"): ...

    Every method raises KeyturnError, of the kind that the server's problem names, with its `fix`: NotFoundError,
    ForbiddenError, ConflictError ... StorageError means that the server was not reached; OutcomeUnknownError that the
    answer to a change was lost, so that it may have been made. Connections that fail are tried again, at most twice,
    and so is a 503 that names a time, for calls that change nothing.

    Args:
        url: the server's, such as ``https://keys.example.com``.
        key: a provisioning key that holds what the calls need.
        timeout: seconds that one attempt may take.
    """

    def __init__(self, url: str, key: str | Secret, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        self._sender = Sender(pool_settings(url, key, timeout), timeout)

    def close(self) -> None:
        """Close the connections."""
        self._sender.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- keys

    def issue_key(self, *, idempotency_key: str | None = None, **wanted: Unpack[NewKey]) -> IssuedKey:
        """Issue a key; its secret is in this answer and in no other.

        `type`, `scope`, `length` (bits), `algorithm`, `name`, `owner`, `prefix`, `expires_in` (seconds) or
        `expires_at`, `not_before`, `permissions`, `allowed_ips`, `metadata`, `tags`, `recoverable`, `profile`: what is
        not named is as the server has it for a key of the type.

        With an `idempotency_key`, a text of your own for this one act, a second call gives the first one's answer.

        >>> client.issue_key(owner="acme", scope=KeyScope.READ, expires_in=86_400)        # doctest: +SKIP
        """
        return issued_of(self._change("/v1/keys", written(wanted), idempotency_key))

    def issue_keys(self, wanted: Sequence[NewKey], *, idempotency_key: str | None = None) -> list[IssuedKey]:
        """Issue up to 1,000 keys, all or none."""
        body = {"items": [written(each) for each in wanted]}
        return items_of(self._change("/v1/keys/batch", body, idempotency_key), issued_of)

    def get_key(self, key_id: str) -> KeyMetadata:
        """A key's metadata."""
        return key_of(self._read(_path(key_id)))

    def get_key_with_etag(self, key_id: str) -> tuple[KeyMetadata, str]:
        """The same, and an ETag: with it `update_key` changes the key only while it is as it was read."""
        body, etag = self._sender.send_tagged(Call(method="GET", path=_path(key_id), is_safe=True))
        return key_of(body), etag

    def list_keys(
        self, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None, **matching: Unpack[Wanted]
    ) -> KeyPage:
        """Keys, newest first, up to `limit` (1 to 1,000); the page's `next_cursor` leads on to those after them.

        Those that match `owner`, `type`, `scope`, `state`, `tag`, `prefix`, `expires_before`, `unused_since` and `q`, a
        part of the name, the key_id or the owner.
        """
        query = {name: str(written(value)) for name, value in matching.items()} | {"limit": str(limit)}
        if cursor is not None:
            query["cursor"] = cursor
        return page_of(self._read("/v1/keys", query))

    def iterate_keys(self, **matching: Unpack[Wanted]) -> Iterator[KeyMetadata]:
        """All keys that match, as for `list_keys`, newest first, fetched a page at a time."""
        cursor: str | None = None
        while True:
            page = self.list_keys(limit=MAX_LIMIT, cursor=cursor, **matching)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def update_key(
        self, key_id: str, *, if_match: str | None = None, **changes: Unpack[KeyChanges]
    ) -> KeyMetadata:
        """Change a key's policy: what is not named stays, None clears.

        `name`, `scope`, `permissions`, `allowed_ips`, `metadata`, `tags`, `profile`, `not_before`, and `expires_at` or
        `expires_in`. With an ETag as `if_match`, PreconditionFailedError where somebody was first.
        """
        headers = {} if if_match is None else {"If-Match": _visible("if_match", if_match)}
        path, body = _path(key_id), written(changes)
        call = Call(method="PATCH", path=path, body=body, headers=headers, is_safe=False)
        return key_of(self._sender.send(call))

    def revoke_key(
        self,
        key_id: str,
        reason: RevocationReason | str = RevocationReason.UNSPECIFIED,
        *,
        note: str | None = None,
    ) -> KeyMetadata:
        """Refuse a key for good: on the server when this returns, on every other within its bound."""
        return self._act(key_id, "revoke", reason=reason, note=note)

    def suspend_key(
        self, key_id: str, reason: RevocationReason | str | None = None, *, note: str | None = None
    ) -> KeyMetadata:
        """Refuse a key until it is resumed."""
        return self._act(key_id, "suspend", reason=reason, note=note)

    def resume_key(
        self, key_id: str, reason: RevocationReason | str | None = None, *, note: str | None = None
    ) -> KeyMetadata:
        """Accept a suspended key again."""
        return self._act(key_id, "resume", reason=reason, note=note)

    def destroy_key(self, key_id: str, *, note: str | None = None) -> KeyMetadata:
        """Destroy a key's material; its metadata and its history stay."""
        return self._act(key_id, "destroy", note=note)

    def revoke_owner(
        self,
        owner: str,
        reason: RevocationReason | str = RevocationReason.UNSPECIFIED,
        *,
        note: str | None = None,
    ) -> int:
        """Revoke every key that the owner has now, at once, in one commit; returns how many there were to follow."""
        # A dot would be taken for a step in the path.
        path = f"/v1/owners/{quote(owner, safe='').replace('.', '%2E')}/revoke"
        return count_of(self._change(path, _named({"reason": reason, "note": note})))

    def list_versions(self, key_id: str) -> list[dict[str, Any]]:
        """The versions of a key with their states, newest first, as the API shows them."""
        found: list[dict[str, Any]] = []
        query = {"limit": str(MAX_LIMIT)}
        while True:
            body = self._read(_path(key_id, "versions"), query)
            found += items_of(body, dict)
            if not body.get("next_cursor"):
                return found
            query["cursor"] = body["next_cursor"]

    def get_usage(
        self,
        key_id: str,
        *,
        period: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> dict[str, Any]:
        """Uses and refusals of a key by `period` (``minute``, ``hour``, ``day``), as the API shows them."""
        asked = {"period": period, "from": since, "to": until}
        return dict(self._read(_path(key_id, "usage"), _named(asked)))

    def get_secret(self, key_id: str) -> Secret:
        """The material of a key whose material may come back; handing it out is an entry in the log."""
        return secret_of(self._read(_path(key_id, "secret")))

    # -- verification

    def verify(
        self,
        token: str | Secret,
        *,
        scope: KeyScope | None = None,
        permissions: str | None = None,
        ip: str | None = None,
    ) -> Verification:
        """Whether what a client presented is good for what it asks; `SecureKeyStore.authenticate` says more of it.

        The answer is a Verification, true when valid. What the server cannot decide is refused, as ``stale`` or
        ``integrity_failed``; it raises for a call that makes no sense and where the server is not reached.
        """
        asked = {"key": token, "scope": scope, "permissions": permissions, "ip": ip}
        return verification_of(self._ask("/v1/verify", _named(asked)))

    def verify_many(self, questions: Sequence[Question]) -> list[Verification]:
        """As `verify`, for any number, in requests of 1,000; answered in order.

        >>> client.verify_many([{"key": presented, "scope": KeyScope.READ}])        # doctest: +SKIP
        """
        answers: list[Verification] = []
        for start in range(0, len(questions), MAX_TOGETHER):
            some = list(questions[start : start + MAX_TOGETHER])
            body = self._ask("/v1/verify/batch", {"items": some})
            answers += items_of(body, verification_of, count=len(some))
        return answers

    # -- signatures

    def sign(self, key_id: str, data: bytes) -> Signature:
        """A signature over up to 512 KiB with an HMAC, RSA or ECDSA key whose scope has write."""
        return signature_of(self._ask(_path(key_id, "sign"), {"data": to_base64url(data)}))

    def verify_signature(
        self, key_id: str, data: bytes, signature: bytes, *, version: int | None = None
    ) -> SignatureCheck:
        """Whether a signature over data is the key's: by its present version, or by the one that is named."""
        asked = {"data": to_base64url(data), "signature": to_base64url(signature), "version": version}
        return signature_check_of(self._ask(_path(key_id, "verify-signature"), _named(asked)))

    def sign_jwt(
        self,
        key_id: str,
        claims: Mapping[str, Any],
        *,
        expires_in: int | None = None,
        issuer: str | None = None,
        audience: str | None = None,
        typ: str | None = None,
    ) -> SignedJwt:
        """A JSON Web Token with these claims, signed by a JWT key; `expires_in` is in seconds."""
        asked = {
            "claims": claims,
            "expires_in": expires_in,
            "issuer": issuer,
            "audience": audience,
            "typ": typ,
        }
        return signed_jwt_of(self._ask(_path(key_id, "sign"), _named(asked)))

    def verify_jwt(
        self,
        key_id: str,
        token: str,
        *,
        issuer: str | None = None,
        audience: str | None = None,
        typ: str | None = None,
    ) -> SignatureCheck:
        """Whether a token was signed by this key, is in its time, and is meant: as for `SecureKeyStore.verify_jwt`."""
        asked = {"token": token, "issuer": issuer, "audience": audience, "typ": typ}
        return signature_check_of(self._ask(_path(key_id, "verify-signature"), _named(asked)))

    # -- sending

    def _read(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        return self._sender.send(Call(method="GET", path=path, query=query or {}, is_safe=True))

    def _ask(self, path: str, body: object) -> Any:
        return self._sender.send(Call(method="POST", path=path, body=written(body), is_safe=True))

    def _change(self, path: str, body: object, idempotency_key: str | None = None) -> Any:
        key = idempotency_key
        headers = {} if key is None else {"Idempotency-Key": _visible("idempotency_key", key)}
        return self._sender.send(Call(method="POST", path=path, body=body, headers=headers, is_safe=False))

    def _act(self, key_id: str, act: str, **why: object) -> KeyMetadata:
        return key_of(self._change(_path(key_id, act), _named(why)))


def _path(key_id: str, *more: str) -> str:
    """The path of a key. What is no id could lead to another one."""
    if not isinstance(key_id, str) or not is_id(KEY, key_id):
        raise InvalidInputError(
            "not a key_id",
            field="key_id",
            fix="A key_id is 'key_' and 22 letters and digits, such as key.key_id.",
        )
    return "/".join(("/v1/keys", key_id, *more))


def _named(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked for, as the API writes it; what is None is left out."""
    return {name: written(value) for name, value in asked.items() if value is not None}


def _visible(field: str, text: str) -> str:
    if not is_visible(text.encode()):
        raise InvalidInputError(f"{field} is visible ASCII", field=field, fix=_VISIBLE[field])
    return text
