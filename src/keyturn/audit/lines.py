"""The log a line an entry: who it is for and what it is about, for those who look for what concerns them.

    for line in lines.after(41):          # up to some fixed place; empty at the end
        if endpoint.wants(line.tenant, line.type):
            event = lines.event(line.position)

Lines are checked as the audit trail is, once for everybody who looks, and details stay unread until somebody wants an
entry: one that was altered is then told without its details, and is no other entry's concern.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from keyturn.audit.trail import KeyUsageEvent, event_of
from keyturn.crypto.keyring import Keyring
from keyturn.domain.entry import chain_start, decode_entry
from keyturn.domain.floor import Floor
from keyturn.domain.ids import SYSTEM_TENANT
from keyturn.errors import IntegrityError
from keyturn.ports.ledger import Ledger, LogEntry, Position
from keyturn.records.entry_seals import Seen
from keyturn.records.log_reader import LogReader
from keyturn.records.progress import Progress

PAGE: Final = 500  # lines; pages begin at fixed places, so that all who look share them
KEPT: Final = 32  # pages, of about 150 KB each


class Line(NamedTuple):
    """An entry, in short.

    Attributes:
        lane: the first thing that it is about, or its type where it is about none.
        digest: SHA-256 of the entry.
    """

    position: Position
    tenant: str
    type: str
    lane: str
    digest: bytes


@dataclass(slots=True)
class _Page:
    """Lines from a fixed place on, and how far that leads."""

    end: Seen
    lines: list[Line] = field(default_factory=list)


class Lines:
    """Reads the log for machines. Safe to call from several threads."""

    def __init__(self, *, ledger: Ledger, keyring: Keyring, log: LogReader) -> None:
        self._ledger = ledger
        self._keyring = keyring
        self._log = log
        self._pages: OrderedDict[int, _Page] = OrderedDict()
        self.start_afresh()
        log.listen(self._follow)

    def start_afresh(self) -> None:
        """Begin with a lock that nobody holds, in a forked child."""
        self._reading = threading.Lock()

    def after(self, position: Position) -> Sequence[Line]:
        """Lines after a position, up to the end of their page or of what was read of the log.

        IntegrityError where an entry is missing, or is not what was written.
        """
        with self._reading:
            page = self._page(position // PAGE)
        return page.lines[position % PAGE :]

    def event(self, position: Position) -> KeyUsageEvent:
        """The event at a position, without its details where those are not what was written.

        IntegrityError where there is none, or another than was written.
        """
        lines = self.after(position - 1)
        stored = self._ledger.read_log(position, 1)
        if not lines or not stored or stored[0].position != position or not _is_of(lines[0], stored[0]):
            raise IntegrityError(f"entry {position} of the log is not what was read there")
        try:
            return event_of(stored[0])
        except IntegrityError as error:
            self._log.incidents.note("log", SYSTEM_TENANT, str(error))
            return event_of(replace(stored[0], details=None))

    def _follow(self, changed: Sequence[str] | None) -> None:
        if changed is None:  # the log is another one now
            self._pages = OrderedDict()

    def _page(self, number: int) -> _Page:
        pages = self._pages
        page, last = pages.get(number), self._log.seen
        if page is None:
            page = _Page(self._beginning(number))
        if len(page.lines) < PAGE and page.end.position < last.position:
            page = self._longer(page, number, last)
        pages[number] = page
        pages.move_to_end(number)
        while len(pages) > KEPT:
            pages.popitem(last=False)
        return page

    def _beginning(self, number: int) -> Seen:
        start = number * PAGE
        before = self._pages.get(number - 1)
        if before is not None and before.end.position == start:
            return before.end
        at = Progress(self._ledger, Seen(0, chain_start(self._ledger.log_id)), Floor())
        return Seen(start, at.chain_at(start))

    def _longer(self, page: _Page, number: int, last: Seen) -> _Page:
        """A page with what follows. What was found last is vouched for by the entries after it, which are read too."""
        at, lines, end = Progress(self._ledger, page.end, Floor()), list(page.lines), page.end
        full = (number + 1) * PAGE
        stop = min(full + PAGE, last.position)
        while at.position < stop:
            entries = (at.continuation(PAGE) or ())[: stop - at.position]
            if not entries:
                raise IntegrityError(f"the log ends at {at.position}, and was read up to {last.position}")
            at.check(self._keyring, entries)
            at.move_past(entries[-1])
            if at.position == last.position and at.seen != last:
                raise IntegrityError(f"the log differs at {last.position} from what was read there")
            ours = [each for each in entries if each.position <= full]
            lines += [_line(each) for each in ours]
            end = Seen(ours[-1].position, ours[-1].hash) if ours else end
        return _Page(end, lines)


def _line(stored: LogEntry) -> Line:
    entry = decode_entry(stored.entry)
    # Summaries of refusals, for one, are about no key: such are in order among those of their type.
    lane = entry.subjects[0] if entry.subjects else entry.type
    return Line(stored.position, entry.tenant, entry.type, lane, hashlib.sha256(stored.entry).digest())


def _is_of(line: Line, stored: LogEntry) -> bool:
    return hmac.compare_digest(line.digest, hashlib.sha256(stored.entry).digest())
