"""Endpoints of notices over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from keyturn.domain.notices.destination import Destination
from keyturn.errors import InvalidInputError
from keyturn.notice_views import deliveries_view, endpoint_view, revealed_view
from keyturn.ports.notifier import Notifier
from keyturn.server.access import MayReadWebhooks, MayUpdateWebhooks, TheNode
from keyturn.server.etags import IfMatch, IfNoneMatch, etag_of
from keyturn.server.idempotency import Keep, Once
from keyturn.server.openapi import CONFLICT, CREATED, NOT_MODIFIED, TAGGED
from keyturn.server.webhook_bodies import (
    DeliveriesBody,
    DismissalTerms,
    EndpointBody,
    EndpointChanges,
    EndpointId,
    EndpointListBody,
    ListedEndpoints,
    NewEndpoint,
    RedeliveryTerms,
    RevealedEndpointBody,
    SecretTerms,
)
from keyturn.views import View

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])

_UNDELIVERABLE_FIX: Final = (
    "Set KEYTURN_SMTP and KEYTURN_SMTP_FROM for mail. Make endpoints of callables in Python, with KeyNotices."
)


@router.post("", status_code=201, response_model=RevealedEndpointBody, responses={**CREATED, **CONFLICT})
def create_webhook(
    wanted: NewEndpoint, node: TheNode, by: MayUpdateWebhooks, once: Once, request: Request
) -> Response:
    """Tell somebody of what happens from now on: over HTTP (signed after Standard Webhooks) or by mail.

    The key must hold `audit.read` as well: notices say what the log says.
    """

    def make(keep: Keep) -> None:
        if why := undeliverable(request, Destination.of(wanted.url)):
            raise InvalidInputError(why, field="url", fix=_UNDELIVERABLE_FIX)
        node.notices.endpoints.create(
            wanted.url,
            by,
            events=[each.value for each in wanted.events],
            every_event=wanted.every_event,
            signing=wanted.signing,
            receiver=None if wanted.receiver is None else wanted.receiver.value(),
            beside=lambda made: keep(
                revealed_view(made), [made.endpoint.endpoint_id], etag=etag_of(made.endpoint)
            ),
        )

    return once.answer(by, make)


@router.get("", response_model=EndpointListBody)
def list_webhooks(asked: Annotated[ListedEndpoints, Query()], node: TheNode, by: MayReadWebhooks) -> View:
    """List endpoints, newest first."""
    page = node.notices.endpoints.list(by, limit=asked.limit, cursor=asked.cursor)
    return {"items": [endpoint_view(each) for each in page.items], "next_cursor": page.next_cursor}


@router.get("/{endpoint_id}", response_model=EndpointBody, responses={**TAGGED, **NOT_MODIFIED})
def get_webhook(endpoint_id: EndpointId, node: TheNode, by: MayReadWebhooks, seen: IfNoneMatch) -> Any:
    """Get one endpoint."""
    return seen.answer_unless_seen(node.notices.endpoints.get(endpoint_id, by))


@router.patch("/{endpoint_id}", response_model=EndpointBody, responses={**TAGGED, **CONFLICT})
def update_webhook(
    endpoint_id: EndpointId, changes: EndpointChanges, node: TheNode, by: MayUpdateWebhooks, seen: IfMatch
) -> View:
    """Change an endpoint; what is pending goes to where it is by then.

    For another URL or other events the key must hold `audit.read` as well.
    """
    return seen.answer(node.notices.endpoints.update(endpoint_id, by, changes.said(), only_if=seen.check))


@router.delete(
    "/{endpoint_id}",
    status_code=204,
    responses={204: {"description": "It is told nothing more."}, **CONFLICT},
)
def delete_webhook(endpoint_id: EndpointId, node: TheNode, by: MayUpdateWebhooks, seen: IfMatch) -> None:
    """Delete an endpoint, with its signing secrets."""
    node.notices.endpoints.delete(endpoint_id, by, only_if=seen.check)


@router.post(
    "/{endpoint_id}/rotate-secret",
    status_code=201,
    response_model=RevealedEndpointBody,
    responses={**CREATED, **CONFLICT},
)
def rotate_webhook_secret(
    endpoint_id: EndpointId, terms: SecretTerms, node: TheNode, by: MayUpdateWebhooks, once: Once
) -> Response:
    """Give an endpoint a new signing secret; the one before signs as well for a while."""

    def make(keep: Keep) -> None:
        node.notices.endpoints.rotate_secret(
            endpoint_id,
            by,
            overlap=terms.overlap,
            beside=lambda made: keep(revealed_view(made), [endpoint_id], etag=etag_of(made.endpoint)),
        )

    return once.answer(by, make)


@router.get("/{endpoint_id}/deliveries", response_model=DeliveriesBody)
def list_webhook_deliveries(
    endpoint_id: EndpointId, node: TheNode, by: MayReadWebhooks, request: Request
) -> View:
    """Show which deliveries are pending, which were given up, and the latest that were made."""
    to = node.notices.endpoints.get(endpoint_id, by).destination
    state = node.notices.redelivery.deliveries(endpoint_id, by)
    return deliveries_view(state, undeliverable=undeliverable(request, to))


@router.post("/{endpoint_id}/redeliver", response_model=DeliveriesBody, responses=CONFLICT)
def redeliver_webhooks(
    endpoint_id: EndpointId, terms: RedeliveryTerms, node: TheNode, by: MayUpdateWebhooks
) -> View:
    """Deliver again what was given up, or what was delivered of late."""
    return deliveries_view(node.notices.redelivery.redeliver(endpoint_id, by, terms.positions))


@router.post("/{endpoint_id}/dismiss", response_model=DeliveriesBody, responses=CONFLICT)
def dismiss_webhooks(
    endpoint_id: EndpointId, terms: DismissalTerms, node: TheNode, by: MayUpdateWebhooks
) -> View:
    """Forget deliveries that were given up, so that they make room for others."""
    return deliveries_view(node.notices.redelivery.dismiss(endpoint_id, by, terms.positions))


def undeliverable(request: Request, to: Destination) -> str | None:
    """Why this server can deliver nothing there; None where it can."""
    notifiers: Mapping[str, Notifier] | None = request.app.state.notifiers
    notifier = None if notifiers is None else notifiers.get(to.scheme)
    if notifiers is None or (notifier is not None and notifier.takes(to)):
        return None
    return (
        "this server has no mail server"
        if to.scheme == "mailto"
        else "this server calls no functions: that is done where the callable is"
    )
