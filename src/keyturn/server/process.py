"""What the operating system knows of this process, under the names that Prometheus' own clients use."""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from keyturn.measures import Family, counter, gauge

_PROC: Final = Path("/proc")


def process_families() -> Iterator[Family]:
    """Processor time everywhere; the rest where there is a /proc."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    yield counter(
        "process_cpu_seconds_total", "Processor time, user and system.", used.ru_utime + used.ru_stime
    )
    yield gauge("process_max_fds", "Open files that are allowed.", _unless_unlimited(resource.RLIMIT_NOFILE))
    with suppress(OSError):
        yield gauge("process_open_fds", "Open files.", sum(1 for _ in (_PROC / "self/fd").iterdir()))
    with suppress(OSError):
        yield from _from_stat()


def _unless_unlimited(limit: int) -> float:
    allowed = resource.getrlimit(limit)[0]
    return math.inf if allowed == resource.RLIM_INFINITY else allowed


def _from_stat() -> Iterator[Family]:
    # The name, in brackets, may itself hold spaces and brackets: proc(5).
    fields = (_PROC / "self/stat").read_text().rpartition(")")[2].split()
    started, virtual, resident = int(fields[19]), int(fields[20]), int(fields[21])
    yield gauge("process_virtual_memory_bytes", "Virtual memory.", virtual)
    yield gauge("process_resident_memory_bytes", "Resident memory.", resident * resource.getpagesize())
    # A hardened service may see no more of /proc than itself.
    for line in (_PROC / "stat").read_text().splitlines():
        if line.startswith("btime "):
            since_boot = started / os.sysconf("SC_CLK_TCK")
            says = "When the process started, in seconds since the epoch."
            yield gauge("process_start_time_seconds", says, int(line.split()[1]) + since_boot)
