"""Everything that is measured, in one list: of the server, of its node, of the process."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final

import keyturn
from keyturn.bootstrap import Node
from keyturn.errors import KeyturnError
from keyturn.measures import Family, Labels, counted, counter, gauge, gauged, spread
from keyturn.ports.ledger import Position
from keyturn.server.deciding import Decider
from keyturn.server.logs import lines_dropped
from keyturn.server.measured import Measured
from keyturn.server.process import process_families
from keyturn.server.rsa_pool import RsaPool
from keyturn.server.telling import notice_families, rotation_families
from keyturn.serving.deciding import MAX_LOADS

_LOADED: Final[Mapping[Labels, float]] = {("found",): 0, ("absent",): 0, ("failed",): 0}


class Collector:
    """Reads what was counted."""

    def __init__(self, *, node: Node, decider: Decider, measured: Measured, pool: RsaPool) -> None:
        self._node = node
        self._decider = decider
        self._measured = measured
        self._pool = pool
        self._hits = 0

    def families(self, head: Position | None) -> Iterator[Family]:
        """All families but those of the process, without waiting; `head` is the log's, None where it is not known."""
        yield gauge(
            "keyturn_build_info", "Which version this is; always 1.", 1,
            version=keyturn.__version__, python=platform.python_version(),
        )  # fmt: skip
        yield from self._measured.families()
        yield from self._cache()
        yield from self._log(head)
        yield from self._ledger()
        yield from self._uses()
        yield from rotation_families(self._node)
        yield from notice_families(self._node)
        yield gauged(
            "keyturn_rsa_pool_keys",
            "RSA keys that are ready, by their bits; without one, whoever wants such a key is told to come again.",
            ("bits",),
            {(str(bits),): count for bits, count in self._pool.sizes().items()},
        )
        yield counter(
            "keyturn_log_lines_dropped_total",
            "Lines for standard error that were left out because nobody took them in.",
            lines_dropped(),
        )

    def everything(self) -> Iterator[Family]:
        """All families, for a thread that may wait for the store."""
        head = None
        with suppress(KeyturnError):
            head = self._node.ledger.head()
        yield from self.families(head)
        yield from process_families()

    def _cache(self) -> Iterator[Family]:
        verifier, cache = self._node.verifier, self._node.cache
        # It is a difference of two counts, and a counter that goes back by one would be taken for a restart.
        self._hits = max(self._hits, verifier.hits)
        yield gauge(
            "keyturn_cache_entries",
            "Credentials in memory. One that was used lately and before may count twice.",
            cache.slots,
        )
        yield gauge("keyturn_cache_capacity_entries", "Credentials that memory may hold.", cache.capacity)
        yield counter(
            "keyturn_cache_hits_total",
            "Decisions on credentials that were in memory, those on callers' own keys included.",
            self._hits,
        )
        yield counted(
            "keyturn_cache_loads_total",
            "Look-ups in the store of credentials that were not in memory, by result.",
            ("result",),
            {**_LOADED, **verifier.loads.read()},
        )
        yield gauge(
            "keyturn_loads_pending", "Look-ups under way or waiting for a thread.", self._decider.loads
        )
        yield gauge(
            "keyturn_loads_limit",
            "Pending look-ups past which a credential not in memory is throttled.",
            MAX_LOADS,
        )
        yield gauge(
            "keyturn_lookup_budget",
            "Look-ups that find nothing which are allowed now; at 0 unknown credentials are throttled.",
            verifier.lookup_budget,
        )
        yield gauge(
            "keyturn_failing_sources",
            "Client addresses remembered for credentials that were refused; they wait before their next look-up.",
            verifier.failing_sources,
        )

    def _log(self, head: Position | None) -> Iterator[Family]:
        log, verifier = self._node.records.log, self._node.verifier
        position = log.position
        yield gauge(
            "keyturn_log_read_age_seconds",
            "Time since the last completed read of the log began; past the bound nothing is decided.",
            max(0.0, self._node.clock.steady() - log.read_at) if math.isfinite(log.read_at) else math.inf,
        )
        yield gauge(
            "keyturn_log_read_age_limit_seconds",
            "The bound, KEYTURN_MAX_STALENESS.",
            verifier.max_staleness,
        )
        yield gauge("keyturn_log_position", "Position in the log that this node has read up to.", position)
        if head is not None:
            yield gauge(
                "keyturn_log_unread_entries",
                "Entries in the log that this node had not read; absent where the store did not say in time.",
                max(0, head - position),
            )
        yield gauge(
            "keyturn_log_intact",
            "1, or 0 once the log was found altered and nothing is decided.",
            int(not log.is_broken),
        )
        yield counter(
            "keyturn_integrity_findings_total",
            "Different rows, or the log, found not to be what was written.",
            self._node.records.incidents.found,
        )
        yield counted(
            "keyturn_rotation_left_out_total",
            "Times that rotation went on without a row that it could not use, by kind: key, policy, rotation.",
            ("kind",),
            self._node.rotation.left_out.read(),
        )

    def _ledger(self) -> Iterator[Family]:
        calls = self._node.ledger_calls
        yield spread(
            "keyturn_ledger_call_duration_seconds",
            "Time of calls to the store, failed ones included. A commit is one change, made durable.",
            ("call",),
            calls.seconds.read(),
        )
        yield counted(
            "keyturn_ledger_errors_total",
            "Calls to the store that failed, by call and the error's code; conflicts are not among them.",
            ("call", "code"),
            calls.failures.read(),
        )

    def _uses(self) -> Iterator[Family]:
        uses = self._node.uses
        yield gauge(
            "keyturn_uses_waiting", "Counts of uses and refusals not yet written to the store.", uses.waiting
        )
        yield counter(
            "keyturn_uses_dropped_total", "Uses and refusals that will never be written.", uses.dropped
        )
