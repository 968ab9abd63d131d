"""Keeping and checking keys.

store = SecureKeyStore(storage_backend="local", encryption_key=key)
store.store_key(api_key)

verification = store.authenticate(presented, scope=KeyScope.READ, ip="203.0.113.9")
if verification: ...                    # truth is validity; .code says why not

store.revoke_key(api_key.key_id)        # refused here when this returns, elsewhere within a second
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn, cast

from keyturn.announcing.announcer import Announcer
from keyturn.audit.trail import KeyUsageEvent
from keyturn.audit.usage import UsageStatistics
from keyturn.bootstrap import Node
from keyturn.domain.fields import check_tenant
from keyturn.domain.foreign import ImportedToken
from keyturn.domain.ids import DEFAULT_TENANT, KEY, SYSTEM_TENANT, is_id
from keyturn.domain.key import Key as KeyMetadata
from keyturn.domain.key import KeyType
from keyturn.domain.lifecycle import KeyState, RevocationReason, parse_reason
from keyturn.domain.network import check_address
from keyturn.domain.principal import LIBRARY_ACTOR, Principal
from keyturn.domain.scope import KeyScope
from keyturn.domain.secret import Secret
from keyturn.domain.signature_check import SignatureCheck
from keyturn.domain.spec import GeneratedKey
from keyturn.domain.verdict import KeyCheck, Verification
from keyturn.errors import (
    ConfigurationError,
    IllegalTransitionError,
    InvalidInputError,
    NotFoundError,
    StorageError,
    shown,
)
from keyturn.issuing.cursors import DEFAULT_LIMIT
from keyturn.issuing.reading import KeyFilter, KeyPage
from keyturn.notices.services import NoticeServices
from keyturn.opening import file_url, node_at
from keyturn.rotation.services import RotationServices
from keyturn.signing.jwt import DEFAULT_TYP
from keyturn.signing.signer import Signature, SignedJwt
from keyturn.verifier.decision import Demand
from keyturn.verifier.status import status

__all__ = [
    "KeyCheck",
    "KeyMetadata",
    "KeyPage",
    "KeyState",
    "KeyUsageEvent",
    "RetrievedKey",
    "RevocationReason",
    "SecureKeyStore",
    "UsageStatistics",
    "Verification",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievedKey:
    """A key's metadata, and its secret where that may come back; None for a token that is not recoverable."""

    metadata: KeyMetadata
    secret: Secret | None


