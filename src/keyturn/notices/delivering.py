"""Delivering what is due. Any number of processes may do it: each endpoint is one's at a time.

    for delivery in deliverer.work():
        print(delivery.endpoint_id, delivery.position, delivery.outcome.delivered)

What is between two runs stands in the endpoint's state, sealed, in the ledger.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from keyturn.audit.trail import KeyUsageEvent, Page, Trail
from keyturn.domain.instants import to_micros
from keyturn.domain.notices.deliveries import SECOND, Deliveries, Pending
from keyturn.domain.notices.endpoint import Endpoint
from keyturn.errors import ConflictError, IntegrityError, KeyturnError, StorageError
from keyturn.notices.endpoints import Endpoints
from keyturn.notices.messages import message_of
from keyturn.notices.parcels import Parcels
from keyturn.notices.progress import Progress
from keyturn.notices.states import States, Turn
from keyturn.ports.clock import Clock
from keyturn.ports.notifier import SECONDS, Notifier, Outcome
from keyturn.records.log_reader import LogReader

HELD: Final = 60  # seconds for which a process has an endpoint
AT_ONCE: Final = 50  # deliveries to one endpoint before the next has its turn, and what a crash may repeat
_PAGES: Final = 10  # of the log, before the next endpoint has its turn
_UNWRITTEN: Final = 1_000  # entries that another process may have to read again
_log = logging.getLogger("keyturn.notices")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One attempt.

    Attributes:
        position: of the entry in the log.
        type: of the entry.
    """

    endpoint_id: str
    tenant: str
    position: int
    type: str
    outcome: Outcome


