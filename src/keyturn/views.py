"""How keys, verifications and statistics look as JSON: one form for HTTP and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from keyturn.audit.trail import KeyUsageEvent
from keyturn.audit.usage import UsageStatistics
from keyturn.domain.instants import rfc3339
from keyturn.domain.key import Key
from keyturn.domain.spec import GeneratedKey
from keyturn.domain.verdict import Verification

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
    }


def issued_view(key: Key, generated: GeneratedKey) -> View:
    """A key as the answer that creates it shows it: with its secret, this once."""
    return {**key_view(key), "key": generated.secret.reveal()}


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


def event_view(event: KeyUsageEvent) -> View:
    """One entry of the audit trail."""
    return {
        "position": event.position,
        "type": event.type,
        "time": rfc3339(event.time),
        "tenant": event.tenant,
        "actor": event.actor,
        "subjects": list(event.subjects),
        "details": dict(event.details),
    }


def _time(instant: datetime | None) -> str | None:
    return None if instant is None else rfc3339(instant)


def _times(by_version: Mapping[int, datetime]) -> dict[str, str]:
    return {str(version): rfc3339(instant) for version, instant in by_version.items()}
