"""How far the search for what is to be announced has come: one row. `docs/formats/notices.md` specifies it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from keyturn.domain.body_parts import BODY_VERSION, Body, Members, guarded, micros_of, without_absent
from keyturn.domain.change import Put
from keyturn.domain.ids import KEY, SYSTEM_TENANT
from keyturn.domain.instants import to_micros

SWEEP: Final = "sweep"
SWEEP_ROW: Final = "sweep"
INTERVAL: Final = timedelta(hours=1)
BEGINNING: Final = f"{KEY}_"  # before the id of every key
_MAX_AHEAD: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """The row.

    Attributes:
        revision: 0 while there is none.
        since: up to then, all is announced.
        until: up to then it is being announced; None between two sweeps.
        after: the id of the last row that was looked at for it.
    """

    revision: int = 0
    since: datetime
    until: datetime | None = None
    after: str = BEGINNING

    def __post_init__(self) -> None:
        if self.until is not None and self.until <= self.since:
            raise ValueError("a span ends after it begins")
        if not self.after.startswith(BEGINNING):
            raise ValueError("no id of a key or a version")

    def passed(self, row_id: str) -> Sweep:
        """The same once the rows up to this one were looked at."""
        return replace(self, after=row_id)

    def ended(self) -> Sweep:
        """The same once all rows were looked at."""
        return replace(self, since=self.until or self.since, until=None, after=BEGINNING)


def begun(kept: Sweep | None, now: datetime) -> Sweep | None:
    """The sweep to go on with; None where it is too early for another.

    The first one begins with the latest hour. So does one whose row says a time that is more than a day ahead: the
    clock that it was written by was wrong.
    """
    if kept is None:
        return Sweep(since=now - INTERVAL, until=now)
    if max(kept.since, kept.until or kept.since) > now + _MAX_AHEAD:
        return Sweep(revision=kept.revision, since=now - INTERVAL, until=now)
    if kept.until is not None:
        return kept
    return replace(kept, until=now) if now - kept.since >= INTERVAL else None


def sweep_put(sweep: Sweep) -> Put:
    """The row of a sweep."""
    body: Body = {
        "v": BODY_VERSION,
        "kind": SWEEP,
        "id": SWEEP_ROW,
        "tenant": SYSTEM_TENANT,
        "revision": sweep.revision,
        "since": to_micros(sweep.since),
        "until": micros_of(sweep.until),
        "after": sweep.after,
    }
    return Put(
        id=SWEEP_ROW, kind=SWEEP, tenant=SYSTEM_TENANT, revision=sweep.revision, body=without_absent(body)
    )


@guarded
def sweep_from(body: Mapping[str, object]) -> Sweep:
    """The sweep that a body says; IntegrityError for anything that this program did not write."""
    m = Members(body, SWEEP)
    if (m.take("id", str), m.take("tenant", str)) != (SWEEP_ROW, SYSTEM_TENANT):
        raise ValueError("another row")
    sweep = Sweep(
        revision=m.take("revision", int),
        since=m.time("since"),
        until=m.optional_time("until"),
        after=m.take("after", str),
    )
    m.finish()
    return sweep
