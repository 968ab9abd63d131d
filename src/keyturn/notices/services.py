"""The services behind notices, put together over one ledger."""

from __future__ import annotations

from dataclasses import dataclass

from keyturn.audit.lines import Lines
from keyturn.issuing.keys import Keys
from keyturn.notices.delivering import Deliverer
from keyturn.notices.endpoints import Endpoints
from keyturn.notices.parcels import Parcels
from keyturn.notices.progress import Progress
from keyturn.notices.redelivering import Redelivery
from keyturn.notices.roster import Roster
from keyturn.notices.states import States
from keyturn.notices.telling import Teller
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
    secrets: WaitingSecrets,
    clock: Clock,
) -> NoticeServices:
    """The services over one ledger."""
    roster = Roster(ledger=ledger, records=records)
    endpoints = Endpoints(ledger=ledger, records=records, keys=keys, roster=roster, clock=clock)
    states = States(ledger=ledger, records=records)
    lines = Lines(ledger=ledger, keyring=records.keyring, log=records.log)
    progress = Progress(lambda position: lines.event(position).time)
    teller = Teller(
        endpoints=endpoints,
        roster=roster,
        states=states,
        lines=lines,
        parcels=Parcels(secrets=secrets, records=records, clock=clock),
        log=records.log,
        log_id=ledger.log_id,
        progress=progress,
        clock=clock,
    )
    deliverer = Deliverer(
        roster=roster,
        states=states,
        teller=teller,
        lines=lines,
        log=records.log,
        progress=progress,
        clock=clock,
    )
    return NoticeServices(
        endpoints=endpoints,
        deliverer=deliverer,
        redelivery=Redelivery(endpoints=endpoints, states=states, clock=clock, wake=deliverer.forget),
        trials=Trials(endpoints=endpoints, clock=clock),
    )
