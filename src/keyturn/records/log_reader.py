"""Following the log: checked entry by entry, to know what is current and to tell others what changed.

Everything that must learn of a change does so here. A reader knows a position, the chain's hash at it, and the floor.
It reads on demand (`catch_up`); how long ago the last completed read *began* is how stale this process may be.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final

from keyturn.crypto.keyring import KEYRING_ROW, Keyring
from keyturn.domain.entry import chain_next
from keyturn.domain.floor import Floor
from keyturn.domain.ids import SYSTEM_TENANT
from keyturn.errors import IntegrityError
from keyturn.ports.clock import Clock
from keyturn.ports.ledger import Ledger, Position
from keyturn.ports.passing import is_in_passing
from keyturn.records.entry_seals import Seen
from keyturn.records.incidents import Incidents
from keyturn.records.keyring_row import KeyringRow, OlderKeyringError
from keyturn.records.progress import replay, unchanging
from keyturn.records.sealed_state import MAX_SNAPSHOT_BYTES, make_snapshot, sealed_head

BATCH: Final = 2_000  # entries a read
SNAPSHOT_EVERY: Final = 50_000  # entries: replaying them costs well under a second
NEVER: Final = float("-inf")

Listener = Callable[[Sequence[str] | None], None]
"""Called with the ids of rows that changed; with None when nothing known before may be relied on."""

_log = logging.getLogger("keyturn.log")


class LogReader:
    """One process's reading of the log. The keyring goes by its `row`; without one it stays as it is.

    Attributes:
        as_of: how far it has read, for people: ``log_id:position``.
        read_at: steady time at which the last completed read began.
        incidents: what was found altered, to be reported to the log.
        applying: held while changes are taken in; whoever fills a cache holds it from check to fill.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        keyring: Keyring,
        clock: Clock,
        row: KeyringRow | None = None,
        snapshot_bytes: int = MAX_SNAPSHOT_BYTES,
    ) -> None:
        self.incidents = Incidents()
        self._snapshot_bytes = snapshot_bytes
        self._ledger = ledger
        self._keyring = keyring
        self._row = row
        self._follow = unchanging if row is None else row.follow
        self._clock = clock
        self._listeners: list[Listener] = []
        self._broken: IntegrityError | None = None
        self.start_afresh()
        self.read_at = clock.steady()
        self._distrusted_at = NEVER
        self._at, self._sealed = replay(ledger, keyring, BATCH, follow=self._follow)
        self._snapshot = self._at.snapshot
        self.as_of = f"{ledger.log_id}:{self._at.position}"

    def start_afresh(self) -> None:
        """Begin with locks that nobody holds, in a forked child."""
        self._reading = threading.Lock()
        self._sealing = threading.Lock()
        self.applying = threading.Lock()

    @property
    def position(self) -> Position:
        """How far this process has read."""
        return self._at.position

    @property
    def floor(self) -> Floor:
        """What the log says each row must be at least."""
        return self._at.floor

    @property
    def seen(self) -> Seen:
        """How far this process has read, and the chain there."""
        return self._at.seen

    @property
    def is_broken(self) -> bool:
        """Whether the log was found altered; nothing more is decided until an operator has looked and restarted."""
        return self._broken is not None

    def require_whole(self) -> None:
        """IntegrityError where the log was found altered."""
        if self._broken is not None:
            raise self._broken

    def holds(self, entries: Sequence[bytes], last: Position) -> bool:
        """Whether these entries stand in the log as this process has read it, the last of them at position `last`."""
        chain = self._at.chain_at(last - len(entries))
        for entry in entries:
            chain = chain_next(chain, entry)
        return last <= self.position and chain == self._at.chain_at(last)

    def listen(self, listener: Listener) -> None:
        """Tell `listener` of every change from now on, before `position` moves past it."""
        self._listeners.append(listener)

    def distrust(self) -> None:
        """Forget that the log was read recently: after a commit that this process could not read back."""
        self._distrusted_at = self._clock.steady()
        self.read_at = NEVER

    def catch_up(self) -> None:
        """Read the log to its end; callers that wait meanwhile share the read.

        StorageError when the ledger does not answer; IntegrityError, now and ever after, when the log was altered.
        """
        asked = self._clock.steady()
        with self._reading:
            self.require_whole()
            if self.read_at >= asked:
                return
            started = self._clock.steady()
            try:
                self._read_on()
            except IntegrityError as error:
                self._broken = error
                self.distrust()
                _log.critical("the log does not hold: %s; this node answers nothing more", error)
                raise
            if started > self._distrusted_at:
                self.read_at = started

    def seal_head(self) -> None:
        """Vouch for the log as far as it was read.

        Reading goes on meanwhile: a writer that waits must not make this process stale.
        """
        if not self._sealing.acquire(blocking=not is_in_passing()):
            return  # another thread is at it
        try:
            seen = self._at.seen
            if self._broken is not None or seen.position <= self._sealed:
                return
            self._ledger.seal_head(sealed_head(self._keyring, self._ledger.log_id, seen))
            self._sealed = max(self._sealed, seen.position)
        finally:
            self._sealing.release()

    def vouch_for(self, position: Position, *, foreseen: Position) -> None:
        """Vouch for a commit that was read back at `position`, and that brought the sealed head of `foreseen`.

        If others wrote first, the store has not kept that one; one more write then vouches for all that was read.
        """
        if position == foreseen:
            self._sealed = max(self._sealed, position)
        elif position > self._sealed:
            self.seal_head()

    def keep_snapshot(self) -> None:
        """Keep a snapshot of the floor, where the log has grown long since the last one; for one thread at a time.

        Not in passing: it may be tens of megabytes.
        """
        grown = self._at.position - self._snapshot
        if grown >= SNAPSHOT_EVERY and not is_in_passing() and self._broken is None:
            self.save_snapshot()

    def save_snapshot(self) -> None:
        """Keep a snapshot of the floor as it is now, unless it tells of two stories or is too large.

        Then the last one stays, and whoever starts reads the log from there.
        """
        if self.floor.has_closed:
            return
        with self.applying:  # so that position and floor are of one moment
            (position, chain), floor = self._at.seen, self.floor.copy()
        snapshot = make_snapshot(
            self._keyring, self._ledger.log_id, position, chain, floor, most=self._snapshot_bytes
        )
        if snapshot is None:
            _log.warning(
                "the floor has %d rows, more than a snapshot holds: nodes go on to start from the last one, and ever"
                " more slowly",
                len(floor),
            )
        else:
            self._ledger.save_snapshot(snapshot)
        self._snapshot = position

    def _read_on(self) -> None:
        if self._row is not None:
            self._row.unwrap_missing()
        while True:
            entries = self._at.continuation(BATCH)
            if entries is None:
                self._rebuild()
                return
            if not entries:
                return
            try:
                marks = self._at.check(self._keyring, entries, follow=self._follow)
            except OlderKeyringError:
                if self._at.continuation(len(entries)) != entries:
                    continue  # a failover, between reading the entry and reading the row
                raise
            with self.applying:
                self._at.floor.raise_to(marks)
                self._tell([mark.id for mark in marks])
                self._at.move_past(entries[-1])
                self.as_of = f"{self._ledger.log_id}:{self._at.position}"

    def _rebuild(self) -> None:
        """The log no longer continues what was read: a failover or a restore. Nothing cached may be relied on.

        What this process saw of rows that the log now tells otherwise is not forgotten: they are refused until it is
        started again, for what it saw revoked must stay revoked in it, whatever the store says now.
        """
        problem = f"the log no longer holds what was read of it at position {self._at.position}"
        _log.error("%s: reading it anew", problem)
        self.incidents.note("log", SYSTEM_TENANT, problem)
        at, self._sealed = replay(self._ledger, self._keyring, BATCH, known=self.floor, follow=self._follow)
        self._snapshot = at.snapshot
        if at.floor.revision(KEYRING_ROW) == 0 or at.floor.is_closed(KEYRING_ROW):
            raise IntegrityError("the log tells nothing of the keyring that this process works with")
        with self.applying:
            self._at = at
            self._tell(None)
            self.as_of = f"{self._ledger.log_id}:{at.position}"

    def _tell(self, changed: Sequence[str] | None) -> None:
        for listener in self._listeners:
            listener(changed)
