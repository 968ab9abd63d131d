"""Looking at deliveries, and having some made again."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from keyturn.domain.instants import to_micros
from keyturn.domain.notices.deliveries import MAX_PENDING, Deliveries
from keyturn.domain.notices.endpoint import Endpoint
from keyturn.domain.principal import Principal
from keyturn.errors import ConflictError, InvalidInputError, NotFoundError
from keyturn.notices.endpoints import Endpoints
from keyturn.notices.states import States, Turn
from keyturn.ports.clock import Clock

_BUSY: Final = "Try again in a minute: a process is delivering to the endpoint."


class Redelivery:
    """What became of an endpoint's deliveries, and another attempt at them."""

    def __init__(
        self, *, endpoints: Endpoints, states: States, clock: Clock, wake: Callable[[str], None]
    ) -> None:
        self._endpoints = endpoints
        self._states = states
        self._clock = clock
        self._wake = wake  # who delivers in this process looks at once; others within ten seconds

    def deliveries(self, endpoint_id: str, by: Principal) -> Deliveries:
        """How far an endpoint's deliveries have come; NotFoundError as for the endpoint."""
        return self._states.read(self._endpoints.get(endpoint_id, by)).state

    def redeliver(
        self, endpoint_id: str, by: Principal, positions: Collection[int] | None = None
    ) -> Deliveries:
        """Have these delivered again, in their order; all dead ones where none are named, as far as they fit.

        NotFoundError for a position that is neither dead nor among the latest delivered; ConflictError while a
        process is delivering to the endpoint.
        """
        endpoint, turn = self._free(endpoint_id, by)
        state = turn.state
        room = MAX_PENDING - len(state.pending)
        if positions is None:
            positions = [each.position for each in state.dead][:room]
        if not set(positions) <= state.ended().keys():
            raise NotFoundError(
                "no such delivery is dead, or among the latest that were made",
                fix="List the endpoint's deliveries to see which there are.",
            )
        if len(set(positions)) > room:
            raise InvalidInputError(f"there is room for {room} more deliveries", field="positions")
        return self._keep(endpoint, turn, state.with_redelivery(frozenset(positions)))

    def dismiss(
        self, endpoint_id: str, by: Principal, positions: Collection[int] | None = None
    ) -> Deliveries:
        """Forget these dead deliveries, or all: they are not made any more, and make room for others.

        NotFoundError for a position that is not dead; ConflictError while a process is delivering to the endpoint.
        """
        endpoint, turn = self._free(endpoint_id, by)
        dead = {each.position for each in turn.state.dead}
        if positions is not None and not set(positions) <= dead:
            raise NotFoundError(
                "no such delivery is dead", fix="List the endpoint's deliveries to see which are."
            )
        gone = dead if positions is None else frozenset(positions)
        return self._keep(endpoint, turn, turn.state.without_dead(gone))

    def _free(self, endpoint_id: str, by: Principal) -> tuple[Endpoint, Turn]:
        endpoint = self._endpoints.get(endpoint_id, by)
        turn = self._states.read(endpoint)
        if turn.state.held_until > to_micros(self._clock.now()):
            raise ConflictError("deliveries to the endpoint are under way", fix=_BUSY)
        return endpoint, turn

    def _keep(self, endpoint: Endpoint, turn: Turn, state: Deliveries) -> Deliveries:
        kept = self._states.keep(endpoint, turn, state).state
        self._wake(endpoint.endpoint_id)
        return kept