class Deliverer:
    """Works off what is due in every tenant, by the notifiers that this process has for each scheme.

    Attributes:
        progress: what was attempted, and how far behind the slowest endpoint is.
    """

    def __init__(
        self,
        *,
        endpoints: Endpoints,
        states: States,
        trail: Trail,
        parcels: Parcels,
        log: LogReader,
        log_id: str,
        clock: Clock,
    ) -> None:
        self._endpoints = endpoints
        self._states = states
        self._trail = trail
        self._parcels = parcels
        self._log = log
        self._log_id = log_id
        self._clock = clock
        self.progress = Progress(lambda position: trail.at(position).time)
        self._passed: dict[str, tuple[int, int]] = {}

    def work(self, notifiers: Mapping[str, Notifier]) -> Iterator[Delivery]:
        """Attempt what is due, and give each attempt as soon as it is written down.

        StorageError where the store does not answer. What goes wrong with one endpoint is no other's concern.
        """
        self._log.catch_up()
        head = self._log.position
        self.progress.begin()
        pages: dict[int, Page] = {}  # most endpoints are at the same place in the log
        for endpoint in self._endpoints.of_all_tenants():
            notifier = notifiers.get(endpoint.destination.scheme)
            if notifier is None or endpoint.is_paused or not notifier.takes(endpoint.destination):
                continue
            try:
                yield from self._serve(endpoint, notifier, pages)
            except ConflictError:
                continue  # another process has it
            except StorageError:
                raise
            except KeyturnError as error:
                _log.warning("the endpoint %s cannot be told: %s", endpoint.endpoint_id, error)
        self.progress.end(head)

    def _serve(self, endpoint: Endpoint, notifier: Notifier, pages: dict[int, Page]) -> Iterator[Delivery]:
        turn, now = self._states.read(endpoint), self._micros()
        if turn.state.held_until > now:
            self.progress.saw(turn.state)
            return
        state = self._read_on(endpoint, turn, pages)
        moved = state.read_to - turn.state.read_to
        if state.due(now) is None and len(state.pending) == len(turn.state.pending) and moved < _UNWRITTEN:
            self.progress.saw(state)
            return  # a cursor that moves past nothing of interest need not be written each time
        until = now + HELD * SECOND
        turn = self._states.keep(endpoint, turn, replace(state, held_until=until))
        made, state = self._deliver(endpoint, notifier, turn.state, until)
        self._states.keep(endpoint, turn, replace(state, held_until=0))
        self.progress.saw(state)
        yield from made

    def _read_on(self, endpoint: Endpoint, turn: Turn, pages: dict[int, Page]) -> Deliveries:
        """The state with what the log has for the endpoint since, as far as it takes more in."""
        state = turn.state
        if state.read_to > self._log.position:  # a failover lost entries that were delivered
            state = replace(state, read_to=self._log.position)
        seen_turn, passed = self._passed.get(endpoint.endpoint_id, (-1, 0))
        if seen_turn == turn.number and passed <= self._log.position:
            state = replace(state, read_to=max(passed, state.read_to))
        for _ in range(_PAGES):
            page = pages.get(state.read_to)
            if page is None:
                page = pages[state.read_to] = self._trail.page(state.read_to)
            if page.last == state.read_to:
                break
            wanted = [each for each in page.events if endpoint.wants(each.tenant, each.type)]
            room, last = state.room, page.last
            if len(wanted) > room:
                wanted, last = wanted[:room], wanted[room].position - 1
            state = state.with_read(last, [(each.position, _lane(each)) for each in wanted])
            if last < page.last:
                break
        if state.pending == turn.state.pending:
            self._passed[endpoint.endpoint_id] = (turn.number, state.read_to)
        return state

    def _deliver(
        self, endpoint: Endpoint, notifier: Notifier, state: Deliveries, until: int
    ) -> tuple[list[Delivery], Deliveries]:
        """Attempt what is due while the endpoint is ours."""
        made: list[Delivery] = []
        for _ in range(AT_ONCE):
            now = self._micros()
            pending = state.due(now)
            if pending is None or now + int(2 * SECONDS) * SECOND > until:
                break
            event = self._trail.at(pending.position)
            if not endpoint.wants(event.tenant, event.type):
                state = state.passed_over(pending)  # its filter was changed meanwhile
                continue
            outcome = self._attempted(endpoint, notifier, event)
            before, state = state, self._after(state, pending, outcome)
            self.progress.attempted(outcome, before, state)
            made.append(
                Delivery(
                    endpoint_id=endpoint.endpoint_id,
                    tenant=endpoint.tenant,
                    position=pending.position,
                    type=event.type,
                    outcome=outcome,
                )
            )
        return made, state

    def _attempted(self, endpoint: Endpoint, notifier: Notifier, event: KeyUsageEvent) -> Outcome:
        try:
            sealed = self._parcels.sealed(endpoint, event)
        except KeyturnError as error:
            _log.warning("the new secret of entry %s could not be sealed: %s", event.position, error)
            return Outcome(False, "the new secret could not be sealed")
        outcome = self._told(endpoint, notifier, event, sealed)
        if sealed is not None and outcome.delivered:
            return self._handed_over(event, outcome)
        return outcome

    def _handed_over(self, event: KeyUsageEvent, outcome: Outcome) -> Outcome:
        try:
            self._parcels.arrived(event)
        except KeyturnError as error:
            _log.warning(
                "the arrival of entry %s's secret could not be written down: %s", event.position, error
            )
            return Outcome(False, "the receiver has the new secret, but that could not be written down")
        return outcome

    def _told(
        self, endpoint: Endpoint, notifier: Notifier, event: KeyUsageEvent, sealed_secret: str | None
    ) -> Outcome:
        now = self._clock.now()
        secrets = self._endpoints.secrets(endpoint, now)
        message = message_of(event, endpoint, secrets, self._log_id, now, sealed_secret=sealed_secret)
        try:
            return notifier.deliver(message)
        except Exception as error:  # noqa: BLE001 - a callable of somebody else may raise anything
            _log.exception("a notifier failed")
            return Outcome(False, f"the notifier failed: {type(error).__name__}")

    def _after(self, state: Deliveries, pending: Pending, outcome: Outcome) -> Deliveries:
        now = self._micros()
        if outcome.delivered:
            return state.after_success(pending, now)
        jitter = random.random()  # noqa: S311 - no secret
        return state.after_failure(
            pending, now, outcome.why, jitter, wait=outcome.wait, is_final=outcome.is_final
        )

    def _micros(self) -> int:
        return to_micros(self._clock.now())


def _lane(event: KeyUsageEvent) -> str:
    if not event.subjects:
        raise IntegrityError(f"entry {event.position} is about nothing")
    return event.subjects[0]
