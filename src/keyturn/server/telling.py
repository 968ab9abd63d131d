"""What is measured of rotations, and of notices on their way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from keyturn.announcing.backlog import MAX_LOOKED_AT
from keyturn.bootstrap import Node
from keyturn.domain.change import EventType
from keyturn.measures import Family, counted, gauged

_OUTCOMES: Final = {
    "started": EventType.ROTATION_STARTED,
    "paused": EventType.ROTATION_PAUSED,
    "completed": EventType.ROTATION_COMPLETED,
    "failed": EventType.ROTATION_FAILED,
    "rolled_back": EventType.ROTATION_ROLLED_BACK,
}
_ANNOUNCED: Final = (
    EventType.ROTATION_SCHEDULED, EventType.KEY_EXPIRING, EventType.KEY_UNUSED, EventType.OLD_VERSION_USED,
)  # fmt: skip
_ATTEMPTS: Final = ("delivered", "failed", "dead")


def rotation_families(node: Node) -> Iterator[Family]:
    """Of rotations."""
    written = node.records.written.read()
    yield counted(
        "keyturn_rotations_total",
        "Rotations that this node has begun, paused or brought to an end, or found that it could not.",
        ("outcome",),
        {(name,): written.get((kind.value,), 0) for name, kind in _OUTCOMES.items()},
    )
    yield counted(
        "keyturn_announcements_total",
        "What this node has announced of keys, by the entry's type.",
        ("type",),
        {(kind.value,): written.get((kind.value,), 0) for kind in _ANNOUNCED},
    )
    latest = node.backlog.latest
    yield _known(
        "keyturn_rotations_due",
        f"Steps and rotations that were due and not done after this node's latest round, up to {MAX_LOOKED_AT} of"
        " each.",
        None if latest is None else latest.due,
    )
    yield _known(
        "keyturn_rotations_overdue",
        "Those of them that were due for an hour.",
        None if latest is None else latest.overdue,
    )


def notice_families(node: Node) -> Iterator[Family]:
    """Of notices; what a node does not deliver it does not tell of."""
    progress = node.notices.deliverer.progress
    attempts = progress.attempts.read()
    yield counted(
        "keyturn_notices_attempted_total",
        "Attempts to deliver a notice, by what became of them; what failed is tried again, what is dead was given up.",
        ("outcome",),
        {(outcome,): attempts.get((outcome,), 0) for outcome in _ATTEMPTS},
    )
    standing = progress.standing
    behind = 0.0
    if standing is not None and standing.since is not None:
        behind = max(0.0, (node.clock.now() - standing.since).total_seconds())
    for name, says, value in (
        ("pending", "Notices that wait for their next attempt.", standing and standing.pending),
        ("dead", "Notices that were given up, until they are delivered again.", standing and standing.dead),
        (
            "lag_entries",
            "Entries of the log from the oldest that the slowest endpoint has not been told of.",
            standing and standing.entries,
        ),
        ("lag_seconds", "The age of that entry; 0 where there is none.", standing and behind),
    ):
        yield _known(f"keyturn_notices_{name}", says, value)


def _known(name: str, says: str, value: float | None) -> Family:
    """A value that a node has once it has looked: a family without any before."""
    return gauged(name, says, (), {} if value is None else {(): value})
