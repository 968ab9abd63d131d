"""Rotations as the interface describes them: what is asked for, and what is answered."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Path
from pydantic import Field

from keyturn.domain.ids import ROTATION
from keyturn.domain.rotation.policy import RotationStrategy
from keyturn.domain.rotation.stages import Awaited, Cause, Stage
from keyturn.server.models import Body, Closed, example
from keyturn.server.rotation_policies import ReasonBody, Seconds
from keyturn.server.schemas import (
    EXAMPLE_KEY_ID,
    EXAMPLE_TIME,
    EXAMPLE_TOKEN,
    KEY_ID_PATTERN,
    Time,
    id_pattern,
    shown,
)

ROTATION_ID_PATTERN: Final = id_pattern(ROTATION)
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
    old_ends_at: Annotated[
        Time | None, Field(description="When the old version ends, and with it the way back.")
    ]
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
