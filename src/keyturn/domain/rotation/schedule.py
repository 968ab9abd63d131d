"""When a key is due under a policy: pure, and the same on every machine that has the same time zones.

A schedule counts from the key's `due_from`: when its present version began, or was due to begin. So a rotation that
came a little late does not put off all that follow, and of many that were missed one is made up for.
"""

from __future__ import annotations

import hashlib
from calendar import monthrange
from datetime import datetime, timedelta
from typing import Final

from keyturn.domain.framing import framed
from keyturn.domain.key import Key
from keyturn.domain.rotation.blackout import opening_from
from keyturn.domain.rotation.cron import parse_cron
from keyturn.domain.rotation.policy import WHOLE, RotationFrequency, RotationPolicy, RotationStrategy
from keyturn.domain.rotation.zones import instant_of, last_time_until, next_time_after, on_the_wall, zone_of

_DAYS: Final = {RotationFrequency.DAILY: 1, RotationFrequency.WEEKLY: 7}
_MONTHS: Final = {
    RotationFrequency.MONTHLY: 1,
    RotationFrequency.QUARTERLY: 3,
    RotationFrequency.YEARLY: 12,
}
_YEAR: Final = 12  # months
# What a day is shorter by when clocks are set forward. Where a zone leaves out a whole day, to change sides of the
# date line, keys are found due up to a day late, once.
_SLACK: Final = timedelta(hours=3)


def next_due(policy: RotationPolicy, key: Key, now: datetime) -> datetime | None:
    """When the next rotation of the key may begin: `now` where it is due, later otherwise; None for never.

    None too where it is due before so many blackout windows in a row that their end was not found.
    """
    due = due_at(policy, key)
    if due is None:
        return None
    return opening_from(policy.blackouts, zone_of(policy.time_zone), max(due, now))


def is_open(policy: RotationPolicy, now: datetime) -> bool:
    """Whether rotations may begin now: it is in none of the policy's blackout windows."""
    zone = zone_of(policy.time_zone)
    return all(window.end_around(now, zone) is None for window in policy.blackouts)


def due_at(policy: RotationPolicy, key: Key) -> datetime | None:
    """When the key is due, be that past or in a blackout window; None for never."""
    due = unstaggered_due(policy, key)
    return None if due is None else due + cohort_delay(policy, key)


def unstaggered_due(policy: RotationPolicy, key: Key) -> datetime | None:
    """When the key would be due if it were in the first cohort; None for never."""
    planned = occurrence_after(policy, key, key.counted_from)
    by_age = None if policy.max_age is None else key.counted_from + timedelta(seconds=policy.max_age)
    return min((due for due in (planned, by_age) if due is not None), default=None)


def occurrence_after(policy: RotationPolicy, key: Key, instant: datetime) -> datetime | None:
    """When the schedule comes next if it last came at `instant`; None where there is none."""
    zone = zone_of(policy.time_zone)
    if policy.cron is not None:
        return next_time_after(parse_cron(policy.cron), zone, instant)
    wall = on_the_wall(instant, zone)
    if policy.frequency in _DAYS:
        return instant_of(wall + timedelta(days=_DAYS[policy.frequency]), zone)
    if policy.frequency in _MONTHS:
        began = on_the_wall(key.created_at, zone)
        return instant_of(_months_on(wall, _MONTHS[policy.frequency], began.day), zone)
    return None


def counted_from(policy: RotationPolicy, key: Key, now: datetime) -> datetime:
    """What the schedule counts from once the key has been rotated because it was due at `now`.

    The latest time of the schedule that has come, so that those that were missed are not made up for one by one.
    """
    delay = cohort_delay(policy, key)
    if policy.cron is not None:
        last = last_time_until(parse_cron(policy.cron), zone_of(policy.time_zone), now - delay)
        return last if last > key.counted_from else now
    came = occurrence_after(policy, key, key.counted_from)
    if came is None or came + delay > now:
        return now  # by age
    while True:
        following = occurrence_after(policy, key, came)
        if following is None or following + delay > now:
            return came
        came = following


def latest_counted_from(policy: RotationPolicy, now: datetime) -> datetime | None:
    """No key that counts from a later time than this can be due at `now`; None where no key ever is."""
    bounds = []
    if policy.cron is not None:
        bounds.append(last_time_until(parse_cron(policy.cron), zone_of(policy.time_zone), now))
    elif policy.period is not None and policy.frequency is not RotationFrequency.NEVER:
        bounds.append(now - timedelta(seconds=policy.period) + _SLACK)
    if policy.max_age is not None:
        bounds.append(now - timedelta(seconds=policy.max_age))
    return max(bounds, default=None)


def cohort(key: Key) -> int:
    """The cohort, 0 to 99, of the key's owner, or of the key where it has none: for good, in every policy."""
    whose = framed("keyturn-cohort-v1", key.tenant, key.key_id if key.owner is None else key.owner)
    # The remainder's bias is 2^-57.
    return int.from_bytes(hashlib.sha256(whose).digest()[:8], "big") % WHOLE


def cohort_stage(policy: RotationPolicy, key: Key) -> int:
    """In which of the policy's stages, from 0, a token of this owner is rotated under GRADUAL; 0 for all else."""
    if policy.strategy is not RotationStrategy.GRADUAL or not key.type.is_token:
        return 0
    return next(index for index, share in enumerate(policy.shares) if cohort(key) < share)


def cohort_delay(policy: RotationPolicy, key: Key) -> timedelta:
    """How much later than one of the first cohort the key is due."""
    return timedelta(seconds=policy.dwell * cohort_stage(policy, key))


def notices_due(policy: RotationPolicy, key: Key, since: datetime, now: datetime) -> list[int]:
    """Which notices of the key's next rotation came due after `since`, up to `now`: seconds before it, longest first.

    Nothing once the rotation itself is due: what is said then is that it has begun.
    """
    due = next_due(policy, key, since)
    if due is None or due <= now:
        return []
    leads = sorted(policy.notices, reverse=True)
    return [lead for lead in leads if since < due - timedelta(seconds=lead) <= now]


def _months_on(wall: datetime, months: int, day: int) -> datetime:
    """The same time so many months later: on the last day where the month is too short, and after that on `day` again.

    `day` is the day of the month that the series began on.
    """
    year, month = divmod(wall.year * _YEAR + wall.month - 1 + months, _YEAR)
    was_cut = wall.day == monthrange(wall.year, wall.month)[1] and day > wall.day
    wanted = day if was_cut else wall.day
    return wall.replace(year=year, month=month + 1, day=min(wanted, monthrange(year, month + 1)[1]))
