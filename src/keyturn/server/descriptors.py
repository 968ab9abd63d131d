"""How many connections the operating system's limit of open files leaves room for.

A process that has none left cannot open its store's files either, so that clients who only hold connections open would
keep everybody's keys from being revoked.
"""

from __future__ import annotations

import logging
import resource
from contextlib import suppress
from typing import Final

RESERVED: Final = 128  # for the store, in as many threads as may be at work, and for what Python opens itself

_log = logging.getLogger("keyturn.http")


def room_for_connections(wanted: int) -> int:
    """Raise this process's limit of open files as far as it may, and say how many connections it then takes.

    At most `wanted`; where the limit is small, half of it is kept for everything else.
    """
    limit, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != hard:
        with suppress(ValueError, OSError):  # some systems call a limit infinite and do not allow it
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            limit = hard
    room = wanted if limit == resource.RLIM_INFINITY else min(wanted, limit - min(RESERVED, limit // 2))
    _log.info("At most %d connections at once; the limit of open files is %d", room, limit)
    return room
