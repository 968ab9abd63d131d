"""Policies and rotations as row bodies, and back. `docs/formats/rotation.md` specifies them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from typing import Any, Final, TypeVar

from keyturn.domain.body_parts import BODY_VERSION, Body, Members, guarded, micros_of, without_absent
from keyturn.domain.change import Put
from keyturn.domain.instants import to_micros
from keyturn.domain.key import KeyType
from keyturn.domain.rotation.blackout import BlackoutWindow
from keyturn.domain.rotation.kept_policy import KeptPolicy
from keyturn.domain.rotation.policy import (
    KeySelection,
    RotationFrequency,
    RotationPolicy,
    RotationStrategy,
)
from keyturn.domain.rotation.reasons import Outcome, PauseCode, PolicyPauseCode, Reason, reason_of
from keyturn.domain.rotation.rotation import Awaited, Cause, Paused, Plan, Rotation, Stage
from keyturn.domain.rotation.zones import zone_of
from keyturn.domain.scope import KeyScope
from keyturn.errors import ConfigurationError, InvalidInputError

POLICY: Final = "policy"
ROTATION: Final = "rotation"
_MICROSECOND: Final = timedelta(microseconds=1)
_C = TypeVar("_C", bound=Enum)


def policy_put(kept: KeptPolicy) -> Put:
    """The row of a policy."""
    policy = kept.policy
    body: Body = {
        "v": BODY_VERSION,
        "kind": POLICY,
        "id": kept.row_id,
        "tenant": kept.tenant,
        "revision": kept.revision,
        "policy_id": policy.policy_id,
        "created_at": to_micros(kept.created_at),
        "updated_at": to_micros(kept.updated_at),
        "deleted": kept.is_deleted,
        "paused": None if kept.paused is None else _reason_body(kept.paused),
        "frequency": policy.frequency.value,
        "cron": policy.cron,
        "time_zone": policy.time_zone,
        "strategy": policy.strategy.value,
        "keys": None if policy.keys is None else _selection_body(policy.keys),
        "overlap": policy.overlap,
        "max_overlap": policy.max_overlap,
        "retire_unused_after": policy.retire_unused_after,
        "shares": list(policy.shares),
        "dwell": policy.dwell,
        "pause_above": policy.pause_above,
        "lead": policy.lead,
        "requires_check": policy.requires_check,
        "rollback_window": policy.rollback_window,
        "max_age": policy.max_age,
        "notices": list(policy.notices),
        "blackouts": [_blackout_body(window) for window in policy.blackouts],
    }
    return Put(
        id=kept.row_id, kind=POLICY, tenant=kept.tenant, revision=kept.revision, body=without_absent(body)
    )


def rotation_put(rotation: Rotation) -> Put:
    """The row of a rotation."""
    body: Body = {
        "v": BODY_VERSION,
        "kind": ROTATION,
        "id": rotation.row_id,
        "tenant": rotation.tenant,
        "revision": rotation.revision,
        "key": rotation.key_id,
        "type": rotation.key_type.value,
        "policy_id": rotation.policy_id,
        "strategy": rotation.strategy.value,
        "cause": rotation.cause.value,
        "plan": _plan_body(rotation.plan),
        "old": rotation.old,
        "new": rotation.new,
        "stage": rotation.stage.value,
        "stage_at": to_micros(rotation.stage_at),
        "started_at": to_micros(rotation.started_at),
        "share": rotation.share,
        "awaited": sorted(each.value for each in rotation.awaited),
        "next_at": micros_of(rotation.next_at),
        "ends_at": micros_of(rotation.ends_at),
        "ceiling": micros_of(rotation.ceiling),
        "paused": None if rotation.paused is None else _paused_body(rotation.paused),
        "finished_at": micros_of(rotation.finished_at),
        "outcome": None if rotation.outcome is None else _reason_body(rotation.outcome),
    }
    return Put(
        id=rotation.row_id,
        kind=ROTATION,
        tenant=rotation.tenant,
        revision=rotation.revision,
        body=without_absent(body),
    )


def _selection_body(keys: KeySelection) -> Body:
    return {
        "types": [each.value for each in keys.types],
        "owners": list(keys.owners),
        "tags": list(keys.tags),
        "scopes": [each.value for each in keys.scopes],
        "key_ids": list(keys.key_ids),
        "every_key": keys.every_key,
    }


def _blackout_body(window: BlackoutWindow) -> Body:
    return without_absent(
        {
            "starts_at": micros_of(window.starts_at),
            "ends_at": micros_of(window.ends_at),
            "cron": window.cron,
            "duration": window.duration,
        }
    )


def _plan_body(plan: Plan) -> Body:
    return without_absent(
        {
            "lead": plan.lead,
            "overlap": plan.overlap,
            "max_overlap": plan.max_overlap,
            "shares": list(plan.shares),
            "dwell": plan.dwell,
            "rollback_window": plan.rollback_window,
            "retire_unused_after": plan.retire_unused_after,
        }
    )


def _paused_body(paused: Paused) -> Body:
    return without_absent(
        {
            "at": to_micros(paused.at),
            **_reason_body(paused.why),
            "next_in": _span(paused.next_in),
            "ends_in": _span(paused.ends_in),
        }
    )


def _reason_body(reason: Reason[Any]) -> Body:
    return {"code": reason.name, "text": reason.text}


def _span(span: timedelta | None) -> int | None:
    return None if span is None else span // _MICROSECOND


@guarded
def policy_from(body: Mapping[str, object]) -> KeptPolicy:
    """The policy that a body says; IntegrityError for anything that this program did not write."""
    m = Members(body, POLICY)
    keys, paused = m.optional("keys", dict), m.optional("paused", dict)
    policy = RotationPolicy(
        policy_id=m.take("policy_id", str),
        frequency=RotationFrequency(m.take("frequency", str)),
        strategy=RotationStrategy(m.take("strategy", str)),
        cron=m.optional("cron", str),
        time_zone=_known_zone(m.take("time_zone", str)),
        keys=None if keys is None else _selection_of(keys),
        overlap=m.take("overlap", int),
        max_overlap=m.take("max_overlap", int),
        retire_unused_after=m.optional("retire_unused_after", int),
        shares=m.numbers("shares"),
        dwell=m.take("dwell", int),
        pause_above=m.take("pause_above", int),
        lead=m.take("lead", int),
        requires_check=m.take("requires_check", bool),
        rollback_window=m.take("rollback_window", int),
        max_age=m.optional("max_age", int),
        notices=m.numbers("notices"),
        blackouts=tuple(_blackout_of(window) for window in m.objects("blackouts")),
    )
    kept = KeptPolicy(
        row_id=m.take("id", str),
        tenant=m.take("tenant", str),
        revision=m.take("revision", int),
        policy=policy,
        created_at=m.time("created_at"),
        updated_at=m.time("updated_at"),
        is_deleted=m.take("deleted", bool),
        paused=None if paused is None else _reason_from(Members(paused), PolicyPauseCode),
    )
    m.finish()
    return kept


def _known_zone(name: str) -> str:
    """The zone's name; ConfigurationError where this machine has no data of it, while another one had."""
    try:
        zone_of(name)
    except InvalidInputError as error:
        raise ConfigurationError(
            f"a policy is in a time zone that is not known here: {error}", fix=error.fix
        ) from None
    return name


