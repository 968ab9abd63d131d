"""Delivering what is due. Any number of processes may do it: each endpoint is one's at a time.

    for delivery in deliverer.work(notifiers):
        print(delivery.endpoint_id, delivery.position, delivery.outcome.delivered)

What is between two runs stands in the endpoint's state, sealed, in the ledger. What a process knows of it besides is
there so that a run in which nothing is due looks at nothing: the log says what is new, the rest was due from a time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Final

from keyturn.audit.lines import Line, Lines
from keyturn.domain.instants import to_micros
from keyturn.domain.notices.deliveries import SECOND
from keyturn.domain.notices.endpoint import Endpoint
from keyturn.errors import ConflictError, IntegrityError, KeyturnError, StorageError
from keyturn.notices.crew import Crew, Job
from keyturn.notices.known import Known, put_off
from keyturn.notices.progress import Progress
from keyturn.notices.roster import Roster
from keyturn.notices.states import States
from keyturn.notices.telling import UNWRITTEN, Delivery, Teller, notifier_for
from keyturn.ports.clock import Clock
from keyturn.ports.notifier import Notifier
from keyturn.records.intact import is_of_the_store
from keyturn.records.log_reader import LogReader

COMPARE_SECONDS: Final = 10.0  # after which it shows here that another process had something delivered again
_LOOK_SECONDS: Final = 1.0  # while some are at work, what else has come to be due
_FAILED_SECONDS: Final = 60  # until an endpoint that could not be served for a reason of ours is tried again
_AT_A_TIME: Final = 20  # states, of up to 1 MiB
_log = logging.getLogger("keyturn.notices")


class Deliverer:
    """Works off what is due in every tenant, by the notifiers that this process has for each scheme.

    Attributes:
        progress: what was attempted, and how far behind the slowest endpoint is.
    """

    def __init__(
        self,
        *,
        roster: Roster,
        states: States,
        teller: Teller,
        lines: Lines,
        log: LogReader,
        progress: Progress,
        clock: Clock,
    ) -> None:
        self.progress = progress
        self._roster = roster
        self._states = states
        self._teller = teller
        self._lines = lines
        self._log = log
        self._clock = clock
        self._known: dict[str, Known] = {}
        self._compared_at = clock.steady()
        self.start_afresh()

    def start_afresh(self) -> None:
        """Begin with a lock that nobody holds and nobody at work, in a forked child."""
        self._looking = threading.Lock()
        self._at_work: set[str] = set()
        self._lines.start_afresh()
        self._roster.start_afresh()

    def forget(self, endpoint_id: str) -> None:
        """Look at an endpoint's state again with the next run: it was changed."""
        self._known.pop(endpoint_id, None)

    def work(
        self, notifiers: Mapping[str, Notifier], is_stopped: Callable[[], bool] = lambda: False
    ) -> Iterator[Delivery]:
        """Attempt what is due, several at a time, and give each attempt as soon as it is written down.

        It ends once nothing is due any more; or, where `is_stopped` says so, within a second, and each thread of it
        with the attempt that it is at. StorageError where the store does not answer. What goes wrong with one endpoint
        is no other's concern.
        """
        crew: Crew[Delivery] = Crew(partial(self._serve, notifiers, is_stopped))
        crew.take_on(self._due(notifiers))
        looked_at, failure = monotonic(), None
        try:
            while crew.is_busy and not is_stopped():
                try:
                    delivery = crew.outcome(_LOOK_SECONDS)
                except StorageError as error:
                    failure = error
                    self._leave(crew)
                    continue
                if delivery is not None:
                    yield delivery
                if failure is None and monotonic() - looked_at >= _LOOK_SECONDS:
                    crew.take_on(self._due(notifiers))
                    looked_at = monotonic()
        finally:
            self._leave(crew)
        if failure is not None:
            raise failure

    def _leave(self, crew: Crew[Delivery]) -> None:
        with self._looking:
            self._at_work.difference_update(job.endpoint_id for job in crew.drop())

    def _serve(
        self,
        notifiers: Mapping[str, Notifier],
        is_stopped: Callable[[], bool],
        job: Job,
        give: Callable[[Delivery], None],
    ) -> None:
        endpoint = job.endpoint
        try:
            known = self._teller.turn(
                endpoint, self._known.get(endpoint.endpoint_id), notifiers, give, is_stopped
            )
            self._known[endpoint.endpoint_id] = known
        except ConflictError:
            self.forget(endpoint.endpoint_id)  # another process was first
        except KeyturnError as error:
            if is_of_the_store(error):
                self.forget(endpoint.endpoint_id)
                raise
            _log.warning("the endpoint %s cannot be told: %s", endpoint.endpoint_id, error)
            self._put_off(endpoint)
        except Exception:  # noqa: BLE001 - a mistake that one endpoint brings to light is no other's concern
            _log.exception("the endpoint %s cannot be told", endpoint.endpoint_id)
            self._put_off(endpoint)
        finally:
            with self._looking:
                self._at_work.discard(endpoint.endpoint_id)

    def _put_off(self, endpoint: Endpoint) -> None:
        until = self._micros() + _FAILED_SECONDS * SECOND
        known = self._known.get(endpoint.endpoint_id)
        self._known[endpoint.endpoint_id] = put_off(known, self._log.position, until)

    def _due(self, notifiers: Mapping[str, Notifier]) -> list[Job]:
        """Those that have something due, or of which nothing is known, and that nobody here is at."""
        endpoints = [each for each in self._roster.present() if notifier_for(each, notifiers) is not None]
        with self._looking:
            self._compare(endpoints)
            now, seen = self._micros(), _Glance(self._lines, self._log.position)
            jobs = []
            for endpoint in endpoints:
                if endpoint.endpoint_id in self._at_work:
                    continue
                known = self._known.get(endpoint.endpoint_id)
                if known is None or self._is_due(endpoint, known, now, seen):
                    jobs.append(Job(endpoint, known is not None and known.is_doubtful))
            self._at_work.update(job.endpoint_id for job in jobs)
            known_here = (self._known.get(each.endpoint_id) for each in endpoints)
            self.progress.look((each for each in known_here if each is not None), self._log.position)
            return jobs

    def _is_due(self, endpoint: Endpoint, known: Known, now: int, seen: _Glance) -> bool:
        if known.wake_at is not None and known.wake_at <= now:
            return True
        if known.is_full:
            return False
        read_to, has_some = seen.read_on(endpoint, known.read_to)
        if read_to != known.read_to:
            self._known[endpoint.endpoint_id] = replace(known, read_to=read_to)
        return has_some or read_to - known.kept_to >= UNWRITTEN

    def _compare(self, endpoints: Sequence[Endpoint]) -> None:
        """Forget what other processes have gone on with; and what is not there any more."""
        if self._clock.steady() - self._compared_at < COMPARE_SECONDS:
            return
        self._compared_at = self._clock.steady()
        ids = [each.endpoint_id for each in endpoints]
        for endpoint_id in self._known.keys() - set(ids):
            self.forget(endpoint_id)
        for first in range(0, len(ids), _AT_A_TIME):
            some = ids[first : first + _AT_A_TIME]
            for endpoint_id, turn in zip(some, self._states.turns(some), strict=True):
                known = self._known.get(endpoint_id)
                if known is not None and known.turn not in (turn, None):
                    self.forget(endpoint_id)

    def _micros(self) -> int:
        return to_micros(self._clock.now())


class _Glance:
    """One look at what is new in the log, shared by all endpoints that are at the same place."""

    def __init__(self, lines: Lines, end: int) -> None:
        self._lines = lines
        self._end = end
        self._found: dict[tuple[int, str], tuple[list[Line], int]] = {}

    def read_on(self, endpoint: Endpoint, read_to: int) -> tuple[int, bool]:
        """Up to where there is nothing for an endpoint; and whether there is something behind that.

        At most a page a look. What cannot be read is looked at again.
        """
        if read_to >= self._end:
            return self._end, False  # which is less, after a failover
        found = self._found.get((read_to, endpoint.tenant))
        if found is None:
            found = self._found[read_to, endpoint.tenant] = self._read(endpoint, read_to)
        lines, last = found
        for line in lines:
            if endpoint.wants(line.tenant, line.type):
                return line.position - 1, True
        return last, False

    def _read(self, endpoint: Endpoint, read_to: int) -> tuple[list[Line], int]:
        try:
            lines = self._lines.after(read_to)
        except IntegrityError as error:
            _log.error("the log cannot be read for notices: %s", error)
            return [], read_to
        last = lines[-1].position if lines else read_to
        return [each for each in lines if endpoint.hears(each.tenant)], last
