"""How far a reader has come in the log, and the checks that take it further."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from keyturn.crypto.keyring import KEYRING_ROW, SEAL_BYTES, Keyring
from keyturn.domain.entry import RowMark, chain_next, chain_start, decode_entry
from keyturn.domain.floor import Floor
from keyturn.domain.stored import read_as
from keyturn.errors import IntegrityError
from keyturn.ports.ledger import Ledger, LogEntry, Position, SealedHead
from keyturn.records.entry_seals import Seen, check_entry, seen_by
from keyturn.records.sealed_state import check_head, load_snapshot

_REMEMBERED: Final = 4_096  # chain values: what most writers had read; others are looked up

Follow = Callable[[RowMark], None]
"""Called with what an entry says of the keyring's row, before the entries after it are checked."""


def unchanging(_: RowMark) -> None:
    """For a reader whose keyring has all that the entries need which it reads."""


class Progress:
    """How far the log was read, the chain's value there, and the floor up to it.

    Attributes:
        seen: position and chain, as one value: threads that seal read it while another moves on.
        snapshot: the position of the snapshot that the reading began from.
    """

    def __init__(self, ledger: Ledger, seen: Seen, floor: Floor) -> None:
        self._ledger = ledger
        self.seen = seen
        self.floor = floor
        self.snapshot = seen.position
        self._chain = {seen.position: seen.hash}

    @property
    def position(self) -> Position:
        """How far."""
        return self.seen.position

    def continuation(self, limit: int) -> Sequence[LogEntry] | None:
        """What follows in the log; None when the log no longer holds what was read at this position."""
        position, chain = self.seen
        if position == 0:
            return self._ledger.read_log(1, limit)
        entries = self._ledger.read_log(position, limit + 1)
        if not entries or entries[0].position != position or entries[0].hash != chain:
            return None
        return entries[1:]

    def check(
        self,
        keyring: Keyring,
        entries: Sequence[LogEntry],
        *,
        vouched: Position = 0,
        follow: Follow = unchanging,
    ) -> list[RowMark]:
        """The rows that entries name, once their chain and seals hold; IntegrityError otherwise.

        Up to `vouched` a sealed head stands for the entries' own seals. KeysUnavailableError for an entry under a data
        key that this process could not unwrap.
        """
        position, chain = self.seen
        marks: list[RowMark] = []
        with read_as("a log entry"):
            for stored in entries:
                position += 1
                chain = chain_next(chain, stored.entry)
                if stored.position != position or stored.hash != chain:
                    raise IntegrityError(f"the log's chain breaks at position {position}")
                if position > vouched:
                    self._check_seal(keyring, stored)
                self._chain[position] = chain
                named = decode_entry(stored.entry).rows
                for mark in named:
                    if mark.id == KEYRING_ROW:
                        follow(mark)
                marks.extend(named)
        self._forget()
        return marks

    def _check_seal(self, keyring: Keyring, stored: LogEntry) -> None:
        after = seen_by(stored.seal, stored.position)
        check_entry(keyring, stored.entry, stored.seal, Seen(after, self.chain_at(after)))
        if not keyring.accepts_at(stored.seal[:SEAL_BYTES], stored.position):
            raise IntegrityError(
                f"entry {stored.position} is sealed under a data key that was retired before"
            )

    def move_past(self, last: LogEntry) -> None:
        """Entries up to `last` were checked and applied."""
        self.seen = Seen(last.position, last.hash)

    def chain_at(self, position: Position) -> bytes:
        """The chain's value at a position, or what the store says it is: whoever checks a seal with it will see."""
        if position == 0:
            return chain_start(self._ledger.log_id)
        known = self._chain.get(position)
        if known is not None:
            return known
        entries = self._ledger.read_log(position, 1)
        if not entries or entries[0].position != position:
            raise IntegrityError(f"the log has no entry at {position}")
        return entries[0].hash

    def _forget(self) -> None:
        surplus = len(self._chain) - _REMEMBERED
        if surplus > _REMEMBERED:
            for position in list(islice(self._chain, surplus)):
                del self._chain[position]


def replay(
    ledger: Ledger,
    keyring: Keyring,
    batch: int,
    *,
    known: Floor | None = None,
    follow: Follow = unchanging,
) -> tuple[Progress, Position]:
    """Read the whole log, from a snapshot where there is one, and hold it against its sealed head.

    With `known`, what was read of a log that is gone: rows of it that this one does not tell of are closed, and
    everything is read from the first entry on, in order to know. Returns where that leads and the sealed position.
    IntegrityError when any of it does not hold.
    """
    sealed = ledger.sealed_head()
    vouched = 0 if sealed is None else sealed.position
    at = _beginning(ledger, keyring) if known is None else _start(ledger)
    untold = Floor() if known is None else known.copy()
    while entries := _checked_continuation(at, batch):
        marks = at.check(keyring, entries, vouched=vouched, follow=follow)
        at.floor.raise_to(marks)
        untold.strike(marks)
        if sealed is not None:
            _hold_against(sealed, entries)
        at.move_past(entries[-1])
    if sealed is None and at.position > 0:
        raise IntegrityError("the log has entries, but its sealed head is missing")
    if at.position < vouched:
        raise IntegrityError(f"the log ends at {at.position}, before its sealed head at {vouched}")
    if sealed is not None:
        check_head(keyring, ledger.log_id, sealed)
    at.floor.close(untold)
    return at, vouched


def _start(ledger: Ledger) -> Progress:
    return Progress(ledger, Seen(0, chain_start(ledger.log_id)), Floor())


def _beginning(ledger: Ledger, keyring: Keyring) -> Progress:
    snapshot = load_snapshot(keyring, ledger.log_id, ledger.snapshot())
    if snapshot is None:
        return _start(ledger)
    return Progress(ledger, Seen(snapshot.position, snapshot.hash), snapshot.floor)


def _checked_continuation(at: Progress, batch: int) -> Sequence[LogEntry]:
    entries = at.continuation(batch)
    if entries is None:
        raise IntegrityError(f"the log does not hold what was vouched for at {at.position}")
    return entries


def _hold_against(sealed: SealedHead, entries: Sequence[LogEntry]) -> None:
    index = sealed.position - entries[0].position
    if 0 <= index < len(entries) and entries[index].hash != sealed.hash:
        raise IntegrityError(f"the log differs from its sealed head at {sealed.position}")
