"""All checks, in the order in which one needs the other.

for finding in examine(os.environ, check_serving=listening.check):
    print(finding.level.value, finding.check, finding.found, finding.fix)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from keyturn.config import Settings
from keyturn.doctor.environment import CheckServing, configuration, kek, libraries, python
from keyturn.doctor.files import disks, permissions
from keyturn.doctor.findings import Finding, Watch
from keyturn.doctor.round_trip import round_trip
from keyturn.doctor.server import server
from keyturn.doctor.store import store
from keyturn.ports.clock import SYSTEM_CLOCK, Clock


def _unwatched(_what: str, _done: int, _total: int) -> None:
    """Nobody looks on."""


def examine(
    environ: Mapping[str, str],
    *,
    check_serving: CheckServing,
    clock: Clock = SYSTEM_CLOCK,
    watch: Watch = _unwatched,
) -> Iterator[Finding]:
    """Look at everything that can be looked at; each finding comes when it is known. Nothing is changed."""
    yield from python()
    settings, findings = configuration(environ, check_serving)
    yield from libraries(_extras(settings))
    yield from findings
    if settings is None:
        yield from disks(None)
        yield round_trip(None)
        return
    wrapper, finding = kek(settings)
    yield finding
    yield from permissions(settings)
    yield from disks(settings)
    yield round_trip(wrapper)
    yield from store(settings, wrapper, clock, watch)
    yield server(settings)


def _extras(settings: Settings | None) -> frozenset[str]:
    """What the settings' store needs beside what everybody needs."""
    if settings is None or settings.is_sqlite:
        return frozenset()
    return frozenset({"postgres"})
