"""What a process writes down by and by: uses, summaries, findings, and the sealed head of the log.

It has no thread of its own: a server calls `tick` from one, a library's user calls it by verifying. What cannot be
written now is kept and tried again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from keyturn.errors import KeyturnError
from keyturn.ports.clock import Clock
from keyturn.records.records import Records
from keyturn.verifier.journal import SUMMARY_SECONDS, Journal
from keyturn.verifier.uses import Uses

FLUSH_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 2.0
# Where very many keys are used at once, writing their counts takes at most a twentieth of the time.
SHARE: Final = 19
_log = logging.getLogger("keyturn.recorder")


class Recorder:
    """Flushes what one process has counted and found. `due_at` is in steady seconds."""

    def __init__(self, *, records: Records, uses: Uses, clock: Clock) -> None:
        self._records = records
        self._uses = uses
        self._journal = Journal(records)
        self._clock = clock
        self._working = threading.Lock()
        self.due_at = clock.steady() + FLUSH_SECONDS
        self._summary_at = clock.steady() + SUMMARY_SECONDS

    def tick(self) -> None:
        """Write what is due; at once where nothing is, or where another thread is at it."""
        if self._clock.steady() < self.due_at or not self._working.acquire(blocking=False):
            return
        try:
            self._write(is_last=False)
        finally:
            self._working.release()

    def flush(self) -> None:
        """Write all that is counted so far, so that a reader sees it."""
        with self._working:
            self._write_all()

    def close(self) -> None:
        """Write everything that is left."""
        with self._working:
            self._write_all()
            self._write(is_last=True)

    def _write_all(self) -> None:
        # So many and no more: where others go on using keys, there is always something to write.
        for _ in range(max(1, self._uses.batches)):
            if not self._write(is_last=False):
                return

    def _write(self, *, is_last: bool) -> bool:
        """Write a batch of what is due; whether more waits, and the ledger takes it."""
        began, more = self._clock.steady(), False

        def write_uses() -> None:
            nonlocal more
            more = self._uses.flush(self._journal.gather)

        def tell_findings() -> None:
            self._journal.report_incidents(self._clock.now())

        def tell_uses() -> None:
            if is_last or began >= self._summary_at:
                self._summary_at = began + SUMMARY_SECONDS
                self._journal.summarise(self._clock.now())

        # Each by itself: what keeps one from being written must not keep the others.
        duties = (write_uses, tell_findings, tell_uses, self._records.log.seal_head)
        failed = [duty for duty in duties if not self._has_done(duty)]
        ended = self._clock.steady()
        wait = RETRY_SECONDS if failed else 0.0 if more else FLUSH_SECONDS
        self.due_at = ended + max(wait, SHARE * (ended - began))
        return more and not failed

    def _has_done(self, duty: Callable[[], None]) -> bool:
        try:
            duty()
        except KeyturnError as error:
            _log.warning("uses and findings could not be written yet: %s", error)
            return False
        return True
