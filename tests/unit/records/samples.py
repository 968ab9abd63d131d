"""Log readers and records over a ledger in memory, and changes for them to carry."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from keyturn.crypto.keyring import Keyring, Purpose
from keyturn.domain.change import ChangeSet, Event, EventType, Put
from keyturn.ports.ledger import LogEntry, Row, SealedHead
from keyturn.records.log_reader import LogReader
from keyturn.records.records import Records
from tests.fakes import BEGINNING, HookedLedger, ManualClock
from tests.unit.crypto.samples import DEKS, LOOKUP_KEY
from tests.unit.records.memory_ledger import MemoryStore

OWN: Final = f"own_{0:022}"


def ring(log_id: str, kind: type[Keyring] = Keyring) -> Keyring:
    """A keyring for this log; the same for all who ask."""
    return kind(DEKS, 1, LOOKUP_KEY, log_id)


def put_of(row_id: str, revision: int = 1, **members: Any) -> Put:
    """A row of a kind that no index looks into."""
    tenant = members.pop("tenant", "default")
    body = {"id": row_id, "kind": "thing", "tenant": tenant, "revision": revision, **members}
    return Put(id=row_id, kind="thing", tenant=tenant, revision=revision, body=body)


def change_of(*puts: Put, entries: int = 1, **event: Any) -> ChangeSet:
    """A change of these rows, of which the first entry names all."""
    members: dict[str, Any] = {
        "type": EventType.KEY_UPDATED,
        "time": BEGINNING,
        "tenant": "default",
        "actor": "local",
    }
    first = Event(subjects=(), rows=tuple(put.id for put in puts), **{**members, **event})
    rest = tuple(Event(subjects=(), **members) for _ in range(entries - 1))
    return ChangeSet(puts=puts, events=(first, *rest))


class Bench:
    """One store, and what a process has of it: a reader of its log, and its records."""

    def __init__(self, store: MemoryStore | None = None, clock: ManualClock | None = None) -> None:
        self.store = store or MemoryStore()
        self.clock = clock or ManualClock()
        self.ledger = HookedLedger(self.store.open())
        self.keyring = ring(self.store.log_id)
        self.log = LogReader(ledger=self.ledger, keyring=self.keyring, clock=self.clock)
        self.records = Records(ledger=self.ledger, keyring=self.keyring, log=self.log)

    def beside(self) -> Bench:
        """Another process on the same store."""
        return Bench(self.store, self.clock)

    def commit(self, *puts: Put, entries: int = 1) -> int:
        """Through this process's records."""
        return self.records.commit(change_of(*puts, entries=entries))

    def write(self, *puts: Put, entries: int = 1) -> int:
        """Through another process's, which vouches for nothing: the sealed head stays where it was."""
        sealed = self.store.sealed
        position = self.beside().commit(*puts, entries=entries)
        self.store.sealed = sealed
        return position


def begun() -> Bench:
    """A bench on a store that has a first entry with its sealed head, as `initialise` makes it."""
    bench = Bench()
    bench.commit(put_of("keyring"))
    bench.log.seal_head()
    return bench


class Image(NamedTuple):
    """A whole store at one moment."""

    log: tuple[LogEntry, ...]
    rows: dict[str, Row]
    sealed: SealedHead | None


def image_of(store: MemoryStore) -> Image:
    return Image(tuple(store.log), dict(store.rows), store.sealed)


def restore(store: MemoryStore, image: Image) -> None:
    """Put everything back as it was: a failover to a copy that lagged behind, or a backup."""
    store.log[:] = image.log
    store.rows.clear()
    store.rows.update(image.rows)
    store.sealed = image.sealed


class HookedKeyring(Keyring):
    """A keyring that does something once while it seals a head, as another thread might."""

    hook: Any = None

    def seal(self, purpose: Purpose, message: bytes) -> bytes:
        hook = self.hook
        if purpose is Purpose.HEAD and hook is not None:
            self.hook = None
            hook()
        return super().seal(purpose, message)
