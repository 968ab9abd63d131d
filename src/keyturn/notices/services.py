"""The services behind notices, put together over one ledger."""

from __future__ import annotations

from dataclasses import dataclass

from keyturn.audit.trail import Trail
from keyturn.issuing.keys import Keys
from keyturn.notices.delivering import Deliverer
from keyturn.notices.endpoints import Endpoints
from keyturn.notices.parcels import Parcels
from keyturn.notices.redelivering import Redelivery
from keyturn.notices.states import States
from keyturn.notices.trying import Trials
from keyturn.ports.clock import Clock
from keyturn.ports.ledger import Ledger
from keyturn.ports.waiting_secrets import WaitingSecrets
from keyturn.records.records import Records


@dataclass(frozen=True, kw_only=True, eq=False)
class NoticeServices:
    """Endpoints, and deliveries to them."""

    endpoints: Endpoints
    deliverer: Deliverer
    redelivery: Redelivery
    trials: Trials


def notices_over(
    *,
    ledger: Ledger,
    records: Records,
    keys: Keys,
    trail: Trail,
    secrets: WaitingSecrets,
    clock: Clock,
) -> NoticeServices:
    """The services over one ledger."""
    endpoints = Endpoints(ledger=ledger, records=records, keys=keys, clock=clock)
    states = States(ledger=ledger, records=records)
    return NoticeServices(
        endpoints=endpoints,
        deliverer=Deliverer(
            endpoints=endpoints,
            states=states,
            trail=trail,
            parcels=Parcels(secrets=secrets, records=records, clock=clock),
            log=records.log,
            log_id=ledger.log_id,
            clock=clock,
        ),
        redelivery=Redelivery(endpoints=endpoints, states=states, clock=clock),
        trials=Trials(endpoints=endpoints, clock=clock),
    )
