"""A key's versions, and how often it was used."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field

from keyturn.audit.usage import MAX_POINTS, MAX_WINDOW, Period
from keyturn.domain.lifecycle import KeyState
from keyturn.server.access import MayRead, TheNode
from keyturn.server.models import Body, InstantInQuery, example
from keyturn.server.schemas import (
    CREDENTIAL_ID_PATTERN,
    EXAMPLE_KEY_ID,
    EXAMPLE_TIME,
    KEY_ID_PATTERN,
    Cursor,
    KeyId,
    Limit,
    Time,
    shown,
)
from keyturn.views import View, series_view, version_view

router = APIRouter(prefix="/v1", tags=["keys"])


class ListedVersions(Body):
    """The query of a list of versions."""

    model_config = ConfigDict(extra="forbid")

    limit: Limit = 100
    cursor: Cursor | None = None


class VersionBody(Body):
    """One generation of a key's secret."""

    version: Annotated[int, Field(description="Its number, counted from 1.")]
    state: Annotated[KeyState, Field(description="The stricter of its own state and the key's.")]
    state_changed_at: Time
    is_current: Annotated[bool, Field(description="Whether the key serves with this version.")]
    credential_id: Annotated[
        str | None,
        shown(
            "The handle inside the token; null for keys that sign, and for imported tokens.",
            pattern=CREDENTIAL_ID_PATTERN,
        ),
    ]
    created_at: Time
    expires_at: Time | None
    last_used_at: Annotated[Time | None, Field(description="Its latest valid use.")]


class VersionListBody(Body):
    """Some versions, newest first."""

    model_config = example(
        items=[{
            "version": 1, "state": "active", "state_changed_at": EXAMPLE_TIME, "is_current": True,
            "credential_id": "0123456789ABCDEF", "created_at": EXAMPLE_TIME, "expires_at": None,
            "last_used_at": EXAMPLE_TIME,
        }],
        next_cursor=None,
    )  # fmt: skip

    items: list[VersionBody]
    next_cursor: Annotated[str | None, Field(description="Leads on to those before them; null at the end.")]


@router.get("/keys/{key_id}/versions", response_model=VersionListBody)
def list_key_versions(
    key_id: KeyId, asked: Annotated[ListedVersions, Query()], node: TheNode, by: MayRead
) -> View:
    """List the versions of a key with their states, newest first."""
    page = node.versions.list(key_id, by, limit=asked.limit, cursor=asked.cursor)
    return {"items": [version_view(listed) for listed in page.items], "next_cursor": page.next_cursor}


class AskedUsage(Body):
    """The query of a key's usage."""

    model_config = ConfigDict(extra="forbid")

    period: Annotated[
        Period, Field(description=f"Over what to add up; at most {MAX_POINTS:,} points at once.")
    ] = Period.DAY
    since: Annotated[
        InstantInQuery | None,
        Field(
            alias="from",
            description="Where to begin; without it an hour of minutes, a day of hours, or 30 days.",
        ),
    ] = None
    until: Annotated[
        InstantInQuery | None,
        Field(
            alias="to",
            description=f"Where to end, at most {MAX_WINDOW.days} days later; now, if absent.",
        ),
    ] = None


class UsagePointBody(Body):
    """What was counted in one period."""

    at: Annotated[Time, Field(description="Its beginning.")]
    count: Annotated[int, Field(description="Valid uses.")]
    refused: Annotated[dict[str, int], Field(description="Refusals by verification code.")]


class UsageBody(Body):
    """Uses of a key, and refusals, by minute, hour or day in UTC."""

    model_config = example(
        key_id=EXAMPLE_KEY_ID, period="day", total=1_204, refused={"insufficient_scope": 2},
        points=[{"at": "2026-01-31T00:00:00.000000Z", "count": 1_204, "refused": {"insufficient_scope": 2}}],
        last_used_at=EXAMPLE_TIME, last_ip="203.0.113.9", last_used_by_version={"1": EXAMPLE_TIME},
        **{"from": "2026-01-02T00:00:00.000000Z", "to": "2026-02-01T00:00:00.000000Z"},
    )  # fmt: skip

    key_id: Annotated[str, shown(pattern=KEY_ID_PATTERN)]
    period: Period
    since: Annotated[
        Time, Field(alias="from", description="Beginning of the first period that was looked at.")
    ]
    until: Annotated[Time, Field(alias="to", description="End of the last period that was looked at.")]
    total: Annotated[int, Field(description="Valid uses in that time.")]
    refused: Annotated[dict[str, int], Field(description="Refusals in that time, by verification code.")]
    points: Annotated[
        list[UsagePointBody], Field(description="Oldest first, without the periods that had nothing.")
    ]
    last_used_at: Annotated[Time | None, Field(description="The latest valid use ever.")]
    last_ip: Annotated[str | None, Field(description="The address that it came from, where one was told.")]
    last_used_by_version: Annotated[dict[str, Time], Field(description="By the version's number.")]


@router.get("/keys/{key_id}/usage", response_model=UsageBody)
def get_key_usage(key_id: KeyId, asked: Annotated[AskedUsage, Query()], node: TheNode, by: MayRead) -> View:
    """Get how often a key was used and refused, and when and from where last.

    What this node has counted is included; what others have follows within seconds.
    """
    key = node.reader.get(key_id, by)
    node.recorder.flush()
    series = node.usage.series(key.key_id, node.clock.now(), asked.period, asked.since, asked.until)
    return series_view(series)
