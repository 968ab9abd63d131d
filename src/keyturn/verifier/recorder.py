"""What a process writes down by and by: uses, summaries, findings, and the sealed head of the log.

It has no thread of its own: a server calls `tick` from one, a library's user calls it by verifying. What cannot be
written now is kept and tried again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from keyturn.errors import KeyturnError, StorageError
from keyturn.ports.clock import Clock
from keyturn.ports.passing import in_passing
from keyturn.records.records import Records
from keyturn.verifier.journal import SUMMARY_SECONDS, Journal
from keyturn.verifier.uses import Uses

FLUSH_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 2.0
# Where very many keys are used at once, writing their counts takes at most a twentieth of the time.
SHARE: Final = 19
_log = logging.getLogger("keyturn.recorder")


class _Duty:
    """Something that is written again and again; `due_at` is in steady seconds.

    `write` returns how many seconds after it began it is due again, or raises KeyturnError.
    """

    def __init__(self, write: Callable[[], float], due_at: float) -> None:
        self.write = write
        self.due_at = due_at


class Recorder:
    """Flushes what one process has counted and found. `due_at` is in steady seconds."""

    def __init__(self, *, records: Records, uses: Uses, clock: Clock) -> None:
        self._log = records.log
        self._incidents = records.incidents
        self._uses = uses
        self._journal = Journal(records)
        self._clock = clock
        self._working = threading.Lock()
        self._lost = 0  # when it was last said
        self.due_at = clock.steady() + FLUSH_SECONDS
        self._counting = _Duty(self._write_uses, self.due_at)
        self._finding = _Duty(self._report_findings, self.due_at)
        self._summing_up = _Duty(self._summarise, self.due_at - FLUSH_SECONDS + SUMMARY_SECONDS)
        self._vouching = _Duty(self._seal_head, self.due_at)

    def start_afresh(self) -> None:
        """Have nothing to write, in a forked child: what was counted and found before is the parent's to write."""
        self._working = threading.Lock()
        self._lost = 0
        self._uses.start_afresh()
        self._journal.start_afresh()
        self._incidents.start_afresh()

    def tick(self) -> None:
        """Write what is due; at once where nothing is, or where another thread is at it."""
        if self._clock.steady() < self.due_at or not self._working.acquire(blocking=False):
            return
        try:
            self._write_due()
            # Not each second of an outage, and not once and never again.
            self._say_what_is_lost(more_than=2 * self._lost)
        finally:
            self._working.release()

    def tick_in_passing(self) -> None:
        """As `tick`, for a caller who is there to verify: what the store does not take at once is tried again later."""
        with in_passing():
            self.tick()

    def flush(self) -> None:
        """Write all that is counted and found so far, so that a reader sees it."""
        with self._working:
            self._write_all(self._finding, self._vouching)

    def close(self) -> None:
        """Write everything that is left."""
        with self._working:
            self._write_all(self._finding, self._summing_up, self._vouching)
            self._say_what_is_lost(more_than=0)

    def _write_due(self) -> None:
        now = self._clock.steady()
        duties = (self._counting, self._finding, self._summing_up, self._vouching)
        # What has waited longest comes first: where the store takes one write and no more, each gets its turn.
        for duty in sorted(duties, key=lambda duty: duty.due_at):
            if duty.due_at <= now and isinstance(self._failure_of(duty), StorageError):
                # Whoever verifies waits for this, and the others would fare no better.
                self.due_at = duty.due_at
                return
        self.due_at = min(duty.due_at for duty in duties)

    def _write_all(self, *others: _Duty) -> None:
        # So many and no more: where others go on using keys, there is always something to write.
        for _ in range(max(1, self._uses.batches)):
            if self._failure_of(self._counting) is not None:
                break
        # Each by itself: what keeps one from being written must not keep the others.
        for duty in others:
            self._failure_of(duty)

    def _failure_of(self, duty: _Duty) -> KeyturnError | None:
        """Write, and settle when it is due again; the error where it could not be written."""
        began = self._clock.steady()
        try:
            duty.due_at = began + duty.write()
        except KeyturnError as error:
            _log.warning("uses and findings could not be written yet: %s", error)
            duty.due_at = self._clock.steady() + RETRY_SECONDS
            return error
        return None

    def _write_uses(self) -> float:
        began = self._clock.steady()
        more = self._uses.flush(self._journal.gather)
        took = self._clock.steady() - began
        return max(0.0 if more else FLUSH_SECONDS, took * (1 + SHARE))

    def _report_findings(self) -> float:
        self._journal.report_incidents(self._clock.now())
        return FLUSH_SECONDS

    def _summarise(self) -> float:
        self._journal.summarise(self._clock.now())
        return SUMMARY_SECONDS

    def _seal_head(self) -> float:
        self._log.seal_head()
        self._log.keep_snapshot()
        return FLUSH_SECONDS

    def _say_what_is_lost(self, *, more_than: int) -> None:
        counts, findings = self._uses.dropped, self._incidents.dropped
        if counts + findings > more_than:
            self._lost = counts + findings
            _log.error(
                "since the start %d counts of verifications and %d findings could not be kept: they did not fit in"
                " memory, or the store can never take them",
                counts,
                findings,
            )
