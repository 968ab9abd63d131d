"""A notice as it is sent: made anew from the log's entry each time, and signed for the endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from keyturn.audit.trail import KeyUsageEvent
from keyturn.crypto.webhooks import signatures
from keyturn.domain import canonical
from keyturn.domain.instants import rfc3339
from keyturn.domain.notices.endpoint import Endpoint
from keyturn.domain.secret import Secret
from keyturn.ports.notifier import Message


def message_of(
    event: KeyUsageEvent,
    endpoint: Endpoint,
    secrets: Sequence[Secret],
    log_id: str,
    now: datetime,
    *,
    sealed_secret: str | None = None,
) -> Message:
    """What an endpoint is told of an entry, with a new secret that is encrypted to its receiver."""
    return signed_message(
        endpoint,
        secrets,
        f"msg_{log_id}_{event.position}",
        event.type,
        subjects=event.subjects,
        at=event.time,
        body=_body(event, sealed_secret),
        now=now,
    )


def signed_message(
    endpoint: Endpoint,
    secrets: Sequence[Secret],
    message_id: str,
    kind: str,
    *,
    subjects: tuple[str, ...],
    at: datetime,
    body: bytes,
    now: datetime,
) -> Message:
    """A body as it goes to an endpoint, signed where the endpoint has it signed."""
    fields = {}
    if endpoint.signing is not None:
        timestamp = int(now.timestamp())
        fields = {
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signatures(endpoint.signing, secrets, message_id, timestamp, body),
        }
    return Message(
        to=endpoint.destination, id=message_id, type=kind, at=at, subjects=subjects, body=body, fields=fields
    )


def notice_body(kind: str, at: datetime, data: Mapping[str, object]) -> bytes:
    """A notice as `docs/formats/notices.md` has it."""
    return canonical.encode({"type": kind, "timestamp": rfc3339(at), "data": data}).encode()


def _body(event: KeyUsageEvent, sealed_secret: str | None) -> bytes:
    data: dict[str, object] = {
        "position": event.position,
        "tenant": event.tenant,
        "actor": event.actor,
        "subjects": list(event.subjects),
        "details": dict(event.details),
    }
    if sealed_secret is not None:
        data["sealed_secret"] = sealed_secret
    return notice_body(event.type, event.time, data)
