"""What a process knows of an endpoint's deliveries, so that it need not look as long as nothing is due."""

from __future__ import annotations

from dataclasses import dataclass

from keyturn.domain.notices.deliveries import Deliveries
from keyturn.notices.states import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What it knows of one.

    Attributes:
        turn: the number of the state that it goes by; None for an endpoint that is put off, for a reason of ours.
        kept_to: position up to which the state says that the log was read.
        read_to: position up to which this process has read it and found nothing else.
        wake_at: microseconds since the epoch from when there is something to do; None while there is not.
        is_full: whether it takes in nothing more for now.
        is_doubtful: whether it failed or was slow.
        pending, dead: how many deliveries there are.
        oldest: position of the first pending one; None where there is none.
    """

    turn: int | None
    kept_to: int
    read_to: int
    wake_at: int | None
    is_full: bool
    is_doubtful: bool
    pending: int = 0
    dead: int = 0
    oldest: int | None = None


def known_of(turn: Turn, state: Deliveries, *, wake_at: int | None, is_slow: bool = False) -> Known:
    """What a look at a state says; `state` has what was read of the log since `turn`, and found to be nothing."""
    return Known(
        turn=turn.number,
        kept_to=turn.state.read_to,
        read_to=state.read_to,
        wake_at=wake_at,
        is_full=not state.room,
        is_doubtful=is_slow or state.failures > 0,
        pending=len(state.pending),
        dead=len(state.dead),
        oldest=min((each.position for each in state.pending), default=None),
    )


def put_off(known: Known | None, read_to: int, until: int) -> Known:
    """As one that is full: what the log has for it is left alone as well, for a while."""
    return Known(
        turn=None,
        kept_to=0,
        read_to=read_to if known is None else known.read_to,
        wake_at=until,
        is_full=True,
        is_doubtful=True,
        pending=0 if known is None else known.pending,
        dead=0 if known is None else known.dead,
        oldest=None if known is None else known.oldest,
    )
