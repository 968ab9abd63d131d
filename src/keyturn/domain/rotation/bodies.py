"""Rotations as row bodies, and back. `docs/formats/rotation.md` specifies them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from keyturn.domain.body_parts import BODY_VERSION, Body, Members, guarded, micros_of, without_absent
from keyturn.domain.change import Put
from keyturn.domain.instants import to_micros
from keyturn.domain.key import KeyType
from keyturn.domain.rotation.plan import Paused, Plan
from keyturn.domain.rotation.policy import RotationStrategy
from keyturn.domain.rotation.reasons import Outcome, PauseCode, reason_body, reason_from
from keyturn.domain.rotation.rotation import Rotation
from keyturn.domain.rotation.stages import Awaited, Cause, Stage

ROTATION: Final = "rotation"
_MICROSECOND: Final = timedelta(microseconds=1)


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
        "outcome": None if rotation.outcome is None else reason_body(rotation.outcome),
    }
    return Put(
        id=rotation.row_id,
        kind=ROTATION,
        tenant=rotation.tenant,
        revision=rotation.revision,
        body=without_absent(body),
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
            **reason_body(paused.why),
            "next_in": _span(paused.next_in),
            "ends_in": _span(paused.ends_in),
        }
    )


def _span(span: timedelta | None) -> int | None:
    return None if span is None else span // _MICROSECOND


@guarded
def rotation_from(body: Mapping[str, object]) -> Rotation:
    """The rotation that a body says; IntegrityError for anything that this program did not write."""
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
        outcome=None if outcome is None else reason_from(Members(outcome), Outcome),
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
        why=reason_from(m, PauseCode),
    )


def _optional_span(members: Members, name: str) -> timedelta | None:
    micros = members.optional(name, int)
    return None if micros is None else timedelta(microseconds=micros)
