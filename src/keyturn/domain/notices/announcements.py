"""What is to be announced of a key in a span of time: pure, so that every process says the same of the same span.

    span = Span(since, until, now)
    found = expiring(key, Terms(), span)         # an Announcement, or None

An announcement has an instant at which it comes due; it is made in the one span that holds this instant. Of several
that came due in one span, as after a downtime, the latest is made, and none of what has happened by now.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from keyturn.domain.change import EventType
from keyturn.domain.instants import rfc3339
from keyturn.domain.key import Key
from keyturn.domain.lifecycle import KeyState
from keyturn.domain.rotation.checks import DAY
from keyturn.domain.rotation.policy import RotationPolicy
from keyturn.domain.rotation.rotation import Rotation
from keyturn.domain.rotation.schedule import next_due, notices_due
from keyturn.domain.rotation.stages import Stage
from keyturn.errors import InvalidInputError

DEFAULT_EXPIRING: Final = (30 * DAY, 7 * DAY, DAY)
DEFAULT_UNUSED: Final = 90 * DAY
STRAGGLING: Final = (7 * DAY, DAY, 3_600)
"""Seconds before the end of an overlap at which a use of the old version is announced; and once at half of it."""

MAX_LEADS: Final = 16
MAX_SECONDS: Final = 3_650 * DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is announced that no policy says.

    Attributes:
        expiring: seconds before a key's expiry; empty for never.
        unused: seconds without a use; None for never.
    """

    expiring: tuple[int, ...] = DEFAULT_EXPIRING
    unused: int | None = DEFAULT_UNUSED

    def __post_init__(self) -> None:
        given = (*self.expiring, *(() if self.unused is None else (self.unused,)))
        if len(self.expiring) > MAX_LEADS or any(
            type(each) is not int or not 1 <= each <= MAX_SECONDS for each in given
        ):
            raise InvalidInputError(
                f"an expiry is announced at most {MAX_LEADS} times, and times are 1 to {MAX_SECONDS} seconds",
                field="expiring",
            )


DEFAULT_TERMS: Final = Terms()


class Span(NamedTuple):
    """The time after `since` up to `until`, as it is looked at `now`."""

    since: datetime
    until: datetime
    now: datetime

    def holds(self, instant: datetime) -> bool:
        """Whether what is due at an instant is announced in this span."""
        return self.since < instant <= self.until


class Announcement(NamedTuple):
    """An entry for the log."""

    type: EventType
    subjects: tuple[str, ...]
    details: Mapping[str, object]


class LastUse(NamedTuple):
    """The latest use of a version: when, and from which address where that is known."""

    at: datetime
    ip: str | None


def scheduled(key: Key, policies: Iterable[RotationPolicy], span: Span) -> Announcement | None:
    """That the key will be rotated, by the first of these policies, all of which are for it.

    InvalidInputError where a policy's time zone is not known here.
    """
    if key.state is not KeyState.ACTIVE or key.rotation is not None:
        return None
    coming = [(due, policy) for policy in policies if (due := next_due(policy, key, span.since)) is not None]
    if not coming:
        return None
    due, policy = min(coming, key=lambda each: (each[0], each[1].policy_id))
    leads = notices_due(policy, key, span.since, span.until)
    if not leads or due <= span.now or key.is_expired(due):
        return None
    details = {"policy_id": policy.policy_id, "strategy": policy.strategy.value, "due_at": rfc3339(due)}
    return _of(EventType.ROTATION_SCHEDULED, key, {**details, "notice": min(leads)})


def expiring(key: Key, terms: Terms, span: Span) -> Announcement | None:
    """That the key will expire."""
    ends = key.expires_at
    if ends is None or ends <= max(span.now, span.until) or key.state is not KeyState.ACTIVE:
        return None
    leads = list(_leads(ends, terms.expiring, span, after=key.created_at))
    if not leads:
        return None
    return _of(EventType.KEY_EXPIRING, key, {"expires_at": rfc3339(ends), "notice": min(leads)})


def unused(key: Key, last_used_at: datetime | None, terms: Terms, span: Span) -> Announcement | None:
    """That nobody has used the key for so long, counted from when it could be used."""
    if terms.unused is None or key.state is not KeyState.ACTIVE or key.is_expired(span.now):
        return None
    marks = (key.created_at, key.state_changed_at, key.not_before, last_used_at)
    if not span.holds(max(mark for mark in marks if mark is not None) + timedelta(seconds=terms.unused)):
        return None
    last = None if last_used_at is None else rfc3339(last_used_at)
    return _of(EventType.KEY_UNUSED, key, {"last_used_at": last, "notice": terms.unused})


def straggling(key: Key, rotation: Rotation, last: LastUse | None, span: Span) -> Announcement | None:
    """That the old version is still in use, though the new one serves, while its end draws near."""
    ends = rotation.ends_at
    if rotation.stage is not Stage.OVERLAP or ends is None or ends <= max(span.now, span.until):
        return None
    if last is None or last.at < rotation.stage_at:
        return None
    leads = (*STRAGGLING, int((ends - rotation.stage_at).total_seconds()) // 2)
    if not any(_leads(ends, leads, span, after=rotation.stage_at)):
        return None
    details = {
        "rotation_id": rotation.rotation_id,
        "version": rotation.old,
        "last_used_at": rfc3339(last.at),
        "ip": last.ip,
        "ends_at": rfc3339(ends),
    }
    return _of(EventType.OLD_VERSION_USED, key, details, rotation.rotation_id)


def _leads(ends: datetime, leads: Iterable[int], span: Span, *, after: datetime) -> Iterator[int]:
    for lead in leads:
        instant = ends - timedelta(seconds=lead)
        if span.holds(instant) and instant > after:
            yield lead


def _of(kind: EventType, key: Key, details: Mapping[str, object], *also: str) -> Announcement:
    whose = {"owner": key.owner, "name": key.name}
    said = {name: value for name, value in {**details, **whose}.items() if value is not None}
    return Announcement(kind, (key.key_id, *also), said)
