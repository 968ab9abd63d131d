"""Codes for new secrets over HTTP: made by whoever may pick the secret up, and good once for whoever has them."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Header, Request, Response
from pydantic import Field

from keyturn.domain.instants import rfc3339
from keyturn.domain.secret import Secret
from keyturn.errors import UnauthenticatedError
from keyturn.rotation.pick_ups import DEFAULT_LIFETIME, MAX_LIFETIME
from keyturn.server.access import MayRotate, TheNode
from keyturn.server.exchange import authorization_of, client_of
from keyturn.server.idempotency import Keep, Once
from keyturn.server.models import Body, Closed, example
from keyturn.server.openapi import CONFLICT, REPLAYABLE
from keyturn.server.rotation_bodies import EXAMPLE_ROTATION_ID, RotationId
from keyturn.server.schemas import EXAMPLE_KEY_ID, EXAMPLE_TIME, EXAMPLE_TOKEN, Time, shown
from keyturn.serving.bearer import bearer_in
from keyturn.views import View

router = APIRouter(prefix="/v1", tags=["rotation"])

_EXAMPLE_CODE: Final = "ktpick_4Qp7mVxYt2ZaB9cDfGhJkLmNpQrStUvWxYz0123456A"


class OfferTerms(Closed):
    """How long the code lives."""

    model_config = example(lifetime=DEFAULT_LIFETIME)

    lifetime: Annotated[
        int, shown("Seconds.", minimum=60, maximum=MAX_LIFETIME, example=DEFAULT_LIFETIME)
    ] = DEFAULT_LIFETIME


class OfferedBody(Body):
    """A code, which is shown this once."""

    model_config = example(rotation_id=EXAMPLE_ROTATION_ID, code=_EXAMPLE_CODE, expires_at=EXAMPLE_TIME)

    rotation_id: str
    code: Annotated[str, Field(description="For one `POST /v1/pick-ups`; give it to the key's holder.")]
    expires_at: Time


class RedeemedBody(Body):
    """The new secret, which is shown this once."""

    model_config = example(
        rotation_id=EXAMPLE_ROTATION_ID, key_id=EXAMPLE_KEY_ID, version=2, key=EXAMPLE_TOKEN
    )

    rotation_id: str
    key_id: str
    version: int
    key: str


@router.post(
    "/rotations/{rotation_id}/pick-up-code",
    status_code=201,
    response_model=OfferedBody,
    responses={**REPLAYABLE, **CONFLICT},
)
def offer_pick_up(
    rotation_id: RotationId, node: TheNode, by: MayRotate, once: Once, terms: OfferTerms | None = None
) -> Response:
    """Make a code for one fetch of the new secret that waits.

    Whoever has it needs no provisioning key.
    """

    def make(keep: Keep) -> None:
        node.rotation.pick_ups.offer(
            rotation_id,
            by,
            lifetime=(terms or OfferTerms()).lifetime,
            beside=lambda offered: keep(
                {
                    "rotation_id": rotation_id,
                    "code": offered.code.reveal(),
                    "expires_at": rfc3339(offered.expires_at),
                },
                [rotation_id],
            ),
        )

    return once.answer(by, make)


@router.post(
    "/pick-ups",
    response_model=RedeemedBody,
    responses={**CONFLICT, **{status: {} for status in (400, 401, 404, 429, 503)}},
)
def redeem_pick_up(
    request: Request,
    node: TheNode,
    _: Annotated[
        str | None,
        Header(
            alias="Authorization", description="`Bearer` and the code.", examples=[f"Bearer {_EXAMPLE_CODE}"]
        ),
    ] = None,
) -> View:
    """Fetch a new secret for a code, once. A code that is shown once the secret has gone raises an alarm."""
    code = bearer_in(authorization_of(request.scope))
    if not code:
        raise UnauthenticatedError(
            "the call carries no code", fix="Send the code as 'Authorization: Bearer <code>'."
        )
    picked = node.rotation.pick_ups.redeem(Secret(code), ip=client_of(request.scope))
    return {
        "rotation_id": picked.rotation.rotation_id,
        "key_id": picked.key.key_id,
        "version": picked.rotation.new,
        "key": picked.secret.reveal(),
    }
