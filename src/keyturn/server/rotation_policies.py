"""Rotation policies over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Response
from pydantic import ConfigDict, Field

from keyturn.domain.fields import POLICY_ID_PATTERN
from keyturn.domain.key import KeyType
from keyturn.domain.rotation.blackout import BlackoutWindow
from keyturn.domain.rotation.checks import MAX_LISTED
from keyturn.domain.rotation.policy import (
    MAX_BLACKOUTS,
    SHORTEST_PERIOD,
    RotationFrequency,
    RotationPolicy,
    RotationStrategy,
)
from keyturn.domain.rotation.selection import KeySelection
from keyturn.domain.scope import KeyScope
from keyturn.rotation_views import policy_view
from keyturn.server.access import MayReadRotation, MayUpdateRotation, TheNode
from keyturn.server.etags import IfMatch, IfNoneMatch, etag_of
from keyturn.server.idempotency import Keep, Once
from keyturn.server.models import Body, Closed, Instant, example
from keyturn.server.openapi import CONFLICT, CREATED, NOT_MODIFIED, TAGGED
from keyturn.server.schemas import (
    EXAMPLE_TIME,
    KEY_ID_PATTERN,
    Cursor,
    Limit,
    OwnerId,
    PolicyId,
    Tags,
    Time,
    shown,
)
from keyturn.views import View

router = APIRouter(prefix="/v1/rotation-policies", tags=["rotation"])

ThePolicyId = Annotated[
    str,
    Path(
        description="The policy's name.",
        examples=["monthly_rotation"],
        json_schema_extra={"pattern": POLICY_ID_PATTERN},
    ),
]
Types = Annotated[list[Annotated[KeyType, Field(strict=False)]], shown(uniqueItems=True)]
Scopes = Annotated[list[Annotated[KeyScope, Field(strict=False)]], shown(uniqueItems=True)]
Owners = Annotated[list[OwnerId], shown(uniqueItems=True, maxItems=MAX_LISTED)]
KeyIds = Annotated[
    list[Annotated[str, shown(pattern=KEY_ID_PATTERN)]], shown(uniqueItems=True, maxItems=MAX_LISTED)
]
Seconds = Annotated[int, shown("Whole seconds.", minimum=0, example=604_800)]


class ReasonBody(Body):
    """Why something ended or stands still: a code for programs, and a text for people."""

    model_config = example(code="requested", text="somebody paused it")

    code: str
    text: str


class SelectionBody(Closed):
    """Which keys a policy is for beside those that name it: all that are in each list that is not empty."""

    model_config = example(tags=["production"])

    types: Annotated[Types, Field(default_factory=list)]
    owners: Annotated[Owners, Field(default_factory=list)]
    tags: Annotated[Tags, Field(default_factory=list)]
    scopes: Annotated[Scopes, Field(default_factory=list)]
    key_ids: Annotated[KeyIds, Field(default_factory=list)]
    every_key: Annotated[bool, Field(description="Every key that names no policy; without any list.")] = False

    def value(self) -> KeySelection:
        """The selection, checked."""
        return KeySelection(
            types=tuple(self.types),
            owners=tuple(self.owners),
            tags=tuple(self.tags),
            scopes=tuple(self.scopes),
            key_ids=tuple(self.key_ids),
            every_key=self.every_key,
        )


class BlackoutBody(Closed):
    """When no rotation begins: once, between two times, or from each time of a cron expression on."""

    model_config = example(cron="0 18 * * FRI", duration=223_200)

    starts_at: Instant | None = None
    ends_at: Instant | None = None
    cron: str | None = None
    duration: Seconds | None = None

    def value(self) -> BlackoutWindow:
        """The window, checked."""
        return BlackoutWindow(**self.model_dump())


class PolicyFields(Closed):
    """What a policy says, but for its name; what is left out is filled in."""

    frequency: Annotated[RotationFrequency | None, Field(strict=False)] = None
    strategy: Annotated[RotationStrategy | None, Field(strict=False)] = None
    cron: Annotated[str | None, shown("For the frequency custom: five fields.", example="30 3 1 * *")] = None
    time_zone: Annotated[str | None, shown("What a day and an hour are.", example="Europe/Zurich")] = None
    keys: SelectionBody | None = None
    overlap: Annotated[Seconds | None, shown("For which the old version goes on.", example=604_800)] = None
    max_overlap: Annotated[Seconds | None, shown("The same, pauses included.", example=7_776_000)] = None
    retire_unused_after: Annotated[
        Seconds | None, shown("Without use, after which an old token ends early.", example=86_400)
    ] = None
    shares: Annotated[list[int] | None, shown("Percent, rising to 100.", example=[10, 25, 50, 100])] = None
    dwell: Annotated[Seconds | None, shown("For which each share stays.", example=86_400)] = None
    pause_above: Annotated[
        int | None,
        shown("Percent of new versions not taken up at which it stops.", minimum=0, maximum=100, example=10),
    ] = None
    lead: Annotated[
        Seconds | None, shown("For which a new version is known before it signs.", example=3_600)
    ] = None
    requires_check: bool | None = None
    rollback_window: Annotated[Seconds | None, shown("After the switch.", example=86_400)] = None
    max_age: Annotated[
        int | None,
        shown("Seconds after which a version is replaced.", minimum=SHORTEST_PERIOD, example=7_776_000),
    ] = None
    notices: Annotated[list[int] | None, shown("Seconds before a rotation.", example=[604_800, 86_400])] = (
        None
    )
    blackouts: Annotated[list[BlackoutBody] | None, shown(maxItems=MAX_BLACKOUTS)] = None
    may_select_none: Annotated[
        bool, Field(description="Whether the selection may meet no key that there is yet.")
    ] = False

    def said(self) -> dict[str, Any]:
        """The fields that were sent, as a policy has them."""
        values: dict[str, Any] = {}
        for name in self.model_fields_set - {"policy_id", "may_select_none"}:
            value = getattr(self, name)
            if isinstance(value, SelectionBody):
                value = value.value()
            elif isinstance(value, list):
                value = tuple(each.value() if isinstance(each, BlackoutBody) else each for each in value)
            values[name] = value
        return values


_CHANGED: Final[dict[int | str, dict[str, Any]]] = {**TAGGED, **CONFLICT}
_NEW: Final[dict[str, Any]] = {
    "policy_id": "monthly_rotation", "frequency": "monthly", "strategy": "overlapping", "overlap": 604_800,
    "keys": {"tags": ["production"]}, "may_select_none": True,
}  # fmt: skip


class NewPolicy(PolicyFields):
    """A policy to be kept."""

    model_config = example(**_NEW)

    policy_id: PolicyId
    frequency: Annotated[RotationFrequency, Field(strict=False)]
    strategy: Annotated[RotationStrategy, Field(strict=False)]


class PolicyChanges(PolicyFields):
    """Changes to a policy: what is absent stays, null is what there is when nothing is said."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"overlap": 1_209_600}], "minProperties": 1})


