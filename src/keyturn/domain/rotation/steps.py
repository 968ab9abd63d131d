"""What a rotation's stage makes of the key and of its two versions.

    rotation = begin(...)                               # in the first stage that it has to stay in
    moved = brought(rotation, key, old, new, now)       # the key and the versions as the stage has them

Only this decides which state a version is in while its key is being rotated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final, assert_never

from keyturn.domain.key import Key, Version
from keyturn.domain.lifecycle import Act, KeyState
from keyturn.domain.publishing import LEAD_SECONDS
from keyturn.domain.rotation.plan import Plan
from keyturn.domain.rotation.policy import RotationStrategy
from keyturn.domain.rotation.rotation import Rotation
from keyturn.domain.rotation.stages import REMINDER, Awaited, Cause, Stage

_ACTS: Final[Mapping[tuple[KeyState, KeyState], Act]] = MappingProxyType(
    {
        (KeyState.PRE_ACTIVE, KeyState.ACTIVE): Act.ACTIVATE,
        (KeyState.ACTIVE, KeyState.SUSPENDED): Act.SUSPEND,
        (KeyState.SUSPENDED, KeyState.ACTIVE): Act.RESUME,
        **{
            (state, KeyState.DEACTIVATED): Act.DEACTIVATE
            for state in (KeyState.PRE_ACTIVE, KeyState.ACTIVE, KeyState.SUSPENDED)
        },
        **{
            (state, KeyState.COMPROMISED): Act.COMPROMISE
            for state in (KeyState.PRE_ACTIVE, KeyState.ACTIVE, KeyState.SUSPENDED, KeyState.DEACTIVATED)
        },
    }
)


@dataclass(frozen=True, slots=True)
class Moved:
    """A key, and those of its two versions that a step changed; `key_has_changed` where it is a new revision."""

    key: Key
    versions: tuple[Version, ...]
    key_has_changed: bool


def begin(
    *,
    rotation_id: str,
    key: Key,
    strategy: RotationStrategy,
    plan: Plan,
    cause: Cause,
    now: datetime,
    policy_id: str | None = None,
    awaited: frozenset[Awaited] = frozenset(),
) -> Rotation:
    """A new rotation of the key, in the first stage that it has to stay in."""
    staged = Rotation(
        rotation_id=rotation_id,
        tenant=key.tenant,
        revision=0,
        key_id=key.key_id,
        key_type=key.type,
        policy_id=policy_id,
        strategy=strategy,
        cause=cause,
        plan=replace(plan, lead=_lead(key, plan, cause)),
        old=key.version,
        new=key.newest_version + 1,
        stage=Stage.STAGED,
        stage_at=now,
        started_at=now,
        awaited=awaited,
    )
    if awaited:
        return replace(staged, revision=1, next_at=now + REMINDER)
    staged = replace(staged, next_at=now + timedelta(seconds=staged.plan.lead))
    if staged.plan.lead or strategy is RotationStrategy.BLUE_GREEN:
        return replace(staged, revision=1)
    return staged.advanced(now, key.expires_at)


def _lead(key: Key, plan: Plan, cause: Cause) -> int:
    """A token that is handed out may be presented at once: only what signs is announced beforehand.

    A published key's next version is, whatever the strategy, unless the present one is in wrong hands.
    """
    if key.type.is_token:
        return 0
    is_awaited = key.published_for is not None and cause is not Cause.COMPROMISED
    return max(plan.lead, LEAD_SECONDS) if is_awaited else plan.lead


def brought(
    rotation: Rotation,
    key: Key,
    old: Version,
    new: Version,
    now: datetime,
    *,
    due_from: datetime | None = None,
) -> Moved:
    """The key and its versions as the rotation's stage has them. `due_from`: what a schedule counts from now on."""
    if rotation.stage is Stage.FAILED:
        return _after_failure(key, new, now)
    pairs = ((old, _old_as_of(rotation, old, now)), (new, _new_as_of(rotation, key, new, now)))
    serves_anew = key.version != rotation.serving
    changed = replace(
        key,
        version=rotation.serving,
        newest=None if rotation.serving == rotation.new else rotation.new,
        rotation=rotation.rotation_id if rotation.is_running else None,
        rotated_at=_serving_since(rotation, old, now) if serves_anew else key.rotated_at,
        due_from=key.due_from if due_from is None else due_from,
    )
    # A signer that has read the key, and a version that has another state by now, must see that the key moved too.
    has_changed = changed != key or any(before.state is not after.state for before, after in pairs)
    return Moved(
        key=_revised(changed, key, now) if has_changed else key,
        versions=tuple(after for before, after in pairs if after is not before),
        key_has_changed=has_changed,
    )


