"""All that rotates keys in one process."""

from __future__ import annotations

from dataclasses import dataclass

from keyturn.issuing.keys import Keys
from keyturn.issuing.reading import Reader
from keyturn.issuing.updating import Updater
from keyturn.ports.clock import Clock
from keyturn.ports.ledger import Ledger
from keyturn.records.records import Records
from keyturn.rotation.bulk import Bulk
from keyturn.rotation.checking import Checks
from keyturn.rotation.history import History
from keyturn.rotation.moving import Mover
from keyturn.rotation.pick_ups import PickUps
from keyturn.rotation.policies import Policies
from keyturn.rotation.requesting import Requests
from keyturn.rotation.scheduler import Scheduler
from keyturn.rotation.starting import Starter
from keyturn.rotation.statistics import Statistics


@dataclass(frozen=True, kw_only=True, eq=False)
class RotationServices:
    """Policies, and rotations by them and by request."""

    policies: Policies
    requests: Requests
    bulk: Bulk
    mover: Mover
    pick_ups: PickUps
    scheduler: Scheduler
    history: History
    checks: Checks
    statistics: Statistics


def rotation_over(
    *, ledger: Ledger, records: Records, keys: Keys, reader: Reader, updater: Updater, clock: Clock
) -> RotationServices:
    """The services over one ledger."""
    policies = Policies(ledger=ledger, records=records, keys=keys, updater=updater, clock=clock)
    starter = Starter(records=records, keys=keys, clock=clock)
    mover = Mover(ledger=ledger, records=records, keys=keys, clock=clock)
    scheduler = Scheduler(
        ledger=ledger, records=records, policies=policies, starter=starter, mover=mover, clock=clock
    )
    history = History(ledger=ledger, records=records)
    requests = Requests(keys=keys, starter=starter, clock=clock)
    return RotationServices(
        policies=policies,
        requests=requests,
        bulk=Bulk(reader=reader, requests=requests, clock=clock),
        mover=mover,
        pick_ups=PickUps(records=records, keys=keys, mover=mover, clock=clock),
        scheduler=scheduler,
        history=history,
        checks=Checks(history=history, mover=mover, clock=clock),
        statistics=Statistics(
            ledger=ledger, records=records, policies=policies, history=history, clock=clock
        ),
    )
