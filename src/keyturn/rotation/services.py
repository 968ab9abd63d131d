"""All that rotates keys in one process."""

from __future__ import annotations

from dataclasses import dataclass

from keyturn.issuing.keys import Keys
from keyturn.issuing.updating import Updater
from keyturn.measures import Tally
from keyturn.ports.clock import Clock
from keyturn.ports.ledger import Ledger
from keyturn.records.intact import Intact
from keyturn.records.records import Records
from keyturn.rotation.advancing import Advancing
from keyturn.rotation.beginning import Beginning
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
from keyturn.rotation.waiting import RotationSecrets


@dataclass(frozen=True, kw_only=True, eq=False)
class RotationServices:
    """Policies, and rotations by them and by request.

    Attributes:
        left_out: how often a row could not be used, by its kind: each is left out on its own.
    """

    policies: Policies
    requests: Requests
    bulk: Bulk
    mover: Mover
    pick_ups: PickUps
    scheduler: Scheduler
    history: History
    checks: Checks
    statistics: Statistics
    left_out: Tally
    secrets: RotationSecrets


def rotation_over(
    *, ledger: Ledger, records: Records, keys: Keys, updater: Updater, clock: Clock
) -> RotationServices:
    """The services over one ledger."""
    policies = Policies(ledger=ledger, records=records, keys=keys, updater=updater, clock=clock)
    starter = Starter(records=records, keys=keys, clock=clock)
    mover = Mover(ledger=ledger, records=records, keys=keys, clock=clock)
    intact = Intact(records)
    scheduler = Scheduler(
        advancing=Advancing(ledger=ledger, intact=intact, mover=mover, clock=clock),
        beginning=Beginning(
            ledger=ledger,
            records=records,
            intact=intact,
            keys=keys,
            policies=policies,
            starter=starter,
            clock=clock,
        ),
    )
    history = History(ledger=ledger, records=records)
    requests = Requests(keys=keys, starter=starter, clock=clock)
    return RotationServices(
        policies=policies,
        requests=requests,
        bulk=Bulk(ledger=ledger, intact=intact, requests=requests, history=history, clock=clock),
        mover=mover,
        pick_ups=PickUps(records=records, keys=keys, mover=mover, clock=clock),
        scheduler=scheduler,
        history=history,
        checks=Checks(ledger=ledger, intact=intact, mover=mover, clock=clock),
        statistics=Statistics(ledger=ledger, intact=intact, history=history, clock=clock),
        left_out=intact.left_out,
        secrets=RotationSecrets(records=records, keys=keys, mover=mover, clock=clock),
    )
