"""Rotations over HTTP: rotating a key, and what happens to a rotation that is under way."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import ConfigDict, Field

from keyturn.domain.rotation.policy import RotationStrategy
from keyturn.domain.rotation.stages import Stage
from keyturn.rotation.moving import PickedUp
from keyturn.rotation_views import preview_view, rotation_view, started_view, statistics_view
from keyturn.server.access import MayReadRotation, MayRotate, TheGenerator, TheNode
from keyturn.server.idempotency import Keep, Once
from keyturn.server.models import Body, Closed, InstantInQuery, Note, example
from keyturn.server.openapi import CONFLICT, REPLAYABLE
from keyturn.server.rotation_bodies import (
    PickedUpBody,
    PreviewBody,
    RotatedBody,
    RotationBody,
    RotationId,
    RotationListBody,
    RotationTerms,
)
from keyturn.server.schemas import (
    EXAMPLE_KEY_ID,
    EXAMPLE_TIME,
    EXAMPLE_TOKEN,
    KEY_ID_PATTERN,
    Cursor,
    KeyId,
    Limit,
    PolicyId,
    Time,
    shown,
)
from keyturn.views import View

router = APIRouter(prefix="/v1", tags=["rotation"])


class StatisticsBody(Body):
    """How rotation goes."""

    model_config = example(
        since=EXAMPLE_TIME, until=EXAMPLE_TIME, by_stage={"completed": 12}, by_outcome={"completed": 12}, by_pause={},
        success_rate=1.0, failure_rate=0.0,
        keys=40, mean_age=864_000.5, past_max_age=0, is_partial=False, stragglers=[],
    )  # fmt: skip

    since: Time
    until: Time
    by_stage: Annotated[
        dict[str, int], Field(description="How many of the rotations since then stand where.")
    ]
    by_outcome: Annotated[dict[str, int], Field(description="How many of them ended in which way.")]
    by_pause: Annotated[dict[str, int], Field(description="How many of them stand still for which reason.")]
    success_rate: Annotated[
        float | None, Field(description="Completed, of those that were completed or rolled back: 0 to 1.")
    ]
    failure_rate: Annotated[float | None, Field(description="Rolled back, of the same.")]
    keys: Annotated[int, Field(description="Keys in service.")]
    mean_age: Annotated[float | None, Field(description="Mean seconds since keys got their version.")]
    past_max_age: Annotated[int, Field(description="Keys that are older than a policy allows.")]
    is_partial: Annotated[
        bool, Field(description="Whether only the newest 20,000 rotations or keys were counted.")
    ]
    stragglers: Annotated[
        list[dict[str, Any]], Field(description="Rotations whose old version is still in use, 1,000 at most.")
    ]


class ListedRotations(Body):
    """The query of a list of rotations."""

    model_config = ConfigDict(extra="forbid")

    limit: Limit = 100
    cursor: Cursor | None = None
    key_id: Annotated[str | None, shown(pattern=KEY_ID_PATTERN, example=EXAMPLE_KEY_ID)] = None
    policy_id: PolicyId | None = None
    stage: Stage | None = None


class AskedPreview(Body):
    """The query of a preview."""

    model_config = ConfigDict(extra="forbid")

    strategy: Annotated[
        RotationStrategy | None, Field(description="The key's policy decides where it is left out.")
    ] = None


class AskedStatistics(Body):
    """The query of statistics."""

    model_config = ConfigDict(extra="forbid")

    since: InstantInQuery | None = None


@router.post(
    "/keys/{key_id}/rotate",
    status_code=201,
    response_model=RotatedBody,
    responses={**REPLAYABLE, **CONFLICT},
)
def rotate_key(
    *,
    key_id: KeyId,
    node: TheNode,
    generator: TheGenerator,
    by: MayRotate,
    once: Once,
    terms: RotationTerms | None = None,
) -> Response:
    """Rotate a key now. It keeps its id, prefix, limits and history; the answer shows its new secret, this once."""
    terms = terms or RotationTerms()

    def make(keep: Keep) -> None:
        node.rotation.requests.rotate(
            key_id,
            by,
            strategy=terms.strategy,
            is_compromised=terms.compromised,
            keeps_secret=terms.keep_secret,
            said=terms.said(),
            beside=lambda started: keep(started_view(started), [key_id]),
            rsa_keys=generator.rsa_keys,
        )

    return once.answer(by, make)


@router.get("/keys/{key_id}/rotation-preview", response_model=PreviewBody)
def preview_rotation(
    key_id: KeyId, asked: Annotated[AskedPreview, Query()], node: TheNode, by: MayReadRotation
) -> View:
    """Say what rotating a key would do now, stage by stage; nothing is changed."""
    return preview_view(node.rotation.requests.preview(key_id, by, strategy=asked.strategy))


@router.get("/rotations", response_model=RotationListBody)
def list_rotations(asked: Annotated[ListedRotations, Query()], node: TheNode, by: MayReadRotation) -> View:
    """List rotations, running and past, newest first."""
    page = node.rotation.history.list(by, **asked.model_dump())
    return {"items": [rotation_view(each) for each in page.items], "next_cursor": page.next_cursor}


@router.get("/rotation-statistics", response_model=StatisticsBody)
def get_rotation_statistics(
    asked: Annotated[AskedStatistics, Query()], node: TheNode, by: MayReadRotation
) -> View:
    """Say how rotations go, how old keys are, and who still uses an old version."""
    return statistics_view(node.rotation.statistics.of(by, asked.since))


@router.get("/rotations/{rotation_id}", response_model=RotationBody)
def get_rotation(rotation_id: RotationId, node: TheNode, by: MayReadRotation) -> View:
    """Get one rotation."""
    return rotation_view(node.rotation.mover.get(rotation_id, by))


@router.post("/rotations/{rotation_id}/pause", response_model=RotationBody, responses=CONFLICT)
def pause_rotation(rotation_id: RotationId, node: TheNode, by: MayRotate, why: Note | None = None) -> View:
    """Let a rotation stand still; the old version goes on meanwhile, at most up to the longest overlap."""
    return rotation_view(node.rotation.mover.pause(rotation_id, by, note=_note(why)))


@router.post("/rotations/{rotation_id}/resume", response_model=RotationBody, responses=CONFLICT)
def resume_rotation(rotation_id: RotationId, node: TheNode, by: MayRotate, why: Note | None = None) -> View:
    """Let a rotation go on, with as much of its times as was left."""
    return rotation_view(node.rotation.mover.resume(rotation_id, by, note=_note(why)))


@router.post("/rotations/{rotation_id}/rollback", response_model=RotationBody, responses=CONFLICT)
def rollback_rotation(rotation_id: RotationId, node: TheNode, by: MayRotate, why: Note | None = None) -> View:
    """Put the old version back into service, and end the new one for good."""
    return rotation_view(node.rotation.mover.roll_back(rotation_id, by, note=_note(why)))


@router.post("/rotations/{rotation_id}/complete", response_model=RotationBody, responses=CONFLICT)
def complete_rotation(rotation_id: RotationId, node: TheNode, by: MayRotate, why: Note | None = None) -> View:
    """End the old version now, ahead of its time."""
    return rotation_view(node.rotation.mover.complete(rotation_id, by, note=_note(why)))


@router.post("/rotations/{rotation_id}/approve", response_model=RotationBody, responses=CONFLICT)
def approve_rotation(rotation_id: RotationId, node: TheNode, by: MayRotate, why: Note | None = None) -> View:
    """Let a staged version take over, where somebody has to approve."""
    return rotation_view(node.rotation.mover.approve(rotation_id, by, note=_note(why)))


class Proof(Closed):
    """The new token, as the proof that whoever will use it has it."""

    model_config = example(key=EXAMPLE_TOKEN)

    key: Annotated[str, shown("The whole new token.", maxLength=4_096, example=EXAMPLE_TOKEN)]


@router.post("/rotations/{rotation_id}/prove", response_model=RotationBody, responses=CONFLICT)
def prove_rotation(rotation_id: RotationId, shown_token: Proof, node: TheNode, by: MayRotate) -> View:
    """Show the new token where a staged one awaits it; then it takes over."""
    return rotation_view(node.rotation.mover.prove(rotation_id, shown_token.key, by))


@router.post(
    "/rotations/{rotation_id}/pick-up",
    response_model=PickedUpBody,
    responses={200: REPLAYABLE[201], **CONFLICT},
)
def pick_up_secret(rotation_id: RotationId, node: TheNode, by: MayRotate, once: Once) -> Response:
    """Fetch the new secret that waits, this once; then the new version takes over.

    With an Idempotency-Key an answer that is lost on the way can be had again.
    """

    def make(keep: Keep) -> None:
        node.rotation.mover.pick_up(
            rotation_id, by, beside=lambda picked: keep(_picked_up_view(picked), [picked.key.key_id])
        )

    return once.answer(by, make, 200)


def _picked_up_view(picked: PickedUp) -> View:
    return {**rotation_view(picked.rotation), "key": picked.secret.reveal()}


def _note(why: Note | None) -> str | None:
    return None if why is None else why.note
