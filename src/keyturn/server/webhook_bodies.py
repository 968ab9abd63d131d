"""Endpoints of notices as the interface describes them: what is asked for, and what is answered."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Path
from pydantic import ConfigDict, Field

from keyturn.domain.change import EventType
from keyturn.domain.ids import ENDPOINT
from keyturn.domain.notices.deliveries import MAX_DEAD, MAX_PENDING
from keyturn.domain.notices.destination import MAX_URL_CHARACTERS
from keyturn.domain.notices.endpoint import Signing
from keyturn.domain.notices.receiver import MAX_OWNERS, Receiver
from keyturn.errors import InvalidInputError
from keyturn.notices.endpoints import DEFAULT_OVERLAP, MAX_OVERLAP
from keyturn.server.models import Body, Closed, example
from keyturn.server.schemas import (
    EXAMPLE_KEY_ID,
    EXAMPLE_TIME,
    Cursor,
    Limit,
    OwnerId,
    Time,
    id_pattern,
    shown,
)

EXAMPLE_ENDPOINT_ID: Final = "whe_6mqCIZlBsiYCHbDx0P49Yf"
EXAMPLE_JWK: Final = {  # RFC 8037, appendix A.6
    "kty": "OKP", "crv": "X25519", "x": "3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08",
}  # fmt: skip
EndpointId = Annotated[
    str,
    Path(
        description="The endpoint's id.",
        examples=[EXAMPLE_ENDPOINT_ID],
        json_schema_extra={"pattern": id_pattern(ENDPOINT)},
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

    def value(self) -> Receiver:
        """The receiver, checked."""
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
            values["receiver"] = self.receiver.value()
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
