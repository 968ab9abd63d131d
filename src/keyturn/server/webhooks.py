"""Endpoints of notices over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import ConfigDict, Field

from keyturn.domain.change import EventType
from keyturn.domain.ids import ENDPOINT, ID_CHARACTERS
from keyturn.domain.notices.deliveries import MAX_DEAD, MAX_PENDING
from keyturn.domain.notices.destination import MAX_URL_CHARACTERS, Destination
from keyturn.domain.notices.endpoint import Signing
from keyturn.domain.notices.receiver import MAX_OWNERS, Receiver
from keyturn.errors import InvalidInputError
from keyturn.notice_views import deliveries_view, endpoint_view, revealed_view
from keyturn.notices.endpoints import DEFAULT_OVERLAP, MAX_OVERLAP
from keyturn.ports.notifier import Notifier
from keyturn.server.access import MayReadWebhooks, MayUpdateWebhooks, TheNode
from keyturn.server.idempotency import Keep, Once
from keyturn.server.models import Body, Closed, example
from keyturn.server.openapi import CONFLICT, REPLAYABLE
from keyturn.server.schemas import EXAMPLE_KEY_ID, EXAMPLE_TIME, Cursor, Limit, OwnerId, Time, shown
from keyturn.views import View

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])

EXAMPLE_ENDPOINT_ID: Final = "whe_6mqCIZlBsiYCHbDx0P49Yf"
_UNDELIVERABLE_FIX: Final = (
    "Set KEYTURN_SMTP and KEYTURN_SMTP_FROM for mail. Make endpoints of callables in Python, with KeyNotices."
)
EXAMPLE_JWK: Final = {  # RFC 8037, appendix A.6
    "kty": "OKP", "crv": "X25519", "x": "3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08",
}  # fmt: skip
EndpointId = Annotated[
    str,
    Path(
        description="The endpoint's id.",
        examples=[EXAMPLE_ENDPOINT_ID],
        json_schema_extra={"pattern": f"^{ENDPOINT}_[0-9A-Za-z]{{{ID_CHARACTERS}}}$"},
    ),
]
Url = Annotated[
    str,
    shown(
        "`https://…`, or `mailto:` and one address where the server has a mail server.",
        minLength=1,
        maxLength=MAX_URL_CHARACTERS,
        example="https://hooks.example.org/keyturn",
    ),
]
Events = Annotated[
    list[Annotated[EventType, Field(strict=False)]],
    shown("Types of entries that it is told of.", uniqueItems=True, example=["rotation_started"]),
]
Owners = Annotated[
    list[OwnerId], shown("Whose keys' new secrets.", maxItems=MAX_OWNERS, uniqueItems=True, example=["acme"])
]
EveryEvent = Annotated[bool, Field(description="Whether it is told of all; then without `events`.")]


class ReceiverBody(Closed):
    """Who gets the new secrets of rotations, encrypted to their public key, with `rotation_started`."""

    model_config = example(public_key=EXAMPLE_JWK, owners=["acme"])

    public_key: Annotated[
        dict[str, Any],
        Field(
            description="A JWK: EC with P-256 or OKP with X25519 (`alg` ECDH-ES+A256KW, where absent, or ECDH-ES), or"
            " RSA (RSA-OAEP-256). A private key is refused.",
            examples=[EXAMPLE_JWK],
        ),
    ]
    owners: Annotated[Owners, Field(default_factory=list)]
    every_owner: Annotated[
        bool, Field(description="Whether those of every key, of any owner or none; then without `owners`.")
    ] = False

    def receiver(self) -> Receiver:
        """What was sent, as an endpoint has it."""
        return Receiver.of(self.public_key, owners=self.owners, every_owner=self.every_owner)


class NewEndpoint(Closed):
    """Whom to tell of what happens from now on."""

    model_config = example(url="https://hooks.example.org/keyturn", events=["rotation_started"])

    url: Url
    events: Annotated[Events, Field(default_factory=list)]
    every_event: EveryEvent = False
    signing: Annotated[
        Signing | None, Field(strict=False, description="How webhooks are signed: hmac where absent.")
    ] = None
    receiver: ReceiverBody | None = None


class EndpointChanges(Closed):
    """Changes to an endpoint: what is absent stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"paused": True}], "minProperties": 1})

    url: Url | None = None
    events: Events | None = None
    every_event: EveryEvent | None = None
    paused: Annotated[
        bool | None, Field(description="While it is, nothing is sent, and nothing is lost.")
    ] = None
    receiver: Annotated[ReceiverBody | None, Field(description="null: no secret goes there any more.")] = None

    def said(self) -> dict[str, Any]:
        """What was sent, as an endpoint has it."""
        values = {name: getattr(self, name) for name in self.model_fields_set}
        values = {name: value for name, value in values.items() if value is not None or name == "receiver"}
        if not values:
            raise InvalidInputError(
                "there is nothing to change",
                fix=f"Name what shall change: {', '.join(type(self).model_fields)}.",
            )
        if self.receiver is not None:
            values["receiver"] = self.receiver.receiver()
        if "events" in values:
            values["events"] = [each.value for each in values["events"]]
        if "paused" in values:
            values["is_paused"] = values.pop("paused")
        return values


class SecretTerms(Closed):
    """How a signing secret is replaced."""

    model_config = example(overlap=DEFAULT_OVERLAP)

    overlap: Annotated[
        int,
        shown(
            "Seconds for which the secret before signs as well; 0 for one that has leaked.",
            minimum=0,
            maximum=MAX_OVERLAP,
            example=DEFAULT_OVERLAP,
        ),
    ] = DEFAULT_OVERLAP


