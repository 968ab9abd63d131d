"""Telling somebody of an entry of the log: over HTTP, by mail, or by calling a function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from keyturn.domain.notices.destination import Destination

SECONDS: Final = 15.0
"""For which one delivery may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A notice as it is delivered.

    Attributes:
        id: the same each time that it is delivered, so that receivers can tell.
        type: of the entry, such as ``rotation_started``.
        at: the entry's time.
        subjects: ids of what it is about.
        body: canonical JSON.
        fields: HTTP fields that sign it; empty where nothing is signed.
    """

    to: Destination
    id: str
    type: str
    at: datetime
    subjects: tuple[str, ...]
    body: bytes
    fields: Mapping[str, str] = field(default_factory=dict)


class Outcome(NamedTuple):
    """What became of a delivery.

    Attributes:
        delivered: whether the receiver has taken it.
        why: it has not, in a sentence of this program: nothing that a receiver answered is in it.
        wait: seconds that the receiver asks for.
        is_final: whether no other attempt makes sense.
    """

    delivered: bool
    why: str = ""
    wait: int = 0
    is_final: bool = False


class Notifier(Protocol):
    """One way to deliver. Safe to call from several threads."""

    def takes(self, to: Destination) -> bool:
        """Whether this process can deliver there at all; what it cannot is left to those that can."""

    def deliver(self, message: Message) -> Outcome:
        """Deliver once, within SECONDS. Whatever the receiver does is an outcome and raises nothing."""
