"""How far a reader has come in the log, and the checks that take it further."""

from __future__ import annotations

from collections.abc import Sequence

from keyturn.crypto.keyring import Keyring, Purpose
from keyturn.domain.entry import RowMark, chain_next, chain_start, decode_entry
from keyturn.domain.floor import Floor
from keyturn.errors import IntegrityError
from keyturn.ports.ledger import Ledger, LogEntry, Position, SealedHead
from keyturn.records.sealed_state import check_head, load_snapshot


class Progress:
    """A position, the chain's hash at it, the floor up to it, and the snapshot that the reading began from."""

    def __init__(self, position: Position, chain: bytes, floor: Floor) -> None:
        self.position = position
        self.hash = chain
        self.floor = floor
        self.snapshot = position

    def continuation(self, ledger: Ledger, limit: int) -> Sequence[LogEntry] | None:
        """What follows in the log; None when the log no longer holds what was read at this position."""
        if self.position == 0:
            return ledger.read_log(1, limit)
        entries = ledger.read_log(self.position, limit + 1)
        if not entries or entries[0].position != self.position or entries[0].hash != self.hash:
            return None
        return entries[1:]

    def check(self, keyring: Keyring, entries: Sequence[LogEntry], *, vouched: Position = 0) -> list[RowMark]:
        """The rows that entries name, once their chain and seals hold; IntegrityError otherwise.

        Up to `vouched` a sealed head stands for the entries' own seals.
        """
        position, chain = self.position, self.hash
        marks: list[RowMark] = []
        for stored in entries:
            position += 1
            chain = chain_next(chain, stored.entry)
            if stored.position != position or stored.hash != chain:
                raise IntegrityError(f"the log's chain breaks at position {position}")
            if position > vouched:
                keyring.check(Purpose.ENTRY, stored.entry, stored.seal)
            marks.extend(decode_entry(stored.entry).rows)
        return marks

    def move_past(self, last: LogEntry) -> None:
        """Entries up to `last` were checked and applied."""
        self.position = last.position
        self.hash = last.hash


def replay(ledger: Ledger, keyring: Keyring, batch: int) -> tuple[Progress, Position]:
    """Read the whole log, from a snapshot where there is one, and hold it against its sealed head.

    Returns where that leads and the sealed position. IntegrityError when any of it does not hold.
    """
    sealed = ledger.sealed_head()
    vouched = 0 if sealed is None else sealed.position
    at = _beginning(ledger, keyring)
    while entries := _checked_continuation(at, ledger, batch):
        if sealed is None:
            raise IntegrityError("the log has entries, but its sealed head is missing")
        at.floor.raise_to(at.check(keyring, entries, vouched=vouched))
        _hold_against(sealed, entries)
        at.move_past(entries[-1])
    if at.position < vouched:
        raise IntegrityError(f"the log ends at {at.position}, before its sealed head at {vouched}")
    if sealed is not None:
        check_head(keyring, ledger.log_id, sealed)
    return at, vouched


def _beginning(ledger: Ledger, keyring: Keyring) -> Progress:
    snapshot = load_snapshot(keyring, ledger.log_id, ledger.snapshot())
    if snapshot is None:
        return Progress(0, chain_start(ledger.log_id), Floor())
    return Progress(snapshot.position, snapshot.hash, snapshot.floor)


def _checked_continuation(at: Progress, ledger: Ledger, batch: int) -> Sequence[LogEntry]:
    entries = at.continuation(ledger, batch)
    if entries is None:
        raise IntegrityError(f"the log does not hold what was vouched for at {at.position}")
    return entries


def _hold_against(sealed: SealedHead, entries: Sequence[LogEntry]) -> None:
    index = sealed.position - entries[0].position
    if 0 <= index < len(entries) and entries[index].hash != sealed.hash:
        raise IntegrityError(f"the log differs from its sealed head at {sealed.position}")
