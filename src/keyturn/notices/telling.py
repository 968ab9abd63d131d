"""One endpoint's turn: take in what the log has for it, hold it, attempt what is due, and write that down."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from keyturn.audit.lines import Lines
from keyturn.audit.trail import KeyUsageEvent
from keyturn.domain.instants import to_micros
from keyturn.domain.notices.deliveries import SECOND, Deliveries, Pending
from keyturn.domain.notices.endpoint import Endpoint
from keyturn.errors import ConflictError, KeyturnError, StorageError
from keyturn.notices.endpoints import Endpoints
from keyturn.notices.known import Known, known_of
from keyturn.notices.messages import message_of
from keyturn.notices.parcels import Parcels
from keyturn.notices.progress import Progress
from keyturn.notices.roster import Roster
from keyturn.notices.states import States, Turn
from keyturn.ports.clock import Clock
from keyturn.ports.notifier import SECONDS, Notifier, Outcome
from keyturn.records.log_reader import LogReader

HELD: Final = 60  # seconds for which a process has an endpoint
AT_ONCE: Final = 50  # deliveries to one endpoint before the next has its turn, and what a crash may repeat
TURN_SECONDS: Final = 10.0  # after which no other attempt begins, for the same reasons
UNWRITTEN: Final = 1_000  # entries that another process may have to read again
_PAGES: Final = 10  # of the log, before the next endpoint has its turn
_SLOW_SECONDS: Final = 2.0  # for one turn
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


class Teller:
    """Gives endpoints their turns. Safe to call from several threads, but not for one endpoint at a time."""

    def __init__(
        self,
        *,
        endpoints: Endpoints,
        roster: Roster,
        states: States,
        lines: Lines,
        parcels: Parcels,
        log: LogReader,
        log_id: str,
        progress: Progress,
        clock: Clock,
    ) -> None:
        self._endpoints = endpoints
        self._roster = roster
        self._states = states
        self._lines = lines
        self._parcels = parcels
        self._log = log
        self._log_id = log_id
        self._progress = progress
        self._clock = clock
        self._unkept: dict[str, tuple[Turn, Deliveries]] = {}

    def turn(
        self,
        endpoint: Endpoint,
        known: Known | None,
        notifiers: Mapping[str, Notifier],
        give: Callable[[Delivery], None],
        is_stopped: Callable[[], bool],
    ) -> Known:
        """Attempt what is due, giving each attempt once it is written down, and say what is known then.

        ConflictError where another process was first; StorageError where the store does not answer.
        """
        began = self._clock.steady()
        self._keep_unkept(endpoint)
        turn, now = self._states.read(endpoint), self._micros()
        if turn.state.held_until > now:
            return known_of(turn, turn.state, wake_at=turn.state.held_until)
        read_to = known.read_to if known is not None and known.turn == turn.number else 0
        state, is_done = self._read_on(endpoint, turn.state, read_to)
        if state.due(now) is None:
            if (
                len(state.pending) > len(turn.state.pending)
                or state.read_to - turn.state.read_to >= UNWRITTEN
                or state.read_to < turn.state.read_to
            ):
                turn = self._states.keep(endpoint, turn, state)
            return known_of(turn, state, wake_at=state.due_from() if is_done else now)
        turn = self._states.keep(endpoint, turn, replace(state, held_until=now + HELD * SECOND))
        turn = self._hold(endpoint, turn, notifiers, give, is_stopped)
        took = self._clock.steady() - began
        wake_at = turn.state.due_from() if is_done else now
        return known_of(turn, turn.state, wake_at=wake_at, is_slow=took > _SLOW_SECONDS)

    def _read_on(self, endpoint: Endpoint, state: Deliveries, read_to: int) -> tuple[Deliveries, bool]:
        """The state with what the log has for the endpoint since, as far as it takes more in; and whether that is all.

        Up to `read_to` there is nothing.
        """
        if state.read_to > self._log.position:
            self._log.catch_up()  # another process may just know more
        end = self._log.position
        # After a failover there may be fewer entries than were delivered.
        state = replace(state, read_to=min(max(state.read_to, read_to), end))
        for _ in range(_PAGES):
            if state.read_to >= end or not state.room:
                return state, True
            lines = self._lines.after(state.read_to)
            if not lines:
                return state, True
            wanted = [each for each in lines if endpoint.wants(each.tenant, each.type)]
            last, room = lines[-1].position, state.room
            if len(wanted) > room:
                wanted, last = wanted[:room], wanted[room].position - 1
            state = state.with_read(last, [(each.position, each.lane) for each in wanted])
        return state, state.read_to >= end

    def _hold(
        self,
        endpoint: Endpoint,
        turn: Turn,
        notifiers: Mapping[str, Notifier],
        give: Callable[[Delivery], None],
        is_stopped: Callable[[], bool],
    ) -> Turn:
        """Attempt what is due while the endpoint is ours, and write it down whatever happens."""
        state, made = turn.state, list[Delivery]()
        ends = self._clock.steady() + TURN_SECONDS
        try:
            while len(made) < AT_ONCE and self._clock.steady() < ends and not is_stopped():
                now = self._micros()
                pending = state.due(now)
                if pending is None or now + int(2 * SECONDS) * SECOND > turn.state.held_until:
                    break
                # As it is now: it may have been deleted or paused, or gone elsewhere, since the turn began.
                present = self._roster.get(endpoint.endpoint_id)
                notifier = None if present is None else notifier_for(present, notifiers)
                if present is None or notifier is None:
                    break
                event = self._lines.event(pending.position)
                if not present.wants(event.tenant, event.type):
                    state = state.passed_over(pending)  # its filter was changed meanwhile
                    continue
                outcome = self._attempted(present, notifier, event)
                before, state = state, self._after(state, pending, outcome)
                self._progress.attempted(outcome, before, state)
                made.append(_delivery(present, event, outcome))
        finally:
            kept = self._keep(endpoint, turn, replace(state, held_until=0))
        for each in made:
            give(each)
        return kept

    def _keep(self, endpoint: Endpoint, turn: Turn, state: Deliveries) -> Turn:
        try:
            return self._states.keep(endpoint, turn, state)
        except StorageError:
            # Nobody else goes on while it is held; so that nothing is sent twice if the store is back by then.
            self._unkept[endpoint.endpoint_id] = turn, state
            raise

    def _keep_unkept(self, endpoint: Endpoint) -> None:
        unkept = self._unkept.pop(endpoint.endpoint_id, None)
        if unkept is not None:
            try:
                self._keep(endpoint, *unkept)
            except ConflictError:
                _log.warning("what %s was told could not be written down in time", endpoint.endpoint_id)

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


def notifier_for(endpoint: Endpoint, notifiers: Mapping[str, Notifier]) -> Notifier | None:
    """What delivers to an endpoint here; None where nothing does, and while it is paused."""
    notifier = notifiers.get(endpoint.destination.scheme)
    if notifier is None or endpoint.is_paused or not notifier.takes(endpoint.destination):
        return None
    return notifier


def _delivery(endpoint: Endpoint, event: KeyUsageEvent, outcome: Outcome) -> Delivery:
    return Delivery(
        endpoint_id=endpoint.endpoint_id,
        tenant=endpoint.tenant,
        position=event.position,
        type=event.type,
        outcome=outcome,
    )
