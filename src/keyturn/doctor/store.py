"""The store, read and left as it is: its key-encryption key, the whole log, every row, and what it waits for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from keyturn.audit.trail import event_of
from keyturn.bootstrap import ledger_module, open_log
from keyturn.config import Settings
from keyturn.custody.tallying import batches
from keyturn.doctor.database import FAR_BEHIND, database
from keyturn.doctor.environment import has_store
from keyturn.doctor.findings import Finding, Watch, doubtful, failed, in_order, refused
from keyturn.domain.entry import chain_start, decode_entry
from keyturn.domain.floor import Floor
from keyturn.domain.instants import to_micros
from keyturn.errors import IntegrityError, KeyturnError
from keyturn.ports.clock import Clock
from keyturn.ports.key_wrapper import KeyWrapper
from keyturn.ports.ledger import Ledger
from keyturn.records.entry_seals import Seen
from keyturn.records.progress import Progress
from keyturn.records.records import Records

BATCH: Final = 1_000  # entries a read
LATEST: Final = 100  # entries whose time is held against this clock
AHEAD: Final = 2.0  # seconds that the latest entry may be from the future
UNSEALED: Final = 10.0  # seconds that an entry may wait for a sealed head
UNRECORDED: Final = 600.0  # seconds that an expired key may wait for its entry
MAX_NAMED: Final = 5
_SECOND: Final = 1_000_000  # microseconds


def store(settings: Settings, wrapper: KeyWrapper | None, clock: Clock, watch: Watch) -> Iterator[Finding]:
    """What is found about the settings' store, as far as it can be looked into."""
    if not has_store(settings):
        fix = "Make one with 'keyturn init', or by the first 'keyturn serve' in development."
        yield doubtful("store", f"there is none yet at {settings.shown_store}", fix)
        return
    try:
        ledger: Ledger = ledger_module(settings.store).open_ledger(settings.store)
    except (KeyturnError, OSError) as error:
        yield refused("store", error)
        return
    try:
        yield in_order("store", f"{settings.shown_store}, its schema fits this program")
        if not settings.is_sqlite:
            yield from database(settings.store, clock)
        if wrapper is not None:
            yield from _opened(ledger, wrapper, clock, watch)
    except KeyturnError as error:
        yield refused("store", error)
    finally:
        ledger.close()


def _opened(ledger: Ledger, wrapper: KeyWrapper, clock: Clock, watch: Watch) -> Iterator[Finding]:
    try:
        keyring, log = open_log(ledger, wrapper, clock)
    except IntegrityError as error:
        yield refused("log", error)
        return
    except KeyturnError as error:
        yield refused("check value", error)
        return
    versions = ", ".join(map(str, sorted(keyring.versions)))
    yield in_order("check value", f"the key-encryption key opens the store; data keys: {versions}")
    records = Records(ledger=ledger, keyring=keyring, log=log)
    yield _log(records, ledger, watch)
    yield _rows(records, ledger, watch)
    yield _head(ledger, clock)
    yield _latest(ledger, clock)
    yield _expired(ledger, clock)


def _log(records: Records, ledger: Ledger, watch: Watch) -> Finding:
    """Every entry from the first one on: chain, seal, and details where they were not erased."""
    at = Progress(ledger, Seen(0, chain_start(ledger.log_id)), Floor())
    last = records.log.position
    try:
        while at.position < last:
            entries = at.continuation(BATCH)
            if not entries:
                raise IntegrityError(f"the log ends at {at.position}, and was read up to {last}")
            at.floor.raise_to(at.check(records.keyring, entries))
            for stored in entries:
                event_of(stored)
            at.move_past(entries[-1])
            watch("Reading the log", at.position, last)
    except KeyturnError as error:
        return refused("log", error)
    return in_order("log", f"{at.position:,} entries: chain, seals and details hold")


def _rows(records: Records, ledger: Ledger, watch: Watch) -> Finding:
    """Every row: its seal, and that it is the one that the log names."""
    done, total, bad = 0, ledger.count_rows(), list[str]()
    for rows in batches(ledger):
        try:
            records.open_all(rows)
        except IntegrityError:
            records.log.require_whole()
            bad += [row.id for row in rows if not _holds(records, row.id)]
        done += len(rows)
        watch("Reading every row", done, max(done, total))
    if bad:
        named = ", ".join(bad[:MAX_NAMED]) + (", ..." if len(bad) > MAX_NAMED else "")
        fix = (
            "Treat the store as tampered with; restore these rows from a backup. Until then they are refused."
        )
        return failed("rows", f"{len(bad):,} of {done:,} rows are not what was written: {named}", fix)
    return in_order("rows", f"{done:,} rows: seals hold, and each is the one that the log names")


def _holds(records: Records, row_id: str) -> bool:
    try:
        records.get(row_id)
    except IntegrityError:
        records.log.require_whole()
        return False
    return True


def _head(ledger: Ledger, clock: Clock) -> Finding:
    """Whether a process that holds the key-encryption key has vouched for the end of the log."""
    sealed, head = ledger.sealed_head(), ledger.head()
    upto = 0 if sealed is None else sealed.position
    waiting = ledger.read_log(upto + 1, 1)
    age = (to_micros(clock.now()) - decode_entry(waiting[0].entry).time) / _SECOND if waiting else 0.0
    if age <= UNSEALED:
        return in_order("sealed head", f"the log is vouched for up to {upto:,} of {head:,}")
    return doubtful(
        "sealed head",
        f"{head - upto:,} entries at the end of the log are not vouched for, the first of them for {age:,.0f} s",
        "Let a server run, or run any command that changes something; if one does, look into its log.",
    )


def _latest(ledger: Ledger, clock: Clock) -> Finding:
    """Whether the log comes from the future: then this clock is behind, or that of who wrote was ahead."""
    entries = ledger.read_log(max(1, ledger.head() - LATEST + 1), LATEST)
    latest = max((decode_entry(stored.entry).time for stored in entries), default=0)
    ahead = (latest - to_micros(clock.now())) / _SECOND
    if ahead <= AHEAD:
        return in_order("time in the log", "the latest entries are from the past, by this clock")
    tell = failed if ahead > FAR_BEHIND else doubtful
    return tell(
        "time in the log",
        f"an entry is {ahead:,.0f} s ahead of this clock",
        "Set this clock by NTP, and those of all servers: expiry is judged by them.",
    )


def _expired(ledger: Ledger, clock: Clock) -> Finding:
    """Whether somebody records what expires. Expired keys are refused either way."""
    before = to_micros(clock.now()) - int(UNRECORDED * _SECOND)
    waiting = ledger.list_expired(before, "", BATCH)
    if not waiting:
        return in_order("housekeeping", "no expired key waits to be recorded")
    count = f"{len(waiting):,}{' or more' if len(waiting) == BATCH else ''}"
    return doubtful(
        "housekeeping",
        f"{count} keys have expired, and the log does not say so yet",
        "Let a server run, or call cleanup_expired_keys() now and then.",
    )
