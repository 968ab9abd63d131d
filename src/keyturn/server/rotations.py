"""Rotations over HTTP: rotating a key, and what happens to a rotation that is under way."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Response
from pydantic import ConfigDict, Field

from keyturn.domain.ids import ID_CHARACTERS, ROTATION
from keyturn.domain.rotation.policy import RotationStrategy
from keyturn.domain.rotation.rotation import Awaited, Cause, Stage
from keyturn.rotation.starting import Started
from keyturn.rotation_views import preview_view, rotation_view, statistics_view
from keyturn.server.access import MayReadRotation, MayRotate, TheGenerator, TheNode
from keyturn.server.idempotency import Keep, Once
from keyturn.server.models import Body, Closed, InstantInQuery, Note, example
from keyturn.server.openapi import CONFLICT, REPLAYABLE
from keyturn.server.rotation_policies import ReasonBody, Seconds
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

ROTATION_ID_PATTERN: Final = f"^{ROTATION}_[0-9A-Za-z]{{{ID_CHARACTERS}}}$"
EXAMPLE_ROTATION_ID: Final = "rot_6mqCIZlBsiYCHbDx0P49Yf"
RotationId = Annotated[
    str,
    Path(
        description="The rotation's id.",
        examples=[EXAMPLE_ROTATION_ID],
        json_schema_extra={"pattern": ROTATION_ID_PATTERN},
    ),
]
_SAID: Final = ("strategy", "compromised", "keep_secret")


class RotationTerms(Closed):
    """How to rotate: by the key's policy where nothing is said."""

    model_config = example(strategy="overlapping", overlap=604_800)

    strategy: Annotated[RotationStrategy | None, Field(strict=False)] = None
    compromised: Annotated[
        bool, Field(description="The old version is in wrong hands: it is refused at once.")
    ] = False
    keep_secret: Annotated[
        bool, Field(description="Let a token's new secret wait to be picked up, instead of answering it.")
    ] = False
    overlap: Seconds | None = None
    max_overlap: Seconds | None = None
    retire_unused_after: Seconds | None = None
    shares: Annotated[list[int] | None, shown("Percent, rising to 100.", example=[10, 50, 100])] = None
    dwell: Seconds | None = None
    lead: Seconds | None = None
    requires_check: bool | None = None
    rollback_window: Seconds | None = None

    def said(self) -> dict[str, Any]:
        """The parameters that were sent, as a policy has them."""
        values = {name: getattr(self, name) for name in self.model_fields_set - set(_SAID)}
        return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


_ROTATION: Final[dict[str, Any]] = {
    "rotation_id": EXAMPLE_ROTATION_ID, "key_id": EXAMPLE_KEY_ID, "policy_id": None, "strategy": "overlapping",
    "cause": "requested", "stage": "overlap", "stage_at": EXAMPLE_TIME, "old_version": 1, "new_version": 2,
    "serving_version": 2, "share": None, "awaited": [], "started_at": EXAMPLE_TIME, "next_at": EXAMPLE_TIME,
    "old_ends_at": EXAMPLE_TIME, "paused": None, "finished_at": None, "outcome": None,
}  # fmt: skip


class RotationBody(Body):
    """A rotation, running or past."""

    model_config = example(**_ROTATION)

    rotation_id: Annotated[str, shown(pattern=ROTATION_ID_PATTERN)]
    key_id: Annotated[str, shown(pattern=KEY_ID_PATTERN)]
    policy_id: str | None
    strategy: RotationStrategy
    cause: Cause
    stage: Stage
    stage_at: Time
    old_version: int
    new_version: int
    serving_version: Annotated[int, Field(description="The version that the key serves with.")]
    share: Annotated[int | None, Field(description="Percent of signatures that the new version makes.")]
    awaited: Annotated[list[Awaited], Field(description="What has to happen before the new one takes over.")]
    started_at: Time
    next_at: Annotated[Time | None, Field(description="When it goes on.")]
    old_ends_at: Annotated[Time | None, Field(description="When a token's old version ends.")]
    paused: Annotated[ReasonBody | None, Field(description="Why it stands still.")]
    finished_at: Time | None
    outcome: Annotated[ReasonBody | None, Field(description="How it ended, and why.")]