def _after_failure(key: Key, new: Version, now: datetime) -> Moved:
    """The versions stay as they are, for the key's own state refuses them; but nobody gets a secret that waited."""
    changed = _revised(replace(key, rotation=None), key, now)
    if new.state is not KeyState.PRE_ACTIVE:
        return Moved(changed, (), key_has_changed=True)
    ended = _without_parcel(key, _in_state(new, KeyState.DEACTIVATED, None, now), new)
    return Moved(changed, (ended,), key_has_changed=True)


def _revised(changed: Key, key: Key, now: datetime) -> Key:
    return replace(changed, revision=key.revision + 1, updated_at=now)


def _serving_since(rotation: Rotation, old: Version, now: datetime) -> datetime | None:
    if rotation.serving == rotation.new:
        return now
    return None if old.number == 1 else old.created_at


def _old_as_of(rotation: Rotation, old: Version, now: datetime) -> Version:
    match rotation.stage:
        case Stage.COMPLETED:
            is_exposed = rotation.cause is Cause.COMPROMISED
            wanted = KeyState.COMPROMISED if is_exposed else KeyState.DEACTIVATED
            return _in_state(old, wanted, old.expires_at, now)
        case Stage.WINDOW if rotation.key_type.is_token:
            return _in_state(old, KeyState.SUSPENDED, None, now)
        case Stage.OVERLAP if rotation.key_type.is_token:
            return _in_state(old, KeyState.ACTIVE, rotation.ends_at, now)
        case Stage.STAGED | Stage.SHIFTING | Stage.OVERLAP | Stage.WINDOW | Stage.ROLLED_BACK | Stage.FAILED:
            return _in_state(old, KeyState.ACTIVE, None, now)
        case never:
            assert_never(never)


def _new_as_of(rotation: Rotation, key: Key, new: Version, now: datetime) -> Version:
    match rotation.stage:
        case Stage.STAGED:
            changed = _in_state(new, KeyState.PRE_ACTIVE, None, now)
        case Stage.ROLLED_BACK:
            changed = _in_state(new, KeyState.DEACTIVATED, None, now)
        case Stage.SHIFTING | Stage.OVERLAP | Stage.WINDOW | Stage.COMPLETED | Stage.FAILED:
            changed = _in_state(new, KeyState.ACTIVE, None, now)
        case never:
            assert_never(never)
    return changed if Awaited.PICK_UP in rotation.awaited else _without_parcel(key, changed, new)


def _without_parcel(key: Key, version: Version, stored: Version) -> Version:
    """The version without the secret that was kept for somebody to fetch, but for keys whose secret is always kept."""
    if version.custody is None or key.recoverable or not key.type.is_token:
        return version
    # Its state may be the one that is stored: then only this makes it another revision.
    return replace(version, custody=None, material=None, revision=stored.revision + 1)


def _in_state(version: Version, wanted: KeyState, ends_at: datetime | None, now: datetime) -> Version:
    """The version in that state and with that end; itself where it is so already."""
    if version.state is not wanted:
        changed = version.after(_ACTS[version.state, wanted], now)
        return replace(changed, expires_at=ends_at)
    if version.expires_at != ends_at:
        return replace(version, expires_at=ends_at, revision=version.revision + 1)
    return version