class SecureKeyStore:
    """A store of keys in this process: on a file with nothing to set up, or on a database by URL.

    Safe to use from several threads; several processes may open the same store. Close it, or use it as a context
    manager, so that counted uses are written; at the latest they are when the program ends.

    Args:
        storage_backend: ``local``, a file of SQLite.
        encryption_key: the key-encryption key: 32 bytes, or ``base64:…``, ``hex:…`` or ``passphrase:…``. Keep it away
            from the data: without it the store cannot be opened.
        path: the file; when absent, ``keyturn.db`` in the data directory.
        tenant: the namespace that this object works in.
        max_staleness: seconds within which a revocation made by another process holds in this one;
            KEYTURN_MAX_STALENESS, or 1, where it is absent.

    Raises:
        WrongKekError: the store was made with another key.
        IntegrityError: the store is not as it was written.
        StorageError: it cannot be read or written.
    """

    def __init__(
        self,
        storage_backend: str = "local",
        encryption_key: bytes | str | Secret | None = None,
        *,
        path: str | Path | None = None,
        tenant: str = DEFAULT_TENANT,
        max_staleness: float | None = None,
    ) -> None:
        if storage_backend != "local":
            raise ConfigurationError(
                f"unknown storage backend {shown(storage_backend)}",
                fix="Use 'local', or SecureKeyStore.open with the URL of a database.",
            )
        self._open(file_url(path), encryption_key, tenant, max_staleness)

    @classmethod
    def open(
        cls,
        url: str,
        encryption_key: bytes | str | Secret | None = None,
        *,
        tenant: str = DEFAULT_TENANT,
        max_staleness: float | None = None,
    ) -> SecureKeyStore:
        """A store by URL, such as ``postgresql://…``, which ``keyturn init`` has prepared; SchemaError otherwise."""
        store = cls.__new__(cls)
        store._open(url, encryption_key, tenant, max_staleness)  # noqa: SLF001 - a named constructor of this class
        return store

    def _open(
        self, url: str, encryption_key: bytes | str | Secret | None, tenant: str, max_staleness: float | None
    ) -> None:
        principal = Principal(actor=LIBRARY_ACTOR, tenant=check_tenant(tenant))
        self._begin(node_at(url, encryption_key, max_staleness), principal)

    @classmethod
    def over(cls, node: Node, *, tenant: str = DEFAULT_TENANT) -> SecureKeyStore:
        """A store on a node that somebody else has opened and will close: to close the store leaves it open."""
        store = cls.__new__(cls)
        store._begin(node, Principal(actor=LIBRARY_ACTOR, tenant=check_tenant(tenant)))  # noqa: SLF001 - as above
        store._close.detach()  # noqa: SLF001
        return store

    def _begin(self, node: Node, principal: Principal) -> None:
        self._node = node
        self._principal = principal
        self._verifier = node.verifier
        self._recorder = node.recorder
        self._clock = node.clock
        self._close = weakref.finalize(self, node.close)

    def close(self) -> None:
        """Write what has been counted and let the store go; every other call then raises StorageError."""
        self._node = self._verifier = self._recorder = self._clock = cast("Any", _CLOSED)
        self._close()

    def __enter__(self) -> SecureKeyStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def authenticate(
        self,
        token: str | Secret,
        *,
        scope: KeyScope | None = None,
        permissions: str | None = None,
        ip: str | None = None,
    ) -> Verification:
        """Whether what a client presented is good for what it asks.

        Args:
            token: the whole token.
            scope: the key's scope must cover it.
            permissions: what its grants must meet: names with AND, OR, NOT and parentheses.
            ip: the client's address, for keys that allow only some; such a key is refused without it.

        Returns:
            A Verification: true when valid; `code` says why it is not. What cannot be decided is refused, as ``stale``
            or ``integrity_failed``. It raises only for a call that makes no sense: InvalidInputError, or StorageError
            once the store is closed.

        About once a second it also writes what was counted, for which it waits a tenth of a second on a file, and a
        quarter on a database, if others hold it; then it tries again two seconds later.
        """
        text = token if type(token) is str else _presented(token)
        if ip is not None:
            check_address(ip)
        try:
            demand = _demand(self._principal.tenant, scope, permissions)
        except TypeError:  # what cannot be looked up is not of the right kind
            demand = Demand.of(tenant=self._principal.tenant, scope=scope, permissions=permissions)
        verifier = self._verifier
        outcome = verifier.decide(text, demand, ip)
        if type(outcome) is not Verification:
            outcome = verifier.authenticate(text, demand, ip)
        if verifier.asked_at >= self._recorder.due_at:
            self._recorder.tick_in_passing()
        return outcome

    def store_key(self, key: GeneratedKey | ImportedToken) -> KeyMetadata:
        """Keep a generated key, or an imported token: from now on it verifies. ConflictError if it is kept already."""
        return self._node.issuer.issue(key, self._principal)

    def store_keys(self, keys: Sequence[GeneratedKey | ImportedToken]) -> list[KeyMetadata]:
        """Keep 1 to 1,000 generated keys or imported tokens, all or none."""
        return self._node.issuer.issue_all(keys, self._principal)

    def rotation(self) -> tuple[RotationServices, Principal]:
        """What a `keyturn.key_rotator.KeyRotator` works with, and on whose behalf."""
        return self._node.rotation, self._principal

    def notices(self) -> tuple[NoticeServices, Principal]:
        """What a `keyturn.key_notices.KeyNotices` works with, and on whose behalf."""
        return self._node.notices, self._principal

    def announcer(self) -> Announcer:
        """What a `keyturn.key_rotator.KeyRotator` announces with, for every tenant."""
        return self._node.announcer

    def retrieve_key(self, key_id: str) -> RetrievedKey:
        """A key's metadata, and its secret where it may come back; handing that out is an entry in the log.

        A token's secret comes back only if it was issued as recoverable, and no key's once it does not serve any more.
        """
        metadata = self._node.reader.get(key_id, self._principal)
        if metadata.type.is_token and not metadata.recoverable:
            return RetrievedKey(metadata=metadata, secret=None)
        try:
            secret = self._node.reader.material(key_id, self._principal).secret
        except IllegalTransitionError:
            return RetrievedKey(metadata=metadata, secret=None)
        return RetrievedKey(metadata=metadata, secret=secret)

    def verify_key(self, key_id: str) -> KeyCheck:
        """The status of a key that you hold by id. It says nothing of possession: anyone may know a key_id.

        For what a client presented use `authenticate`. ValueError for anything but a key_id.

        >>> is_valid, message = store.verify_key(api_key.key_id)        # doctest: +SKIP
        """
        if not isinstance(key_id, str) or not is_id(KEY, key_id):
            raise InvalidInputError(
                "verify_key takes a key_id, 'key_' and 22 letters and digits",
                field="key_id",
                fix="To check a token that a client presented, use authenticate(token).",
            )
        try:
            key, version, owner = self._node.reader.parts(key_id, self._principal)
        except NotFoundError:
            return KeyCheck(False, "there is no such key")
        return status(key, version, owner, self._clock.nanos())

    def sign(self, key_id: str, data: bytes) -> Signature:
        """A signature over up to 512 KiB with an HMAC, RSA or ECDSA key whose scope has write.

        >>> store.sign(key_id, b"the bytes").value        # doctest: +SKIP
        """
        return self._node.signer.sign(key_id, data, self._principal)

    def verify_signature(
        self, key_id: str, data: bytes, signature: bytes, *, version: int | None = None
    ) -> SignatureCheck:
        """Whether a signature over data is the key's: by the version that is named, or else by the one that serves.

        While a rotation lets both of its versions verify, a signature by either is the key's. What was signed before
        the key was revoked still verifies, unless the reason was keyCompromise.
        """
        return self._node.signer.verify(key_id, data, signature, self._principal, version=version)

    def sign_jwt(
        self,
        key_id: str,
        claims: Mapping[str, Any],
        *,
        expires_in: int | None = None,
        issuer: str | None = None,
        audience: str | None = None,
        typ: str = DEFAULT_TYP,
    ) -> SignedJwt:
        """A JSON Web Token with these claims, signed by a JWT key.

        Args:
            key_id: a key of type JWT whose scope has write.
            claims: an object of JSON, at most 8 KiB; `iat` is added.
            expires_in: seconds from now, as `exp`; for a published key at most its `published_for`, and that if absent.
            issuer: who says so, as `iss`.
            audience: whom it is for, as `aud`.
            typ: what sort of token it is, such as ``at+jwt``, so that no other sort passes for it.

        >>> store.sign_jwt(key_id, {"sub": "ada"}, expires_in=600, issuer="https://a.example",
        ...                audience="https://b.example", typ="at+jwt").token        # doctest: +SKIP
        """
        return self._node.signer.sign_jwt(
            key_id,
            claims,
            self._principal,
            expires_in=expires_in,
            issuer=issuer,
            audience=audience,
            typ=typ,
        )

    def verify_jwt(
        self,
        token: str,
        *,
        issuer: str | None = None,
        audience: str | None = None,
        typ: str = DEFAULT_TYP,
    ) -> SignatureCheck:
        """Whether a token was signed by one of this tenant's JWT keys, and is in its time; `claims` is what it says.

        It must be of this type and, where one is given, by this issuer. Say who you are in `audience`: a token that
        names an audience is refused where you say none, and one that names none where you say one (RFC 8725).
        """
        return self._node.signer.verify_jwt(token, self._principal, issuer=issuer, audience=audience, typ=typ)

    def jwks(self) -> dict[str, Any]:
        """The tenant's JSON Web Key Set (RFC 7517): the public halves of its published keys, for those who verify.

        Serve it where the server of Keyturn does not, with `Cache-Control: max-age=300` at most.
        """
        published, tenant = self._node.published, self._principal.tenant
        if not published.is_current(tenant):
            published.refresh(tenant)
        found: dict[str, Any] = json.loads(published.of(tenant).body)
        return found

    def revoke_key(
        self,
        key_id: str,
        reason: RevocationReason | str = RevocationReason.UNSPECIFIED,
        *,
        note: str | None = None,
    ) -> KeyMetadata:
        """Refuse a key for good: in this process when this returns, in every other within its `max_staleness`."""
        return self._node.lifecycle.revoke(key_id, self._principal, reason=_reason(reason), note=note)

    def revoke_owner(
        self,
        owner: str,
        reason: RevocationReason | str = RevocationReason.UNSPECIFIED,
        *,
        note: str | None = None,
    ) -> int:
        """Revoke every key that the owner has now, at once, in one commit; returns how many there were to follow."""
        return self._node.lifecycle.revoke_owner(owner, self._principal, reason=_reason(reason), note=note)

    def suspend_key(
        self, key_id: str, reason: RevocationReason | str | None = None, *, note: str | None = None
    ) -> KeyMetadata:
        """Refuse a key until it is resumed."""
        why = None if reason is None else _reason(reason)
        return self._node.lifecycle.suspend(key_id, self._principal, reason=why, note=note)

    def resume_key(
        self, key_id: str, reason: RevocationReason | str | None = None, *, note: str | None = None
    ) -> KeyMetadata:
        """Accept a suspended key again."""
        why = None if reason is None else _reason(reason)
        return self._node.lifecycle.resume(key_id, self._principal, reason=why, note=note)

    def destroy_key(self, key_id: str, *, note: str | None = None) -> KeyMetadata:
        """Destroy a key's material; its metadata and its history stay."""
        return self._node.lifecycle.destroy(key_id, self._principal, note=note)

    def update_key(self, key_id: str, **changes: Any) -> KeyMetadata:
        """Change a key's policy.

        `name`, `scope`, `permissions`, `allowed_ips`, `metadata`, `tags`, `profile`, `rotation_policy_id`,
        `published_for`, `not_before`, and `expires_at` or `expires_in`. What is not named stays; None clears.

        >>> store.update_key(key_id, permissions=["documents.read"], name=None)        # doctest: +SKIP
        """
        return self._node.updater.update(key_id, self._principal, changes)

    def list_keys(
        self,
        *,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        owner: str | None = None,
        type: KeyType | None = None,
        scope: KeyScope | None = None,
        state: KeyState | None = None,
        tag: str | None = None,
        prefix: str | None = None,
        expires_before: datetime | None = None,
        unused_since: datetime | None = None,
        q: str | None = None,
    ) -> KeyPage:
        """Keys, newest first, up to `limit` (1 to 1,000); the page's `next_cursor` leads on to those after them."""
        matching = KeyFilter(
            owner=owner,
            type=type,
            scope=scope,
            state=state,
            tag=tag,
            prefix=prefix,
            expires_before=expires_before,
            unused_since=unused_since,
            q=q,
        )
        return self._node.reader.list(self._principal, matching, limit=limit, cursor=cursor)

    def cleanup_expired_keys(self) -> int:
        """Record the keys of every tenant that have expired since the last time; how many there were.

        An expired key is refused from its expiry on, whether this is called or not.
        """
        return self._node.lifecycle.expire_all()

    def get_usage_statistics(self, key_id: str, *, since: datetime | None = None) -> UsageStatistics:
        """Uses and refusals of a key since a time, 30 days ago when absent; what this process counted is included."""
        self._node.recorder.flush()
        self._node.reader.get(key_id, self._principal)
        return self._node.usage.of(key_id, self._clock.now(), since)

    def get_audit_log(
        self, *, key_id: str | None = None, after: int = 0, limit: int = 100
    ) -> list[KeyUsageEvent]:
        """What happened, oldest first: up to `limit` (1 to 1,000) events after a position, of one key if named.

        Beside the tenant's own events it has those of the installation, of tenant ``system``: whoever opens a store
        with its key-encryption key is its operator.
        """
        tenants = (self._principal.tenant, SYSTEM_TENANT)
        return self._node.trail.events(tenants, key_id=key_id, after=after, limit=limit)


def _presented(token: str | Secret) -> str:
    if isinstance(token, Secret):
        return token.reveal_bytes().decode("utf-8", "surrogateescape")  # what is no text is no token either
    if type(token) is not str:
        raise InvalidInputError(
            "a token is text, or a Secret", field="token", fix="Decode what the client sent."
        )
    return token


class _Closed:
    """In place of all that a store had before it was closed: what was in memory there must decide nothing any more."""

    def __getattr__(self, _: str) -> NoReturn:
        raise StorageError("the store is closed", fix="Open it again.")


_CLOSED: Final = _Closed()

_DEMANDS: Final = 4_096  # permission queries come from programs, not from clients; the bound is for mistakes


def _reason(reason: RevocationReason | str) -> RevocationReason:
    return reason if isinstance(reason, RevocationReason) else parse_reason(reason)


@lru_cache(maxsize=_DEMANDS)
def _demand(tenant: str, scope: KeyScope | None, permissions: str | None) -> Demand:
    return Demand.of(tenant=tenant, scope=scope, permissions=permissions)