class DismissalTerms(Closed):
    """What to forget."""

    model_config = example(positions=None)

    positions: Annotated[
        list[int] | None,
        shown("Of entries whose delivery is dead; all dead ones where absent.", maxItems=MAX_DEAD),
    ] = None


class RedeliveryTerms(Closed):
    """What to deliver again."""

    model_config = example(positions=None)

    positions: Annotated[
        list[int] | None,
        shown(
            "Of entries that are dead or were delivered of late; all dead ones where absent.",
            maxItems=MAX_PENDING,
        ),
    ] = None


_ENDPOINT: Final[dict[str, Any]] = {
    "endpoint_id": EXAMPLE_ENDPOINT_ID, "url": "https://hooks.example.org/keyturn", "events": ["rotation_started"],
    "every_event": False, "signing": "hmac", "public_key": None, "receiver": None, "former_secret_until": None,
    "paused": False, "created_at": EXAMPLE_TIME, "updated_at": EXAMPLE_TIME,
}  # fmt: skip


class EndpointBody(Body):
    """An endpoint, without any secret."""

    model_config = example(**_ENDPOINT)

    endpoint_id: str
    url: str
    events: list[EventType]
    every_event: bool
    signing: Signing | None
    public_key: Annotated[str | None, Field(description="Of Ed25519: `whpk_` and base64.")]
    receiver: Annotated[dict[str, Any] | None, Field(description="Who gets new secrets, as it was given.")]
    former_secret_until: Time | None
    paused: bool
    created_at: Time
    updated_at: Time


class RevealedEndpointBody(EndpointBody):
    """An endpoint with a signing secret that was made for it."""

    model_config = example(**_ENDPOINT, secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=")

    secret: Annotated[
        str | None,
        Field(description="Of HMAC: `whsec_` and base64. It is shown this once and cannot come back."),
    ]


class EndpointListBody(Body):
    """Some endpoints, newest first."""

    model_config = example(items=[_ENDPOINT], next_cursor=None)

    items: list[EndpointBody]
    next_cursor: Annotated[str | None, Field(description="Leads on to those after them; null at the end.")]


class DeliveredBody(Body):
    """A delivery that was made."""

    position: Annotated[int, Field(description="Of the entry in the log.")]
    subject: Annotated[str, Field(description="What it is about, in whose order deliveries are made.")]
    attempts: int
    at: Annotated[Time | None, Field(description="When it was made or given up, or is attempted next.")]


class FailedBody(DeliveredBody):
    """A delivery that waits, or was given up."""

    why: Annotated[str, Field(description="Why the latest attempt failed; empty where there was none.")]


_FAILED: Final = {"position": 42, "subject": EXAMPLE_KEY_ID, "attempts": 12, "at": EXAMPLE_TIME}


class DeliveriesBody(Body):
    """How far deliveries to an endpoint have come."""

    model_config = example(
        stalled=None,
        read_to=43,
        failures=0,
        pending=[],
        dead=[{**_FAILED, "why": "the receiver answered 503"}],
        delivered=[],
    )

    stalled: Annotated[
        str | None, Field(description="Why nothing more is sent for now, where that does not end by itself.")
    ]
    read_to: Annotated[int, Field(description="Position up to which the log was read for it.")]
    failures: Annotated[int, Field(description="How many attempts in a row have failed.")]
    pending: list[FailedBody]
    dead: list[FailedBody]
    delivered: Annotated[list[DeliveredBody], Field(description="The latest 100, newest first.")]


class ListedEndpoints(Body):
    """The query of a list of endpoints."""

    model_config = ConfigDict(extra="forbid")

    limit: Limit = 100
    cursor: Cursor | None = None


@router.post("", status_code=201, response_model=RevealedEndpointBody, responses={**REPLAYABLE, **CONFLICT})
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
            receiver=None if wanted.receiver is None else wanted.receiver.receiver(),
            beside=lambda made: keep(revealed_view(made), [made.endpoint.endpoint_id]),
        )

    return once.answer(by, make)


@router.get("", response_model=EndpointListBody)
def list_webhooks(asked: Annotated[ListedEndpoints, Query()], node: TheNode, by: MayReadWebhooks) -> View:
    """List endpoints, newest first."""
    page = node.notices.endpoints.list(by, limit=asked.limit, cursor=asked.cursor)
    return {"items": [endpoint_view(each) for each in page.items], "next_cursor": page.next_cursor}


@router.get("/{endpoint_id}", response_model=EndpointBody)
def get_webhook(endpoint_id: EndpointId, node: TheNode, by: MayReadWebhooks) -> View:
    """Get one endpoint."""
    return endpoint_view(node.notices.endpoints.get(endpoint_id, by))


@router.patch("/{endpoint_id}", response_model=EndpointBody, responses=CONFLICT)
def update_webhook(
    endpoint_id: EndpointId, changes: EndpointChanges, node: TheNode, by: MayUpdateWebhooks
) -> View:
    """Change an endpoint; what is pending goes to where it is by then.

    For another URL or other events the key must hold `audit.read` as well.
    """
    return endpoint_view(node.notices.endpoints.update(endpoint_id, by, changes.said()))


@router.delete(
    "/{endpoint_id}",
    status_code=204,
    responses={204: {"description": "It is told nothing more."}, **CONFLICT},
)
def delete_webhook(endpoint_id: EndpointId, node: TheNode, by: MayUpdateWebhooks) -> None:
    """Delete an endpoint, with its signing secrets."""
    node.notices.endpoints.delete(endpoint_id, by)


@router.post(
    "/{endpoint_id}/rotate-secret",
    status_code=201,
    response_model=RevealedEndpointBody,
    responses={**REPLAYABLE, **CONFLICT},
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
            beside=lambda made: keep(revealed_view(made), [endpoint_id]),
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