_POLICY: Final[dict[str, Any]] = {
    "policy_id": "monthly_rotation", "frequency": "monthly", "strategy": "overlapping", "cron": None,
    "time_zone": "UTC", "keys": {"types": [], "owners": [], "tags": ["production"], "scopes": [], "key_ids": [],
                                 "every_key": False},
    "overlap": 604_800, "max_overlap": 7_776_000, "retire_unused_after": None, "shares": [], "dwell": 0,
    "pause_above": 0, "lead": 0, "requires_check": False, "rollback_window": 0, "max_age": None,
    "notices": [604_800, 86_400], "blackouts": [], "paused": None, "created_at": EXAMPLE_TIME,
    "updated_at": EXAMPLE_TIME,
}  # fmt: skip


class PolicyBody(Body):
    """A policy, with all that was filled in."""

    model_config = example(**_POLICY)

    policy_id: str
    frequency: RotationFrequency
    strategy: RotationStrategy
    cron: str | None
    time_zone: str
    keys: dict[str, Any] | None
    overlap: int
    max_overlap: int
    retire_unused_after: int | None
    shares: list[int]
    dwell: int
    pause_above: int
    lead: int
    requires_check: bool
    rollback_window: int
    max_age: int | None
    notices: list[int]
    blackouts: list[dict[str, Any]]
    paused: Annotated[ReasonBody | None, Field(description="Why no rotation begins by it for now.")]
    created_at: Time
    updated_at: Time


