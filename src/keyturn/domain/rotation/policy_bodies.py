"""Policies as row bodies, and back. `docs/formats/rotation.md` specifies them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from keyturn.domain.body_parts import BODY_VERSION, Body, Members, guarded, micros_of, without_absent
from keyturn.domain.change import Put
from keyturn.domain.instants import to_micros
from keyturn.domain.key import KeyType
from keyturn.domain.rotation.blackout import BlackoutWindow
from keyturn.domain.rotation.checks import unchecked
from keyturn.domain.rotation.kept_policy import KeptPolicy
from keyturn.domain.rotation.policy import WHOLE, RotationFrequency, RotationPolicy, RotationStrategy
from keyturn.domain.rotation.reasons import PolicyPauseCode, reason_body, reason_from
from keyturn.domain.rotation.selection import KeySelection
from keyturn.domain.scope import KeyScope

POLICY: Final = "policy"


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
        "paused": None if kept.paused is None else reason_body(kept.paused),
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


@guarded
def policy_from(body: Mapping[str, object]) -> KeptPolicy:
    """The policy that a body says; IntegrityError for what has not the form of one.

    Whether it makes sense was decided when it was written. So where it is used it may turn out that this machine cannot
    use it, such as one in a time zone that is not known here.
    """
    m = Members(body, POLICY)
    keys, paused = m.optional("keys", dict), m.optional("paused", dict)
    policy = unchecked(
        RotationPolicy,
        policy_id=m.take("policy_id", str),
        frequency=RotationFrequency(m.take("frequency", str)),
        strategy=RotationStrategy(m.take("strategy", str)),
        cron=m.optional("cron", str),
        time_zone=m.take("time_zone", str),
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
    _require_form(policy)
    kept = KeptPolicy(
        row_id=m.take("id", str),
        tenant=m.take("tenant", str),
        revision=m.take("revision", int),
        policy=policy,
        created_at=m.time("created_at"),
        updated_at=m.time("updated_at"),
        is_deleted=m.take("deleted", bool),
        paused=None if paused is None else reason_from(Members(paused), PolicyPauseCode),
    )
    m.finish()
    return kept


def _require_form(policy: RotationPolicy) -> None:
    """ValueError where a member is there that goes with another one, or where that is missing."""
    is_custom = policy.frequency is RotationFrequency.CUSTOM
    is_gradual = policy.strategy is RotationStrategy.GRADUAL
    if (policy.cron is not None) is not is_custom or policy.shares[-1:] != ((WHOLE,) if is_gradual else ()):
        raise ValueError("cron is for custom and shares, up to 100, for gradual")


def _selection_of(member: Mapping[str, object]) -> KeySelection:
    m = Members(member)
    keys = unchecked(
        KeySelection,
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
    window = unchecked(
        BlackoutWindow,
        starts_at=m.optional_time("starts_at"),
        ends_at=m.optional_time("ends_at"),
        cron=m.optional("cron", str),
        duration=m.optional("duration", int),
    )
    m.finish()
    once, again = (window.starts_at, window.ends_at), (window.cron, window.duration)
    if not any(None not in form and other == (None, None) for form, other in ((once, again), (again, once))):
        raise ValueError("a window has one of two forms")
    return window
