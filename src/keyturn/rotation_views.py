"""How policies and rotations look as JSON: one form for HTTP and the command line."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from enum import Enum
from typing import Any

from keyturn.domain.instants import rfc3339
from keyturn.domain.rotation.blackout import BlackoutWindow
from keyturn.domain.rotation.kept_policy import KeptPolicy
from keyturn.domain.rotation.policy import RotationPolicy
from keyturn.domain.rotation.reasons import Reason
from keyturn.domain.rotation.rotation import Rotation
from keyturn.domain.rotation.selection import KeySelection
from keyturn.rotation.events import RotationEvent
from keyturn.rotation.requesting import Preview
from keyturn.rotation.starting import Started
from keyturn.rotation.statistics import RotationStatistics
from keyturn.views import View


def policy_view(kept: KeptPolicy) -> View:
    """A policy, with all that was filled in."""
    view = {each.name: shown(getattr(kept.policy, each.name)) for each in fields(RotationPolicy)}
    times = {"created_at": rfc3339(kept.created_at), "updated_at": rfc3339(kept.updated_at)}
    return {**view, "paused": shown(kept.paused), **times}


def rotation_view(rotation: Rotation) -> View:
    """A rotation, running or past, without any secret."""
    return {
        "rotation_id": rotation.rotation_id,
        "key_id": rotation.key_id,
        "policy_id": rotation.policy_id,
        "strategy": rotation.strategy.value,
        "cause": rotation.cause.value,
        "stage": rotation.stage.value,
        "stage_at": rfc3339(rotation.stage_at),
        "old_version": rotation.old,
        "new_version": rotation.new,
        "serving_version": rotation.serving,
        "share": rotation.share,
        "awaited": sorted(each.value for each in rotation.awaited),
        "started_at": rfc3339(rotation.started_at),
        "next_at": shown(rotation.next_at),
        "old_ends_at": shown(rotation.ends_at),
        "paused": None if rotation.paused is None else shown(rotation.paused.why),
        "finished_at": shown(rotation.finished_at),
        "outcome": shown(rotation.outcome),
    }


def started_view(started: Started) -> View:
    """A rotation that has begun, with the new secret, which is shown this once."""
    secret = None if started.secret is None else started.secret.reveal()
    return {**rotation_view(started.rotation), "key": secret, "public_key": started.public_key}


def preview_view(preview: Preview) -> View:
    """What a rotation would do."""
    return {
        "key_id": preview.key.key_id,
        "strategy": preview.strategy.value,
        "policy_id": preview.policy_id,
        "problem": preview.problem,
        "next_due": shown(preview.next_due),
        "stages": [
            {
                "stage": each.stage.value,
                "at": rfc3339(each.at),
                "share": each.share,
                "serving_version": each.serving,
                "verifying_versions": list(each.verifying),
                "awaited": list(each.awaited),
                "old_ends_at": shown(each.old_ends_at),
            }
            for each in preview.stages
        ],
    }


def statistics_view(statistics: RotationStatistics) -> View:
    """How rotation goes."""
    return {
        "since": rfc3339(statistics.since),
        "until": rfc3339(statistics.until),
        "by_stage": dict(statistics.by_stage),
        "by_outcome": dict(statistics.by_outcome),
        "by_pause": dict(statistics.by_pause),
        "success_rate": statistics.success_rate,
        "failure_rate": statistics.failure_rate,
        "keys": statistics.keys,
        "mean_age": statistics.mean_age,
        "past_max_age": statistics.past_max_age,
        "is_partial": statistics.is_partial,
        "stragglers": [
            {
                "rotation_id": each.rotation_id,
                "key_id": each.key_id,
                "old_version": each.old_version,
                "last_used_at": rfc3339(each.last_used_at),
                "last_ip": each.last_ip,
                "old_ends_at": shown(each.ends_at),
            }
            for each in statistics.stragglers
        ],
    }


def event_view(event: RotationEvent) -> View:
    """One thing that a scheduler did."""
    return {each.name: shown(getattr(event, each.name)) for each in fields(RotationEvent)}


def shown(value: Any) -> Any:
    """A value of a policy as JSON has it."""
    match value:
        case datetime():
            return rfc3339(value)
        case Enum():
            return value.value
        case Reason():
            return {"code": value.name, "text": value.text}
        case tuple():
            return [shown(item) for item in value]
        case KeySelection() | BlackoutWindow():
            return {each.name: shown(getattr(value, each.name)) for each in fields(value)}
        case _:
            return value
