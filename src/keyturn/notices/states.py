"""The states of deliveries between the services and a ledger: sealed on the way in, checked on the way out."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final, NamedTuple

from keyturn.crypto.keyring import Keyring
from keyturn.domain.notices.deliveries import Deliveries
from keyturn.domain.notices.endpoint import Endpoint
from keyturn.errors import IntegrityError
from keyturn.ports.ledger import KeptState, Ledger
from keyturn.records.records import Records

_MAC_BYTES: Final = 32


class Turn(NamedTuple):
    """A state, and its number; 0 for one that was never kept."""

    number: int
    state: Deliveries


class States:
    """Reads and keeps states."""

    def __init__(self, *, ledger: Ledger, records: Records) -> None:
        self._ledger = ledger
        self._records = records

    def read(self, endpoint: Endpoint) -> Turn:
        """How far an endpoint's deliveries have come.

        Where there is no state, or one that does not hold, from where the endpoint began: to deliver again does less
        harm than to leave out.
        """
        kept, begun = self._ledger.read_states([endpoint.endpoint_id])[0], Deliveries(read_to=endpoint.since)
        if kept is None:
            return Turn(0, begun)
        try:
            return Turn(kept.turn, _opened(self._records.keyring, kept))
        except IntegrityError as error:
            self._records.incidents.note(endpoint.endpoint_id, endpoint.tenant, str(error))
            return Turn(kept.turn, begun)

    def turns(self, endpoint_ids: Sequence[str]) -> list[int]:
        """The numbers of their states, in order, as the store says them, unchecked."""
        return [0 if kept is None else kept.turn for kept in self._ledger.read_states(endpoint_ids)]

    def keep(self, endpoint: Endpoint, after: Turn, state: Deliveries) -> Turn:
        """Let `state` follow; ConflictError where another process has gone on."""
        text = state.encoded()
        mac = _mac(self._records.keyring, endpoint.endpoint_id, after.number + 1, text)
        self._ledger.keep_state(KeptState(endpoint.endpoint_id, after.number + 1, mac + text.encode()))
        return Turn(after.number + 1, state)


def _opened(keyring: Keyring, kept: KeptState) -> Deliveries:
    try:
        text = kept.body[_MAC_BYTES:].decode()
    except UnicodeDecodeError:
        raise IntegrityError("the state of an endpoint's deliveries is not what was written") from None
    expected = _mac(keyring, kept.endpoint_id, kept.turn, text)
    if not hmac.compare_digest(expected, kept.body[:_MAC_BYTES]):
        raise IntegrityError("the state of an endpoint's deliveries is not what was written")
    return Deliveries.decoded(text)


def _mac(keyring: Keyring, endpoint_id: str, turn: int, text: str) -> bytes:
    # The look-up key, because it stays when data keys are retired: nobody has to seal states anew.
    digest = hashlib.sha256(text.encode()).hexdigest()
    return keyring.keyed("deliveries", endpoint_id, str(turn), digest)