def _selection_of(member: Mapping[str, object]) -> KeySelection:
    m = Members(member)
    keys = KeySelection(
        types=tuple(KeyType(each) for each in m.texts("types")),
        owners=m.texts("owners"),
        tags=m.texts("tags"),
        scopes=tuple(KeyScope(each) for each in m.texts("scopes")),
        key_ids=m.texts("key_ids"),
        every_key=m.take("every_key", bool),
    )
    m.finish()
    return keys


def _blackout_of(member: Mapping[str, object]) -> BlackoutWindow:
    m = Members(member)
    window = BlackoutWindow(
        starts_at=m.optional_time("starts_at"),
        ends_at=m.optional_time("ends_at"),
        cron=m.optional("cron", str),
        duration=m.optional("duration", int),
    )
    m.finish()
    return window


@guarded
def rotation_from(body: Mapping[str, object]) -> Rotation:
    """The rotation that a body says; IntegrityError as for a policy."""
    m = Members(body, ROTATION)
    paused, outcome = m.optional("paused", dict), m.optional("outcome", dict)
    rotation = Rotation(
        rotation_id=m.take("id", str),
        tenant=m.take("tenant", str),
        revision=m.take("revision", int),
        key_id=m.take("key", str),
        key_type=KeyType(m.take("type", str)),
        policy_id=m.optional("policy_id", str),
        strategy=RotationStrategy(m.take("strategy", str)),
        cause=Cause(m.take("cause", str)),
        plan=_plan_of(m.take("plan", dict)),
        old=m.take("old", int),
        new=m.take("new", int),
        stage=Stage(m.take("stage", str)),
        stage_at=m.time("stage_at"),
        started_at=m.time("started_at"),
        share=m.optional("share", int),
        awaited=frozenset(Awaited(each) for each in m.texts("awaited")),
        next_at=m.optional_time("next_at"),
        ends_at=m.optional_time("ends_at"),
        ceiling=m.optional_time("ceiling"),
        paused=None if paused is None else _paused_of(paused),
        finished_at=m.optional_time("finished_at"),
        outcome=None if outcome is None else _reason_from(Members(outcome), Outcome),
    )
    m.finish()
    return rotation


def _plan_of(member: Mapping[str, object]) -> Plan:
    m = Members(member)
    plan = Plan(
        lead=m.take("lead", int),
        overlap=m.take("overlap", int),
        max_overlap=m.take("max_overlap", int),
        shares=m.numbers("shares"),
        dwell=m.take("dwell", int),
        rollback_window=m.take("rollback_window", int),
        retire_unused_after=m.optional("retire_unused_after", int),
    )
    m.finish()
    return plan


def _paused_of(member: Mapping[str, object]) -> Paused:
    m = Members(member)
    return Paused(
        at=m.time("at"),
        next_in=_optional_span(m, "next_in"),
        ends_in=_optional_span(m, "ends_in"),
        why=_reason_from(m, PauseCode),
    )


def _reason_from(m: Members, kind: type[_C]) -> Reason[_C]:
    """The reason that is what is left of these members."""
    reason = reason_of(kind, m.take("code", str), m.take("text", str))
    m.finish()
    return reason


def _optional_span(members: Members, name: str) -> timedelta | None:
    micros = members.optional(name, int)
    return None if micros is None else timedelta(microseconds=micros)