class PolicyListBody(Body):
    """Some policies, newest first."""

    model_config = example(items=[_POLICY], next_cursor=None)

    items: list[PolicyBody]
    next_cursor: Annotated[str | None, Field(description="Leads on to those after them; null at the end.")]


class ListedPolicies(Body):
    """The query of a list of policies."""

    model_config = ConfigDict(extra="forbid")

    limit: Limit = 100
    cursor: Cursor | None = None


@router.post("", status_code=201, response_model=PolicyBody, responses={**CREATED, **CONFLICT})
def create_rotation_policy(wanted: NewPolicy, node: TheNode, by: MayUpdateRotation, once: Once) -> Response:
    """Keep a rotation policy. Rotations begin by it within a minute of being due.

    Needs `*` and the scope full besides: a policy rotates keys of any kind.
    """

    def make(keep: Keep) -> None:
        policy = RotationPolicy(policy_id=wanted.policy_id, **wanted.said())
        node.rotation.policies.create(
            policy,
            by,
            may_select_none=wanted.may_select_none,
            beside=lambda kept: keep(policy_view(kept), [kept.row_id], etag=etag_of(kept)),
        )

    return once.answer(by, make)


@router.get("", response_model=PolicyListBody)
def list_rotation_policies(
    asked: Annotated[ListedPolicies, Query()], node: TheNode, by: MayReadRotation
) -> View:
    """List rotation policies, newest first."""
    page = node.rotation.policies.list(by, limit=asked.limit, cursor=asked.cursor)
    return {"items": [policy_view(kept) for kept in page.items], "next_cursor": page.next_cursor}


@router.get("/{policy_id}", response_model=PolicyBody, responses={**TAGGED, **NOT_MODIFIED})
def get_rotation_policy(policy_id: ThePolicyId, node: TheNode, by: MayReadRotation, seen: IfNoneMatch) -> Any:
    """Get one rotation policy."""
    return seen.answer_unless_seen(node.rotation.policies.get(policy_id, by))


@router.patch("/{policy_id}", response_model=PolicyBody, responses=_CHANGED)
def update_rotation_policy(
    policy_id: ThePolicyId, changes: PolicyChanges, node: TheNode, by: MayUpdateRotation, seen: IfMatch
) -> View:
    """Change a rotation policy; rotations that have begun go on as they were planned.

    Needs `*` and the scope full besides.
    """
    kept = node.rotation.policies.update(
        policy_id, by, changes.said(), may_select_none=changes.may_select_none, only_if=seen.check
    )
    return seen.answer(kept)


@router.delete(
    "/{policy_id}", status_code=204, responses={204: {"description": "It is none any more."}, **CONFLICT}
)
def delete_rotation_policy(
    policy_id: ThePolicyId, node: TheNode, by: MayUpdateRotation, seen: IfMatch
) -> None:
    """Delete a rotation policy; keys that name it are not rotated any more."""
    node.rotation.policies.delete(policy_id, by, only_if=seen.check)


@router.post("/{policy_id}/pause", response_model=PolicyBody, responses=_CHANGED)
def pause_rotation_policy(
    policy_id: ThePolicyId, node: TheNode, by: MayUpdateRotation, seen: IfMatch
) -> View:
    """Let no rotation begin by a policy for now."""
    return seen.answer(node.rotation.policies.pause(policy_id, by, only_if=seen.check))


@router.post("/{policy_id}/resume", response_model=PolicyBody, responses=_CHANGED)
def resume_rotation_policy(
    policy_id: ThePolicyId, node: TheNode, by: MayUpdateRotation, seen: IfMatch
) -> View:
    """Let rotations begin by a policy again, also by one that has stopped by itself.

    Needs `*` and the scope full besides.
    """
    return seen.answer(node.rotation.policies.resume(policy_id, by, only_if=seen.check))
