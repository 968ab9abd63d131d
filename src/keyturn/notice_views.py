"""How endpoints and deliveries look as JSON: one form for HTTP and the command line."""

from __future__ import annotations

from keyturn.crypto.webhooks import public_key_text
from keyturn.domain.instants import from_micros, rfc3339
from keyturn.domain.notices.deliveries import Deliveries
from keyturn.domain.notices.endpoint import Endpoint
from keyturn.domain.notices.receiver import Receiver
from keyturn.notices.endpoints import Revealed
from keyturn.views import View


def endpoint_view(endpoint: Endpoint) -> View:
    """An endpoint, without any secret."""
    former_until = endpoint.former_until
    return {
        "endpoint_id": endpoint.endpoint_id,
        "url": endpoint.url,
        "events": list(endpoint.events),
        "every_event": endpoint.every_event,
        "signing": None if endpoint.signing is None else endpoint.signing.value,
        "public_key": None if endpoint.public_key is None else public_key_text(endpoint.public_key),
        "receiver": receiver_view(endpoint.receiver),
        "former_secret_until": None if former_until is None else rfc3339(former_until),
        "paused": endpoint.is_paused,
        "created_at": rfc3339(endpoint.created_at),
        "updated_at": rfc3339(endpoint.updated_at),
    }


def receiver_view(receiver: Receiver | None) -> View | None:
    """Who new secrets are encrypted to."""
    if receiver is None:
        return None
    return {
        "public_key": dict(receiver.jwk),
        "owners": list(receiver.owners),
        "every_owner": receiver.every_owner,
    }


def revealed_view(revealed: Revealed) -> View:
    """An endpoint with the secret that was made for it, which is shown this once."""
    secret = None if revealed.secret is None else revealed.secret.reveal()
    return {**endpoint_view(revealed.endpoint), "secret": secret}


def deliveries_view(state: Deliveries, *, undeliverable: str | None = None) -> View:
    """How far deliveries have come; and why none are made, where `undeliverable` says so or the state does."""
    return {
        "stalled": undeliverable or state.stalled,
        "read_to": state.read_to,
        "failures": state.failures,
        "pending": [
            {**_one(each.position, each.lane, each.attempts, each.next_at), "why": each.why}
            for each in state.pending
        ],
        "dead": [
            {**_one(each.position, each.lane, each.attempts, each.at), "why": each.why} for each in state.dead
        ],
        "delivered": [
            _one(each.position, each.lane, each.attempts, each.at) for each in reversed(state.delivered)
        ],
    }


def _one(position: int, lane: str, attempts: int, at: int) -> dict[str, object]:
    """`at` is when it was made or given up, or when it is attempted next; absent while it was not attempted."""
    return {
        "position": position,
        "subject": lane,
        "attempts": attempts,
        "at": rfc3339(from_micros(at)) if at else None,
    }
