"""How keys, verifications and statistics look as JSON: one form for HTTP and the command line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from keyturn.audit.usage import UsageSeries, UsageStatistics
from keyturn.crypto.key_pairs import public_pem
from keyturn.domain.bytestext import to_base64url
from keyturn.domain.foreign import ImportedToken
from keyturn.domain.instants import rfc3339
from keyturn.domain.key import Key
from keyturn.domain.signature_check import SignatureCheck
from keyturn.domain.spec import GeneratedKey
from keyturn.domain.verdict import Verification
from keyturn.issuing.reading import HandedOut
from keyturn.issuing.versions import ListedVersion
from keyturn.signing.signer import Signature, SignedJwt

View = dict[str, Any]


def key_view(key: Key) -> View:
    """A key's metadata, without any secret."""
    return {
        "key_id": key.key_id,
        "version": key.version,
        "tenant": key.tenant,
        "type": key.type.value,
        "scope": key.scope.value,
        "length": int(key.length),
        "algorithm": None if key.algorithm is None else key.algorithm.value,
        "state": key.state.value,
        "state_changed_at": rfc3339(key.state_changed_at),
        "reason": None if key.reason is None else key.reason.value,
        "name": key.name,
        "owner": key.owner,
        "prefix": key.prefix,
        "permissions": list(key.permissions),
        "allowed_ips": list(key.allowed_ips),
        "metadata": dict(key.metadata),
        "tags": list(key.tags),
        "recoverable": key.recoverable,
        "created_at": rfc3339(key.created_at),
        "updated_at": rfc3339(key.updated_at),
        "not_before": _time(key.not_before),
        "expires_at": _time(key.expires_at),
        "profile": None
        if key.profile is None
        else {"scope": None, "permissions": None, **key.profile.members},
        "rotation_policy_id": key.rotation_policy_id,
        "published_for": key.published_for,
        "rotation": key.rotation,
        "rotated_at": _time(key.rotated_at),
    }


def issued_view(key: Key, generated: GeneratedKey | ImportedToken) -> View:
    """A key as the answer that creates it shows it: with its secret, this once, or with its public key.

    The private half of a pair stays here; who must have it asks for it (`/secret`), which is an entry in the log.
    A token that was imported is known to whoever holds it, and not repeated.
    """
    if isinstance(generated, ImportedToken):
        return {**key_view(key), "key": None, "public_key": None}
    if generated.public_key is None:
        return {**key_view(key), "key": generated.secret.reveal(), "public_key": None}
    return {**key_view(key), "key": None, "public_key": public_pem(generated.public_key)}


def secret_view(handed_out: HandedOut) -> View:
    """A key's secret, read back: the member is called as where the key was issued."""
    key = handed_out.key
    return {
        "key_id": key.key_id,
        "version": key.version,
        "type": key.type.value,
        "key": handed_out.secret.reveal(),
    }


def version_view(listed: ListedVersion) -> View:
    """One version of a key, without any secret."""
    version = listed.version
    return {
        "version": version.number,
        "state": listed.state.value,
        "state_changed_at": rfc3339(listed.state_changed_at),
        "is_current": listed.is_current,
        "credential_id": version.credential_id if version.hashed is None else None,
        "created_at": rfc3339(version.created_at),
        "expires_at": _time(version.expires_at),
        "last_used_at": _time(listed.last_used_at),
    }


def series_view(series: UsageSeries) -> View:
    """Uses and refusals of one key by periods."""
    refused: Counter[str] = Counter()
    for point in series.points:
        refused.update(point.refused)
    return {
        "key_id": series.key_id,
        "period": series.period.value,
        "from": rfc3339(series.since),
        "to": rfc3339(series.until),
        "total": sum(point.count for point in series.points),
        "refused": dict(sorted(refused.items())),
        "points": [
            {"at": rfc3339(point.at), "count": point.count, "refused": dict(point.refused)}
            for point in series.points
        ],
        "last_used_at": _time(series.last_used_at),
        "last_ip": series.last_ip,
        "last_used_by_version": _times(series.last_used_by_version),
    }


def verification_view(verification: Verification) -> View:
    """The answer to a verification."""
    key = verification.presented
    return {
        "valid": verification.valid,
        "code": verification.code,
        "key_id": None if key is None else key.key_id,
        "version": None if key is None else key.version,
        "owner": None if key is None else key.owner,
        "scope": None if key is None else key.scope.value,
        "permissions": [] if key is None else list(key.permissions),
        "metadata": {} if key is None else dict(key.metadata),
        "expires_at": None if key is None else _time(key.expires_at),
        "rate_limits": [],
        "credits": None,
        "as_of": verification.as_of,
    }


def signature_view(signature: Signature) -> View:
    """A signature over data."""
    return {
        "key_id": signature.key_id,
        "version": signature.version,
        "algorithm": signature.algorithm.value,
        "signature": to_base64url(signature.value),
        "token": None,
    }


def signed_jwt_view(signed: SignedJwt) -> View:
    """A signed token."""
    return {
        "key_id": signed.key_id,
        "version": signed.version,
        "algorithm": signed.algorithm.value,
        "signature": None,
        "token": signed.token,
    }


def signature_check_view(check: SignatureCheck) -> View:
    """Whether a signature holds."""
    return {
        "valid": bool(check),
        "code": check.code.value,
        "key_id": check.key_id,
        "version": check.version,
        "algorithm": None if check.algorithm is None else check.algorithm.value,
        "claims": None if check.claims is None else dict(check.claims),
    }


def usage_view(usage: UsageStatistics) -> View:
    """Uses and refusals of one key."""
    return {
        "key_id": usage.key_id,
        "since": rfc3339(usage.since),
        "until": rfc3339(usage.until),
        "total": usage.total,
        "refused": dict(usage.refused),
        "by_minute": [{"at": rfc3339(at), "count": count} for at, count in sorted(usage.by_minute.items())],
        "last_used_at": _time(usage.last_used_at),
        "last_ip": usage.last_ip,
        "last_used_by_version": _times(usage.last_used_by_version),
    }


def _time(instant: datetime | None) -> str | None:
    return None if instant is None else rfc3339(instant)


def _times(by_version: Mapping[int, datetime]) -> dict[str, str]:
    return {str(version): rfc3339(instant) for version, instant in by_version.items()}