class RotatedBody(RotationBody):
    """A rotation that has begun, with the new secret: the only time that it is shown."""

    model_config = example(**_ROTATION, key=EXAMPLE_TOKEN, public_key=None)

    key: Annotated[
        str | None,
        Field(description="The new secret; null for a key pair, and for one that waits to be picked up."),
    ]
    public_key: Annotated[str | None, Field(description="The new public half of a key pair, as PEM.")]


class PickedUpBody(RotationBody):
    """A rotation whose new secret was fetched, with it."""

    model_config = example(**_ROTATION, key=EXAMPLE_TOKEN)

    key: str


class RotationListBody(Body):
    """Some rotations, newest first."""

    model_config = example(items=[_ROTATION], next_cursor=None)

    items: list[RotationBody]
    next_cursor: Annotated[str | None, Field(description="Leads on to those after them; null at the end.")]


class ForeseenBody(Body):
    """A stage of a rotation that has not begun."""

    stage: Stage
    at: Annotated[Time, Field(description="The earliest time at which it begins.")]
    share: int | None
    serving_version: int
    verifying_versions: list[int]
    awaited: list[Awaited]
    old_ends_at: Time | None


class PreviewBody(Body):
    """What rotating a key would do now."""

    model_config = example(
        key_id=EXAMPLE_KEY_ID, strategy="immediate", policy_id=None, problem=None, next_due=None,
        stages=[{"stage": "completed", "at": EXAMPLE_TIME, "share": None, "serving_version": 2,
                 "verifying_versions": [2], "awaited": [], "old_ends_at": None}],
    )  # fmt: skip

    key_id: Annotated[str, shown(pattern=KEY_ID_PATTERN)]
    strategy: RotationStrategy
    policy_id: str | None
    problem: Annotated[str | None, Field(description="Why it cannot be rotated now.")]
    next_due: Annotated[Time | None, Field(description="When its policy rotates it by itself.")]
    stages: list[ForeseenBody]


class StatisticsBody(Body):
    """How rotation goes."""

    model_config = example(
        since=EXAMPLE_TIME, until=EXAMPLE_TIME, by_stage={"completed": 12}, success_rate=1.0, failure_rate=0.0,
        keys=40, mean_age=864_000.5, past_max_age=0, is_partial=False, stragglers=[],
    )  # fmt: skip

    since: Time
    until: Time
    by_stage: Annotated[
        dict[str, int], Field(description="How many of the rotations since then stand where.")
    ]
    success_rate: Annotated[float | None, Field(description="Of those that ended, from 0 to 1.")]
    failure_rate: float | None
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
            beside=lambda started: keep(_rotated_view(started), [key_id]),
            rsa_keys=generator.rsa_keys,
        )

    return once.answer(by, make)


def _rotated_view(started: Started) -> View:
    secret = None if started.secret is None else started.secret.reveal()
    return {**rotation_view(started.rotation), "key": secret, "public_key": started.public_key}


@router.get("/keys/{key_id}/rotation-preview", response_model=PreviewBody)
def preview_rotation(key_id: KeyId, node: TheNode, by: MayReadRotation) -> View:
    """Say what rotating a key would do now, stage by stage; nothing is changed."""
    return preview_view(node.rotation.requests.preview(key_id, by))


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


@router.post("/rotations/{rotation_id}/pick-up", response_model=PickedUpBody, responses=CONFLICT)
def pick_up_secret(rotation_id: RotationId, node: TheNode, by: MayRotate) -> View:
    """Fetch the new secret that waits, this once; then the new version takes over."""
    picked = node.rotation.mover.pick_up(rotation_id, by)
    return {**rotation_view(picked.rotation), "key": picked.secret.reveal()}


def _note(why: Note | None) -> str | None:
    return None if why is None else why.note
